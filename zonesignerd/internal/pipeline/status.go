package pipeline

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"zonesigner/mpc"
	"zonesigner/zonesignerd/internal/agree"
	"zonesigner/zonesignerd/internal/shell"
)

// Stages is how long each stage of the last version took.
type Stages struct {
	Read, Plan, Tuples, Agree, Sign, Verify, Publish time.Duration // Tuples: the waiting for them
	Signatures                                       int
	PublishedSerial                                  uint32
	At                                               time.Time // of the publication
}

// LogValue prints the stages in one line.
func (s Stages) LogValue() slog.Value {
	return slog.GroupValue(slog.Int("signatures", s.Signatures),
		slog.Duration("read", s.Read), slog.Duration("plan", s.Plan), slog.Duration("tuples", s.Tuples), slog.Duration("agree", s.Agree),
		slog.Duration("sign", s.Sign), slog.Duration("verify", s.Verify), slog.Duration("publish", s.Publish))
}

// StageTime is how long one stage took.
type StageTime struct {
	Name string
	Took time.Duration
}

// List is the stages in their order.
func (s Stages) List() []StageTime {
	return []StageTime{{"read", s.Read}, {"plan", s.Plan}, {"tuples", s.Tuples}, {"agree", s.Agree}, {"sign", s.Sign}, {"verify", s.Verify}, {"publish", s.Publish}}
}

// Actor is who has to act next.
type Actor struct {
	Kind string // this-operator, peer, parent, clock, none
	Name string // of the peer
}

// The states of a zone, in one word.
const (
	StateSigned   = "signed"
	StateSigning  = "signing"
	StateWaiting  = "waiting"
	StateDisputed = "disputed"
	StateNoKey    = "no-key"
	StateExpired  = "expired"
	StateFailed   = "failed"
)

// Whether another operator has a zone, and with the same policy.
const (
	PolicySame    = "same"
	PolicyOther   = "other"
	PolicyNone    = "none"    // it has not added the zone
	PolicyUnknown = "unknown" // it has not answered since we started
)

// PeerZone is what another operator last said of the zone.
type PeerZone struct {
	Peer   mpc.PartyID
	Policy string // one of the Policy constants
	Serial uint32
	Since  time.Time
	Behind time.Duration // how much later than here the same serial was published there
}

// Due is what a signed zone will ask for: its signatures, and when the first of
// them is to be made again.
type Due struct {
	NextRefresh time.Time // zero: the zone is not signed
	RRSIGs      int
	Algorithms  int // that every RRset is signed with; 1 but in an algorithm roll-over
}

// Working reports whether the zone is being read, planned, signed or published,
// or will be in a moment. What waits for somebody, for tuples, or for long, does
// not count.
func (z *Zone) Working() bool {
	z.mu.Lock()
	defer z.mu.Unlock()
	now := z.d.Now()
	s := z.head
	publishing := s != nil && s.Own && (z.published == nil || z.stale || z.published.Serial() != s.Cert.Serial) && !now.Before(z.publishAt)
	turn := z.want != nil && z.want.short.IsZero() && now.Sub(z.want.since) < z.d.Timeout
	return publishing || turn || z.handling > 0 || !z.busy.IsZero() || z.candidate != nil && now.Sub(z.certAt) < z.d.Timeout
}

// Due reports what the last certified zone will ask for.
func (z *Zone) Due() Due {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.due()
}

// due is Due with z.mu held.
func (z *Zone) due() Due {
	if z.head == nil {
		return Due{}
	}
	return Due{NextRefresh: z.refreshAt().UTC(), RRSIGs: z.head.Zone.Signatures(), Algorithms: z.head.Zone.Algorithms()}
}

// Status is a zone as an operator wants to see it.
type Status struct {
	Zone      string
	State     string
	WaitsFor  string // in words
	Next      Actor
	Source    uint32 // newest serial read; 0: none
	Signed    uint32 // last certified serial
	HasSigned bool
	Published uint32
	SignedAt  time.Time
	Earliest  time.Time // first expiration of a signature
	Due
	RRsets       int    // those of RRSIGs not counted
	SOAExpire    uint32 // of the newest content, in seconds
	MaxTTL       uint32 // likewise
	Stages       Stages
	Refusals     []Refusal
	Offered      *Offer // nil: none
	Problems     []string
	Peers        []PeerZone
	PolicyDigest string        // in hexadecimal
	Unlike       []mpc.PartyID // operators that have not the same policy, or not the zone, as far as they said
	Staged       bool          // another policy waits for Unlike to stage it
	LastError    error         // of the last attempt to sign; nil after a success
	LastErrorAt  time.Time
}

// Status reports the zone's state now.
func (z *Zone) Status() Status {
	z.mu.Lock()
	defer z.mu.Unlock()
	s := Status{Zone: z.name, Stages: z.stages, Offered: z.offered, PolicyDigest: hex.EncodeToString(z.policy.Digest[:]), Staged: z.next != nil, LastError: z.lastErr, LastErrorAt: z.lastErrAt}
	if v := z.newest(); v != nil {
		s.Source, s.SOAExpire, s.MaxTTL = v.serial, v.expire, v.maxTTL
	}
	if z.head != nil {
		s.Signed, s.HasSigned = z.head.Cert.Serial, true
		s.SignedAt = time.Unix(int64(z.head.Cert.Time), 0).UTC()
		s.Earliest = time.Unix(int64(z.head.Zone.EarliestExpiration()), 0).UTC()
		s.Due, s.RRsets = z.due(), z.head.Zone.Len()
	}
	if z.published != nil && !z.stale {
		s.Published = z.published.Serial()
	}
	for _, id := range slices.Sorted(slices.Values(z.d.Group().Parties)) {
		if id == z.d.Identity.Self() {
			continue
		}
		p := PeerZone{Peer: id, Policy: z.policyAt(id)}
		if h := z.heads[id]; h != nil && h.At != 0 {
			p.Serial = h.Published
			p.Since = time.Unix(h.At, 0).UTC()
			if s.Published == h.Published && !z.stages.At.IsZero() {
				p.Behind = max(0, p.Since.Sub(z.stages.At).Truncate(time.Second))
			}
		}
		s.Peers = append(s.Peers, p)
	}
	s.Unlike = z.unlike(z.policyWanted())
	for _, id := range slices.Sorted(maps.Keys(z.refusals)) {
		s.Refusals = append(s.Refusals, z.refusals[id])
	}
	for _, stage := range slices.Sorted(maps.Keys(z.problems)) {
		s.Problems = append(s.Problems, stage+": "+z.problems[stage])
	}
	s.State, s.WaitsFor, s.Next = z.explainState(z.d.Now())
	return s
}

// policyAt compares a peer's policy with the one that is wanted here, in force
// or staged; z.mu is held.
func (z *Zone) policyAt(id mpc.PartyID) string {
	h, want := z.heads[id], z.policyWanted()
	switch {
	case h == nil && !z.d.Ready(id):
		return PolicyUnknown
	case h == nil, h.Policy.IsZero():
		return PolicyNone
	case !h.Staged.IsZero() && h.Staged != want:
		return PolicyOther
	case h.Policy == want, h.Staged == want:
		return PolicySame
	}
	return PolicyOther
}

func (z *Zone) policyWanted() agree.Digest {
	if z.next != nil {
		return z.next.Digest
	}
	return z.policy.Digest
}

// explainPolicies says which operators have not added the zone, or have it
// with another policy, in force or staged; empty: none that is known. Before
// the zone is signed, an operator that answers and has said nothing has not
// added it. While the policies in force are the same, signing goes on
// (blocked is false). z.mu is held.
func (z *Zone) explainPolicies() (waits string, next Actor, blocked bool) {
	var none, other, ahead []string
	for _, id := range z.d.Group().Parties {
		if id == z.d.Identity.Self() {
			continue
		}
		h := z.heads[id]
		switch z.policyAt(id) {
		case PolicyNone:
			if h != nil || z.head == nil {
				none, blocked = append(none, string(id)), true
			}
		case PolicyOther:
			if z.next == nil && h.Policy == z.policy.Digest {
				ahead = append(ahead, string(id))
				continue
			}
			other = append(other, string(id))
			blocked = blocked || h.Policy != z.policy.Digest
		}
	}
	next = Actor{Kind: "this-operator", Name: string(z.d.Identity.Self())}
	var parts []string
	if none != nil {
		parts = append(parts, people(none)+" to add the zone")
		next = Actor{Kind: "peer", Name: none[0]}
	}
	if other != nil {
		parts = append(parts, people(other)+" to add the same policy as here")
		next = Actor{Kind: "peer", Name: other[0]}
	}
	if ahead != nil {
		parts = append(parts, "this operator to add the new policy that "+people(ahead)+" added")
	}
	return strings.Join(parts, ", and "), next, blocked
}

// people writes "operator b" or "operators b and c".
func people(names []string) string {
	if len(names) == 1 {
		return "operator " + names[0]
	}
	last := len(names) - 1
	return "operators " + strings.Join(names[:last], ", ") + " and " + names[last]
}

// explainState says what the zone waits for and who has to act; z.mu is held.
func (z *Zone) explainState(now time.Time) (state, waits string, next Actor) {
	self := Actor{Kind: "this-operator", Name: string(z.d.Identity.Self())}
	clock := Actor{Kind: "clock"}
	v := z.newest()
	unequal, peer, blocked := z.explainPolicies()
	switch {
	case z.problems["source"] != "":
		return StateFailed, "its source: " + z.problems["source"], self
	case z.problems["read"] != "":
		return StateFailed, "its source: " + z.problems["read"], self
	case z.problems["publish"] != "":
		return StateFailed, "its public server: " + z.problems["publish"], self
	case z.expired(now):
		return StateExpired, "its signatures to be made again: " + z.problems["sign"], z.whoIsMissing(self)
	case blocked:
		return StateWaiting, unequal, peer
	case len(z.d.Keys(z.name)) == 0:
		return StateNoKey, "keys: run `" + shell.Command("zonesignerd keys generate", []string{cmp.Or(strings.TrimSuffix(z.name, "."), ".")}) + "` at every operator", self
	case z.problems["content"] != "" && (z.head == nil || !z.head.Own):
		return StateWaiting, z.problems["content"], self
	case v == nil && z.head == nil:
		return StateWaiting, "the first content from its source", self
	case !z.busy.IsZero():
		return StateSigning, "the session to end", clock
	case z.candidate != nil:
		return StateSigning, "the certificates of other operators", z.whoIsMissing(clock)
	case v != nil && z.disputed[v.digest] != nil:
		return z.explainDispute(v.digest, self)
	case z.want != nil && z.problems["sign"] != "":
		return StateWaiting, z.problems["sign"], z.whoIsMissing(self)
	case z.want != nil:
		return StateWaiting, "the proposer's turn", clock
	case z.head == nil:
		return StateWaiting, "the first signed zone", clock
	case !z.head.Own:
		return StateWaiting, "its own source to show the content that the others signed", self
	}
	if unequal != "" {
		return StateSigned, unequal, peer
	}
	return StateSigned, "the next change or refresh", clock
}

// explainDispute says who refuses the newest content and why; z.mu is held.
// When more than t others do, one of them is honest, and it is this
// operator's copy that has to be looked at.
func (z *Zone) explainDispute(content agree.Digest, self Actor) (state, waits string, next Actor) {
	var who []string
	reason, mine := "", false
	for _, id := range slices.Sorted(maps.Keys(z.refusals)) {
		r := z.refusals[id]
		switch {
		case id == z.d.Identity.Self():
			mine = true
		case r.Content == content:
			who, reason = append(who, string(id)), r.Reason
		}
	}
	verb := "refuse"
	if len(who) == 1 {
		verb = "refuses"
	}
	switch {
	case len(who) > z.d.Group().T:
		return StateDisputed, fmt.Sprintf("%s %s what this operator's source has: %s", people(who), verb, reason), self
	case len(who) > 0:
		return StateDisputed, fmt.Sprintf("%s %s: %s", people(who), verb, reason), Actor{Kind: "peer", Name: who[0]}
	case mine:
		r := z.refusals[z.d.Identity.Self()]
		return StateDisputed, "this operator refuses what the others have: " + r.Reason, self
	}
	return StateDisputed, "an operator refused this version", self
}

// whoIsMissing is the first peer that does not answer, or otherwise.
func (z *Zone) whoIsMissing(otherwise Actor) Actor {
	for _, id := range z.d.Group().Parties {
		if id != z.d.Identity.Self() && !z.d.Ready(id) {
			return Actor{Kind: "peer", Name: string(id)}
		}
	}
	return otherwise
}

// IsNoQuorum reports whether err says that too few operators answer.
func IsNoQuorum(err error) bool {
	_, absent := mpc.AsAbsent(err)
	return absent || errors.Is(err, ErrNoQuorum)
}
