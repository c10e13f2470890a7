// Package pipeline is one zone's way from its source to the public server:
//
//	read ─▶ plan ─▶ agree ─▶ tuples ─▶ sign ─▶ verify ─▶ certify ─▶ publish
//	  ▲                                                                 │
//	  └──────────── a change, a due refresh, an operator's wish ◀───────┘
//
// A Zone derives everything from its own source and its own last certified
// signed zone (the head). It proposes when it is its turn, judges what others
// propose by deriving the same, signs in sessions that all members agreed on,
// checks the whole result, and publishes once n-t operators have certified
// that they came to the same bytes. What it missed it fetches, checks in
// full, and is level again.
package pipeline

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"zonesigner/dnssec"
	"zonesigner/mpc"
	"zonesigner/zonesignerd/internal/agree"
)

// Errors that callers and status decide by.
var (
	ErrTuples   = errors.New("not enough tuples are ready")
	ErrNoQuorum = errors.New("no signer set is complete")
	ErrResting  = errors.New("signer sets rest after a failed session")
	ErrInvalid  = errors.New("the signed zone does not verify")
	// ErrNoContent is what a source says that is in order and has nothing that
	// is to be signed.
	ErrNoContent = errors.New("no content")
)

// keepVersions is how many source versions are kept for proposals that are
// slightly old.
const keepVersions = 4

// version is one content of the source, as it was seen.
type version struct {
	zone   *dnssec.Zone // nil: signed, and not the newest
	digest agree.Digest
	serial uint32
	seen   time.Time
	seq    uint64 // in order of appearance

	expire, maxTTL uint32 // SOA expire and largest TTL, seconds: what margins depend on
	records        int
}

// Signed is a signed zone that this operator has checked.
type Signed struct {
	Zone    *dnssec.SignedZone
	Cert    Certificate
	Content agree.Digest
	Keys    agree.Digest // the key set that it was planned with
	Policy  agree.Digest // and the policy
	Source  uint32
	Proof   map[mpc.PartyID][]byte // certificates of n-t operators, as signed messages
	// Own: this operator had the content from its own source. Only then is
	// it published here; otherwise it is no more than a base.
	Own bool
}

// zone is the signed zone of s, or nil where s is.
func (s *Signed) zone() *dnssec.SignedZone {
	if s == nil {
		return nil
	}
	return s.Zone
}

// of reports whether s is v signed: v's content and, where the owner's serial
// is kept, its serial.
func (s *Signed) of(v *version, p Policy) bool {
	return s != nil && v != nil && s.Content == v.digest && (p.SerialPolicy != "keep" || s.Source == v.serial)
}

// Refusal is an operator's refusal as status shows it.
type Refusal struct {
	Peer    mpc.PartyID
	Reason  string
	Records []string
	Content agree.Digest // that was refused
	At      time.Time

	proposer mpc.PartyID // of that content
}

// Offer is a content that a peer proposed and that was not approved here.
type Offer struct {
	Peer    mpc.PartyID
	Source  uint32
	content agree.Digest
}

// Zone is one zone at one operator.
type Zone struct {
	name   string
	apex   dnssec.Name
	d      Deps
	src    Source
	pub    Publisher
	log    *slog.Logger
	wake   chan struct{}
	reread chan struct{}

	readMu sync.Mutex // one reading at a time
	saveMu sync.Mutex // one saving at a time
	bg     sync.WaitGroup
	holes  holes
	rests  map[mpc.PartyID]pause // proposers whose proposals came to nothing
	got    *Signed               // fetched and checked, to be adopted
	loads  bool                  // a fetch is under way

	mu        sync.Mutex
	policy    Policy
	next      *Policy    // staged; nil: none
	versions  []*version // newest last
	seq       uint64
	headSeq   uint64 // seq of the version that the head signs; older ones are never signed again
	head      *Signed
	candidate *Signed // certified by us, not yet by n-t
	published *dnssec.SignedZone
	stale     bool // the public server lost what we published
	withdrawn bool
	publishAt time.Time
	lastT     uint32
	tried     *Proposal                              // the last one made or accepted on this head: a retry keeps its time, and so its manifest
	serial    uint32                                 // lowest output serial that is still free
	certs     map[Certificate]map[mpc.PartyID][]byte // who said it, as signed messages
	heads     map[mpc.PartyID]*Head
	busy      agree.Digest // proposal that this zone is in; zero: none
	judging   int          // peers' proposals that are being judged
	handling  int          // readings and plans under way
	judged    agree.Digest // content whose plan is derived for a peer's proposal; zero: none
	draining  bool         // nothing is begun any more
	plans     map[agree.Digest]*planned
	second    *second // of the session that this zone is in; nil: no ZONEMD record is to be made
	asked     bool    // an operator asked to sign now
	disputed  map[agree.Digest]*dispute
	dissent   map[mpc.PartyID]agree.Digest // who is left out of signing which content: it cannot tell, or content quorum is t+1 and it refused
	refusals  map[mpc.PartyID]Refusal      // the last of each, for people
	against   []objection
	offered   *Offer // newest content that a peer proposed and nobody approved here; nil: none
	listings  map[listKey]chan *Listed
	want      *want
	retryAt   time.Time
	shortAt   time.Time // retryAt as it was set for want of tuples
	failures  int
	fetches   map[mpc.PartyID]pause // after fetches that failed
	serving   map[mpc.PartyID]bool  // a signed zone is being given to it
	certAt    time.Time             // when the candidate was certified here
	problems  map[string]string     // stage: what is wrong now
	lastErr   error                 // of the last attempt, and when; nil after a success
	lastErrAt time.Time
	stages    Stages
}

// planned is a plan that was derived for a proposal.
type planned struct {
	body    Proposal
	plan    *dnssec.Plan
	version *version // nil for a refresh
	fresh   bool     // its promise was made for it
}

// dispute is a content that an operator refused.
type dispute struct {
	retryAt time.Time
	backoff time.Duration
}

// want is what this operator would have signed next.
type want struct {
	zone    *dnssec.Zone
	version *version // nil: the head's own content again
	content agree.Digest
	source  uint32
	refresh bool
	why     string
	since   time.Time
	yields  int       // how often others were let go first
	turns   int       // of them on their word alone
	short   time.Time // since when there are too few tuples for it; zero: never
	derived *derived  // what an attempt came to that lacked tuples; nil: none
}

// derived is a plan that was derived to be proposed, and what it depends on
// beside what is wanted.
type derived struct {
	body Proposal
	plan *dnssec.Plan // nil: it became too old
	from premises
}

// premises are what a plan depends on beside what is wanted and the clock.
type premises struct {
	head   *Signed
	policy agree.Digest
	keys   agree.Digest
	floor  uint32 // of the serial
}

// holes take defences out, so that tests can see what they are for.
type holes struct {
	noMajority   bool // n-t certificates are enough, however few these are
	noDerivation bool // believe a single certificate
	noUnpromise  bool // keep the promises of sessions that never were
	tuplesTwice  bool // accept proposals that name a tuple twice
	anyZONEMD    bool // believe the proposer what the zone's digest is
	manyZONEMD   bool // accept as many proposals for the digest as come
}

// New makes a zone and loads its last certified state. Run it afterwards.
func New(name string, policy Policy, src Source, pub Publisher, d Deps) (*Zone, error) {
	apex, err := dnssec.ParseName(name)
	if err != nil {
		return nil, err
	}
	z := &Zone{
		name: name, apex: apex, d: d, src: src, pub: pub, policy: policy,
		log:    d.Logger.With("zone", name),
		wake:   make(chan struct{}, 1),
		reread: make(chan struct{}, 1),
		certs:  map[Certificate]map[mpc.PartyID][]byte{}, heads: map[mpc.PartyID]*Head{},
		plans: map[agree.Digest]*planned{}, disputed: map[agree.Digest]*dispute{},
		refusals: map[mpc.PartyID]Refusal{}, dissent: map[mpc.PartyID]agree.Digest{}, listings: map[listKey]chan *Listed{},
		fetches: map[mpc.PartyID]pause{}, rests: map[mpc.PartyID]pause{}, serving: map[mpc.PartyID]bool{}, problems: map[string]string{},
	}
	return z, z.load()
}

// Name is the zone's name with a dot at its end.
func (z *Zone) Name() string { return z.name }

// Changed tells the zone that its source may have changed.
func (z *Zone) Changed() { poke(z.reread) }

// Source tells the zone that its source cannot be asked for changes, and why,
// or, with nil, that it can be.
func (z *Zone) Source(err error) {
	if err != nil {
		z.problem("source", err)
	} else {
		z.solved("source")
	}
}

// Wake makes the zone look at what is to be done.
func (z *Zone) Wake() { poke(z.wake) }

// SignNow looks at the source and asks for a session although nothing has
// changed. A version that was refused is proposed again. What earlier attempts
// failed of is no longer said: who asks wants to hear of this one.
func (z *Zone) SignNow() {
	z.mu.Lock()
	z.asked = true
	z.retryAt = time.Time{}
	delete(z.problems, "sign")
	delete(z.problems, "read")
	z.mu.Unlock()
	z.Changed()
}

// Stage takes the policy that is to come into force once all operators have
// staged the same; the present one stays in force until then.
func (z *Zone) Stage(p Policy) {
	z.mu.Lock()
	z.next = &p
	z.mu.Unlock()
	z.sayHead()
	z.switchPolicy()
}

// switchPolicy puts the staged policy in force if all have staged it.
func (z *Zone) switchPolicy() {
	z.mu.Lock()
	next := z.next
	if next == nil || len(z.unlike(next.Digest)) > 0 {
		z.mu.Unlock()
		return
	}
	z.policy, z.next = *next, nil
	z.retryAt, z.failures = time.Time{}, 0
	z.mu.Unlock()
	z.log.Info("policy in force", "digest", next.Digest)
	if z.d.Switched != nil {
		z.d.Switched(next.Digest)
	}
	z.sayHead()
	z.Wake()
}

// unlike lists the operators that have not said that they have a policy, in
// force or staged. z.mu is held.
func (z *Zone) unlike(policy agree.Digest) []mpc.PartyID {
	var ids []mpc.PartyID
	for _, id := range z.d.Group().Parties {
		h := z.heads[id]
		if id != z.d.Identity.Self() && (h == nil || h.Policy != policy && h.Staged != policy) {
			ids = append(ids, id)
		}
	}
	return ids
}

// Reconsider reads the source at once, which has a content that was approved
// just now, and forgets what was refused of it here.
func (z *Zone) Reconsider(content agree.Digest) {
	self := z.d.Identity.Self()
	z.mu.Lock()
	delete(z.disputed, content)
	if r, ok := z.refusals[self]; ok && r.Content == content {
		delete(z.refusals, self)
	}
	if z.offered != nil && z.offered.content == content {
		z.offered = nil
	}
	if z.dissent[self] == content {
		delete(z.dissent, self)
	}
	z.retryAt, z.failures = time.Time{}, 0
	delete(z.problems, "sign")
	z.mu.Unlock()
	poke(z.reread)
}

// Certified is the last certified zone, or nil.
func (z *Zone) Certified() *Signed {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.head
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Run works for the zone until ctx ends.
func (z *Zone) Run(ctx context.Context) {
	z.Changed()
	defer z.bg.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-z.reread:
			if err := z.read(ctx); err != nil && ctx.Err() == nil {
				z.unread(err)
			}
		case <-z.wake:
		case <-timer.C:
		}
		timer.Reset(z.step(ctx))
	}
}

// step does what is to be done now and returns when to look again.
func (z *Zone) step(ctx context.Context) time.Duration {
	z.promoteDue()
	z.publishDue(ctx)
	z.adoptDue()
	z.promoteDue()
	z.catchUp(ctx)
	z.publishDue(ctx)
	if z.isDraining() {
		return z.repeat()
	}
	return min(z.propose(ctx), z.repeat())
}

func (z *Zone) heavy(ctx context.Context) (release func(), err error) {
	select {
	case z.d.Heavy <- struct{}{}:
		return func() { <-z.d.Heavy }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (z *Zone) problem(stage string, err error) {
	text := err.Error()
	z.mu.Lock()
	news := z.problems[stage] != text
	z.problems[stage] = text
	z.mu.Unlock()
	if news { // one line a problem, not one a try
		z.log.Warn(stage+" failed", "err", err)
	}
}

func (z *Zone) solved(stage string) {
	z.mu.Lock()
	_, had := z.problems[stage]
	delete(z.problems, stage)
	z.mu.Unlock()
	if had {
		z.log.Info(stage + " works again")
	}
}

// find is the newest version of that content, under that serial where the
// owner's is kept; z.mu is held.
func (z *Zone) find(content agree.Digest, serial uint32) *version {
	for _, v := range slices.Backward(z.versions) {
		if v.digest == content && (z.policy.SerialPolicy != "keep" || v.serial == serial) {
			return v
		}
	}
	return nil
}

// newest is the last content read; z.mu is held.
func (z *Zone) newest() *version {
	if len(z.versions) == 0 {
		return nil
	}
	return z.versions[len(z.versions)-1]
}

// decide finds what should be signed next; nil: nothing. z.mu is held.
func (z *Zone) decide(now time.Time) *want {
	keySet := z.d.Keys(z.name)
	if z.first(now) != nil || len(keySet) == 0 {
		return nil // what is certified here comes first
	}
	keys := keysDigest(keySet)
	v := z.newest()
	if v != nil && !z.head.of(v, z.policy) && v.seq > z.headSeq {
		if d := z.disputed[v.digest]; d == nil || z.asked || !now.Before(d.retryAt) {
			return z.wantedSince(now, &want{zone: v.zone, version: v, content: v.digest, source: v.serial, why: "change"})
		}
	}
	if z.head == nil {
		return nil
	}
	w := &want{content: z.head.Content, source: z.head.Source, refresh: true}
	switch {
	case z.head.Keys != keys:
		w.why = "keys"
	case z.head.Policy != z.policy.Digest:
		w.why = "policy"
	case z.asked:
		w.why = "asked"
	case !now.Before(z.refreshAt()):
		w.why = "refresh"
	default:
		return nil
	}
	return z.wantedSince(now, w)
}

// wantedSince sets from when on w is wanted, which is what turns count from. z.mu
// is held.
func (z *Zone) wantedSince(now time.Time, w *want) *want {
	w.since = now
	if old := z.want; old != nil && old.why == w.why && old.content == w.content {
		w.since, w.yields, w.turns, w.short, w.derived = old.since, old.yields, old.turns, old.short, old.derived
	}
	return w
}

// refreshAt is when the first of the head's signatures has no more than
// rrsig-refresh left. z.mu is held.
func (z *Zone) refreshAt() time.Time {
	earliest := time.Unix(int64(z.head.Zone.EarliestExpiration()), 0)
	return earliest.Add(-z.policy.Refresh)
}

// expired reports whether the head's first signature has run out; z.mu is
// held.
func (z *Zone) expired(now time.Time) bool {
	return z.head != nil && now.Unix() >= int64(z.head.Zone.EarliestExpiration())
}

// keysDigest is over what a plan takes from the key set.
func keysDigest(keys []dnssec.Key) agree.Digest {
	lines := make([]string, 0, len(keys))
	for _, k := range keys {
		lines = append(lines, fmt.Sprintf("%s %d %t %d %x %s\n", k.ID, k.Flags, k.CSK, k.Algorithm, k.PublicKey, k.State))
	}
	slices.Sort(lines)
	return sha256.Sum256([]byte(strings.Join(lines, "")))
}
