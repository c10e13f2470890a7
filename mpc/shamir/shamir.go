// Package shamir is the honest-majority engine over Shamir sharings: "shamir"
// against an adversary that reads, "mal-shamir" against one that also alters
// (with abort). Any n ≥ 3 and t < n/2, as long as there are at most 35
// replicated seeds, so up to n = 7 with t = 3.
//
// Random sharings cost no communication; a product costs one opening of
// degree 2t. The argument, and what each check is for, is docs/protocol.md,
// sections 1 to 5; comments give its section.
package shamir

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"slices"
	"strconv"

	"zonesigner/mpc"
	"zonesigner/mpc/p256"
)

// Share is one party's share of a value: the polynomial at its point.
type Share = p256.Scalar

// Engine is the protocol in its passive or its active form. It implements
// mpc.Engine.
type Engine struct {
	active bool
	holes  holes // tests only
}

var (
	_ mpc.Engine[Share]    = Engine{}
	_ mpc.MulOpener[Share] = (*box)(nil)
	_ mpc.Dealer           = Engine{}
)

// Passive is "shamir": it keeps the key from someone who reads a disk or a
// memory. One altered party can take the key.
func Passive() Engine { return Engine{} }

// Active is "mal-shamir": whatever at most t parties do, they can at most
// stop a session.
func Active() Engine { return Engine{active: true} }

// holes takes defences out, so that tests can show what each is for.
type holes struct {
	noEcho   bool // of openings before the coins
	noDegree bool // check of openings
	noVerify bool // of products
	noMask   bool // of products by zero sharings

	skew func(shares []Share) // makes this party add errors to products
}

// Name is "shamir" or "mal-shamir".
func (e Engine) Name() string {
	if e.active {
		return "mal-shamir"
	}
	return "shamir"
}

// Active tells "mal-shamir" from "shamir".
func (e Engine) Active() bool { return e.active }

// Supports wants t < n/2 and at most 35 seeds.
func (e Engine) Supports(g mpc.Group) error {
	if err := g.Validate(); err != nil {
		return err
	}
	if g.N() < 2*g.T+1 {
		return &mpc.ArgumentError{Msg: fmt.Sprintf("%s: threshold %d takes %d operators, there are %d", e.Name(), g.T, 2*g.T+1, g.N())}
	}
	if n := binomial(g.N(), g.T); n > mpc.MaxSeeds {
		return &mpc.ArgumentError{Msg: fmt.Sprintf("%s: %d operators with threshold %d need %d seeds, at most %d are supported", e.Name(), g.N(), g.T, n, mpc.MaxSeeds)}
	}
	return nil
}

// Signers wants members of the group: exactly t+1 of them in the passive
// form, at least t+1 in the active one.
func (e Engine) Signers(g mpc.Group, set mpc.SignerSet) error {
	most := g.T + 1
	if e.active {
		most = g.N()
	}
	return g.CheckSigners(e.Name(), set, g.T+1, most)
}

// Words is the share itself.
func (e Engine) Words(x Share) []p256.Scalar { return []p256.Scalar{x} }

// FromWords is the inverse of Words.
func (e Engine) FromWords(w []p256.Scalar) (Share, error) {
	if len(w) != 1 {
		return Share{}, &mpc.ArgumentError{Msg: fmt.Sprintf("%s: a share has 1 scalar, not %d", e.Name(), len(w))}
	}
	return w[0], nil
}

// Start makes the replicated seeds among net's parties, of whom there must be
// 2t+1 or more (section 2).
func (e Engine) Start(ctx context.Context, net mpc.Network, g mpc.Group, binding []byte) (mpc.Box[Share], error) {
	if err := e.Supports(g); err != nil {
		return nil, err
	}
	s := &session{engine: e, net: net, parties: net.Parties(), self: net.Self()}
	if len(s.parties) < 2*g.T+1 {
		return nil, &mpc.ArgumentError{Msg: fmt.Sprintf("%s: %d operators are present, multiplication takes %d", e.Name(), len(s.parties), 2*g.T+1)}
	}
	var err error
	openers := s.parties
	if e.holes.noDegree {
		openers = openers[:g.T+1] // no shares to check against
	}
	if s.openT, err = mpc.NewOpening(g, openers, s.self, g.T); err != nil {
		return nil, err
	}
	if s.open2T, err = mpc.NewOpening(g, s.parties, s.self, 2*g.T); err != nil {
		return nil, err
	}
	var seeds []mpc.Seed
	s.id, seeds, err = mpc.NewSeeds(ctx, net, mpc.SeedSetup{Engine: e.Name(), Group: g, Binding: binding, Size: len(s.parties) - g.T})
	if err != nil {
		return nil, fmt.Errorf("%s: set-up: %w", e.Name(), err)
	}
	for _, a := range seeds {
		s.seeds = append(s.seeds, newSeed(a, g, s.parties, s.self))
	}
	return s.box("main"), nil
}

// session is what all boxes of one session share.
type session struct {
	engine  Engine
	net     mpc.Network
	parties []mpc.PartyID // sorted
	self    mpc.PartyID
	id      mpc.SessionID
	seeds   []seed // those that this party holds

	openT, open2T *mpc.Opening
}

// box implements mpc.Box. Its randomness and rounds belong to its label.
type box struct {
	*session
	label   string
	streams []stream // one for each seed
	round   int
	view    hash.Hash
	users   []mpc.PartyID // of products
	pending mpc.Products[Share]
}

func (s *session) box(label string) *box {
	b := &box{session: s, label: label, view: sha256.New(), users: s.parties}
	b.note("session "+label, s.id[:])
	for i := range s.seeds {
		b.streams = append(b.streams, stream{s.seeds[i].Stream(label), &s.seeds[i]})
	}
	return b
}

func (b *box) Fork(label string) mpc.Box[Share] { return b.box(b.label + "." + label) }

func (b *box) View() [32]byte { return [32]byte(b.view.Sum(nil)) }

// Narrow implements mpc.Narrower.
func (b *box) Narrow(users []mpc.PartyID) (mine bool) {
	if !b.engine.active {
		b.users = users
	}
	return slices.Contains(b.users, b.self)
}

func (b *box) Signing(x Share) p256.Scalar { return x }

// Close erases the seeds; boxes that were forked before keep their streams
// until they are forgotten.
func (b *box) Close() {
	for i := range b.seeds {
		b.seeds[i].Erase()
	}
	b.streams = nil
	b.pending.Erase()
}

func (b *box) Add(x, y Share) Share               { return x.Add(y) }
func (b *box) Sub(x, y Share) Share               { return x.Sub(y) }
func (b *box) Scale(x Share, c p256.Scalar) Share { return x.Mul(c) }

// Random is local: pseudo-random secret sharing.
func (b *box) Random(_ context.Context, n int) ([]Share, error) { return b.random(n), nil }

// Open reveals sharings of degree t.
func (b *box) Open(ctx context.Context, xs []Share) ([]p256.Scalar, error) {
	return b.open(ctx, "open", b.openT, xs)
}

// OpenPoints reveals the values times the base point.
func (b *box) OpenPoints(ctx context.Context, xs []Share) ([]p256.Point, error) {
	scale := b.openT.Scale()
	scaled := make([]p256.Scalar, len(xs))
	for i, x := range xs {
		scaled[i] = x.Mul(scale)
	}
	own := p256.BaseMultBatch(scaled)
	clear(scaled)
	msg, err := p256.AppendPoints(nil, own)
	if err != nil {
		return nil, fmt.Errorf("%s: open points: %w", b.engine.Name(), err)
	}
	got, err := mpc.Exchange(ctx, b.net, b.nextRound(), msg)
	if err != nil {
		return nil, err
	}
	shares := make([][]p256.Point, len(b.parties))
	for j, p := range b.parties {
		if p == b.self {
			shares[j] = own
		} else if shares[j], err = p256.DecodePoints(got[p], len(xs)); err != nil {
			return nil, &mpc.CheatError{Parties: []mpc.PartyID{p}, What: "opening of points: " + err.Error()}
		}
	}
	points, err := b.openT.Points("opening of points", shares)
	if err != nil {
		return nil, err
	}
	if msg, err = p256.AppendPoints(msg[:0], points); err != nil {
		return nil, fmt.Errorf("%s: open points: %w", b.engine.Name(), err)
	}
	b.note("points", msg)
	return points, nil
}

// open reveals sharings of the degree of how to everybody.
func (b *box) open(ctx context.Context, what string, how *mpc.Opening, own []Share) ([]p256.Scalar, error) {
	return b.openTo(ctx, b.parties, what, how, own)
}

// openTo reveals them to some parties; the others get nil.
func (b *box) openTo(ctx context.Context, to []mpc.PartyID, what string, how *mpc.Opening, own []Share) ([]p256.Scalar, error) {
	msg := p256.AppendScalars(make([]byte, 0, 32*len(own)), own)
	got, err := mpc.Deliver(ctx, b.net, b.nextRound(), to, msg)
	if err != nil || got == nil {
		return nil, err
	}
	shares := make([][]p256.Scalar, len(b.parties))
	for j, p := range b.parties {
		if p == b.self {
			shares[j] = own
		} else if shares[j], err = p256.DecodeScalars(got[p], len(own)); err != nil {
			return nil, &mpc.CheatError{Parties: []mpc.PartyID{p}, What: what + ": " + err.Error()}
		}
	}
	values, err := how.Scalars(what, shares)
	if err != nil {
		return nil, err
	}
	b.note(what, p256.AppendScalars(msg[:0], values))
	return values, nil
}

// note enters opened values into the view.
func (b *box) note(what string, values []byte) {
	sum := mpc.Digest("zonesigner opened v1", []byte(what), values)
	b.view.Write(sum[:])
}

// nextRound names a round; parties count alike because they run alike.
func (b *box) nextRound() string {
	b.round++
	return b.label + "/" + strconv.Itoa(b.round)
}

func binomial(n, k int) int {
	c := 1
	for i := range k {
		c = c * (n - i) / (i + 1)
	}
	return c
}
