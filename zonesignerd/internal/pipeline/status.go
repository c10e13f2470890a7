package pipeline

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"zonesigner/mpc"
	"zonesigner/zonesignerd/internal/agree"
)

// Stages is how long each stage of the last version took.
type Stages struct {
	Read, Plan, Agree, Sign, Verify, Publish time.Duration
	Signatures                               int
	PublishedSerial                          uint32
	At                                       time.Time // of the publication
}

// LogValue prints the stages in one line.
func (s Stages) LogValue() slog.Value {
	return slog.GroupValue(slog.Int("signatures", s.Signatures),
		slog.Duration("read", s.Read), slog.Duration("plan", s.Plan), slog.Duration("agree", s.Agree),
		slog.Duration("sign", s.Sign), slog.Duration("verify", s.Verify), slog.Duration("publish", s.Publish))
}

// StageTime is how long one stage took.
type StageTime struct {
	Name string
	Took time.Duration
}

// List is the stages in their order.
func (s Stages) List() []StageTime {
	return []StageTime{{"read", s.Read}, {"plan", s.Plan}, {"agree", s.Agree}, {"sign", s.Sign}, {"verify", s.Verify}, {"publish", s.Publish}}
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

// PeerZone is what another operator last said it serves.
type PeerZone struct {
	Peer   mpc.PartyID
	Serial uint32
	Since  time.Time
	Behind time.Duration // how much later than here the same serial was published there
}

// Status is a zone as an operator wants to see it.
type Status struct {
	Zone         string
	State        string
	WaitsFor     string // in words
	Next         Actor
	Source       uint32 // newest serial read; 0: none
	Signed       uint32 // last certified serial
	HasSigned    bool
	Published    uint32
	SignedAt     time.Time
	Earliest     time.Time // first expiration of a signature
	NextRefresh  time.Time
	RRSIGs       int
	Records      int
	Stages       Stages
	Refusals     []Refusal
	Problems     []string
	Peers        []PeerZone
	PolicyDigest string
	LastError    error // of the last attempt to sign; nil after a success
	LastErrorAt  time.Time
}

// Status reports the zone's state now.
func (z *Zone) Status() Status {
	z.mu.Lock()
	defer z.mu.Unlock()
	s := Status{Zone: z.name, Stages: z.stages, PolicyDigest: z.policy.Digest.String(), LastError: z.lastErr, LastErrorAt: z.lastErrAt}
	if v := z.newest(); v != nil {
		s.Source = v.serial
	}
	if z.head != nil {
		s.Signed, s.HasSigned = z.head.Cert.Serial, true
		s.SignedAt = time.Unix(int64(z.head.Cert.Time), 0).UTC()
		s.Earliest = time.Unix(int64(z.head.Zone.EarliestExpiration()), 0).UTC()
		s.NextRefresh = z.refreshAt().UTC()
		s.RRSIGs, s.Records = z.head.Zone.Signatures(), z.head.Zone.Len()
	}
	if z.published != nil && !z.stale {
		s.Published = z.published.Serial()
	}
	for _, id := range slices.Sorted(maps.Keys(z.heads)) {
		h := z.heads[id]
		p := PeerZone{Peer: id, Serial: h.Published}
		if h.At != 0 {
			p.Since = time.Unix(h.At, 0).UTC()
			if s.Published == h.Published && !z.stages.At.IsZero() {
				p.Behind = max(0, p.Since.Sub(z.stages.At).Truncate(time.Second))
			}
		}
		s.Peers = append(s.Peers, p)
	}
	for _, id := range slices.Sorted(maps.Keys(z.refusals)) {
		s.Refusals = append(s.Refusals, z.refusals[id])
	}
	for _, stage := range slices.Sorted(maps.Keys(z.problems)) {
		s.Problems = append(s.Problems, stage+": "+z.problems[stage])
	}
	s.State, s.WaitsFor, s.Next = z.explainState(z.d.Now())
	return s
}

// explainState says what the zone waits for and who has to act; z.mu is held.
func (z *Zone) explainState(now time.Time) (state, waits string, next Actor) {
	self := Actor{Kind: "this-operator", Name: string(z.d.Identity.Self())}
	clock := Actor{Kind: "clock"}
	v := z.newest()
	switch {
	case len(z.d.Keys(z.name)) == 0:
		return StateNoKey, "keys: run `zonesignerd keys generate " + z.name + "` at every operator", self
	case z.problems["read"] != "":
		return StateFailed, "its source: " + z.problems["read"], self
	case z.problems["publish"] != "":
		return StateFailed, "its public server: " + z.problems["publish"], self
	case z.expired(now):
		return StateExpired, "its signatures to be made again: " + z.problems["sign"], z.whoIsMissing(self)
	case v == nil && z.head == nil:
		return StateWaiting, "the first content from its source", self
	case !z.busy.IsZero():
		return StateSigning, "the session to end", clock
	case z.candidate != nil:
		return StateSigning, "the certificates of other operators", z.whoIsMissing(clock)
	case v != nil && z.disputed[v.digest] != nil:
		return z.explainDispute(self)
	case z.want != nil && z.problems["sign"] != "":
		return StateWaiting, z.problems["sign"], z.whoIsMissing(self)
	case z.want != nil:
		return StateWaiting, "the proposer's turn", clock
	case z.head == nil:
		return StateWaiting, "the first signed zone", clock
	case !z.head.Own:
		return StateWaiting, "its own source to show the content that the others signed", self
	}
	return StateSigned, "the next change or refresh", clock
}

// explainDispute says who refuses what; z.mu is held.
func (z *Zone) explainDispute(self Actor) (state, waits string, next Actor) {
	next = self
	var who []string
	for _, id := range slices.Sorted(maps.Keys(z.refusals)) {
		who = append(who, fmt.Sprintf("operator %s refuses: %s", id, z.refusals[id].Reason))
		if id != z.d.Identity.Self() {
			next = Actor{Kind: "peer", Name: string(id)}
		}
	}
	return StateDisputed, strings.Join(who, "; "), next
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

// IsRefused reports whether err says that an operator refused.
func IsRefused(err error) bool {
	var r *agree.RefusedError
	return errors.As(err, &r)
}
