// Package rep3 is the engine over replicated sharings for three operators of
// whom one may be the adversary's: "rep3" against an adversary that reads,
// "mal-rep3" against one that also alters (with abort). They are Rep3 and
// Mal. Rep3 of the paper, after Araki et al. (CCS 2016).
//
// Random sharings cost no communication; a product costs each party one
// scalar, sent to one other. The argument, and what each check is for, is
// docs/protocol.md, sections 1, 2 and 5a; comments give its section.
package rep3

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

// Share is what one party holds of x = x₀ + x₁ + x₂. Parties are counted from
// 0 in the group's order, and party i lacks the part xᵢ: its share is xᵢ₊₁,
// xᵢ₊₂, indices modulo 3. The group's order fixes which part is which, so a
// share of a key keeps its meaning from session to session.
type Share [2]p256.Scalar

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

// Passive is "rep3": it keeps the key from someone who reads a disk or a
// memory. One altered party can take the key.
func Passive() Engine { return Engine{} }

// Active is "mal-rep3": whatever one party does, it can at most stop a
// session.
func Active() Engine { return Engine{active: true} }

// holes takes defences out, so that tests can show what each is for.
type holes struct {
	noCopies bool // need to be the same: the first is taken
	noEcho   bool // before the coins
	noShared bool // products in the coins, only opened ones
	noVerify bool // of products
	noMask   bool // of products by zero sharings

	skew func(u []p256.Scalar) // makes this party add errors to products
}

// Name is "rep3" or "mal-rep3".
func (e Engine) Name() string {
	if e.active {
		return "mal-rep3"
	}
	return "rep3"
}

// Active tells "mal-rep3" from "rep3".
func (e Engine) Active() bool { return e.active }

// Supports wants three operators and threshold 1.
func (e Engine) Supports(g mpc.Group) error {
	if err := g.Validate(); err != nil {
		return err
	}
	if g.N() != 3 || g.T != 1 {
		return &mpc.ArgumentError{Msg: fmt.Sprintf("%s: it is for 3 operators with threshold 1, not %d with threshold %d", e.Name(), g.N(), g.T)}
	}
	return nil
}

// Signers wants members of the group: two in the passive form, two or three
// in the active one.
func (e Engine) Signers(g mpc.Group, set mpc.SignerSet) error {
	most := g.T + 1
	if e.active {
		most = g.N()
	}
	return g.CheckSigners(e.Name(), set, g.T+1, most)
}

// Words are both parts.
func (e Engine) Words(x Share) []p256.Scalar { return x[:] }

// FromWords is the inverse of Words.
func (e Engine) FromWords(w []p256.Scalar) (Share, error) {
	if len(w) != len(Share{}) {
		return Share{}, &mpc.ArgumentError{Msg: fmt.Sprintf("%s: a share has 2 scalars, not %d", e.Name(), len(w))}
	}
	return Share(w), nil
}

// Start makes a seed for each pair of the three parties, who must all be
// there (section 2).
func (e Engine) Start(ctx context.Context, net mpc.Network, g mpc.Group, binding []byte) (mpc.Box[Share], error) {
	if err := e.Supports(g); err != nil {
		return nil, err
	}
	if !mpc.NewSignerSet(g.Parties...).Equal(mpc.NewSignerSet(net.Parties()...)) {
		return nil, &mpc.ArgumentError{Msg: fmt.Sprintf("%s: operators %v are present, multiplication takes all of %v", e.Name(), net.Parties(), g.Parties)}
	}
	s := newSession(e, net, g)
	id, seeds, err := mpc.NewSeeds(ctx, net, mpc.SeedSetup{Engine: e.Name(), Group: g, Binding: binding, Size: 2})
	if err != nil {
		return nil, fmt.Errorf("%s: set-up: %w", e.Name(), err)
	}
	s.id = id
	for _, a := range seeds {
		// The seed of a part is held by those that hold the part.
		if slices.Contains(a.Holders, s.next) {
			s.seeds[1] = a
		} else {
			s.seeds[0] = a
		}
	}
	return s.box("main"), nil
}

// session is what all boxes of one session share.
type session struct {
	engine     Engine
	net        mpc.Network
	parties    []mpc.PartyID // in the group's order
	self       int           // this party's position
	next, prev mpc.PartyID   // those after and before it, in a circle
	id         mpc.SessionID
	seeds      [2]mpc.Seed    // of the parts that this party holds
	toShamir   [2]p256.Scalar // what each part counts in the Shamir share
}

func newSession(e Engine, net mpc.Network, g mpc.Group) *session {
	self := slices.Index(g.Parties, net.Self())
	return &session{
		engine: e, net: net, parties: g.Parties, self: self,
		next: g.Parties[(self+1)%3], prev: g.Parties[(self+2)%3],
		toShamir: toShamir(g, self),
	}
}

// toShamir computes, for each part that the party at position self holds, the
// line that is 1 at 0 and 0 at the point xₖ of the party that lacks the part:
// 1 - x/xₖ, at the party's own point x (section 5a).
func toShamir(g mpc.Group, self int) (line [2]p256.Scalar) {
	x, _ := g.X(g.Parties[self])
	for k := range line {
		lacks, _ := g.X(g.Parties[(self+1+k)%3])
		line[k] = p256.One().Sub(p256.NewScalar(uint64(x)).Mul(p256.InverseOf(uint64(lacks))))
	}
	return line
}

// box implements mpc.Box. Its randomness and rounds belong to its label.
type box struct {
	*session
	label   string
	streams [2]*mpc.SeedStream // one for each part
	round   int
	view    hash.Hash
	// What this party sent to prev and received from next of shared products,
	// in the active form.
	sent, received hash.Hash
	users          []mpc.PartyID // of products
	pending        mpc.Products[Share]
}

func (s *session) box(label string) *box {
	b := &box{session: s, label: label, view: sha256.New(), sent: sha256.New(), received: sha256.New(), users: s.parties}
	// The label too: a box that only shares products opens nothing that would
	// tell its view from another's.
	b.note("session "+label, s.id[:])
	for k := range s.seeds {
		b.streams[k] = s.seeds[k].Stream(label)
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
	return slices.Contains(b.users, b.parties[b.self])
}

// Signing converts locally (section 5a).
func (b *box) Signing(x Share) p256.Scalar {
	return x[0].Mul(b.toShamir[0]).Add(x[1].Mul(b.toShamir[1]))
}

// Close erases the seeds; boxes that were forked before keep their streams
// until they are forgotten.
func (b *box) Close() {
	for k := range b.seeds {
		b.seeds[k].Erase()
	}
	b.streams = [2]*mpc.SeedStream{}
	b.pending.Erase()
}

func (b *box) Add(x, y Share) Share               { return x.add(y) }
func (b *box) Sub(x, y Share) Share               { return x.sub(y) }
func (b *box) Scale(x Share, c p256.Scalar) Share { return x.scale(c) }

func (x Share) add(y Share) Share         { return Share{x[0].Add(y[0]), x[1].Add(y[1])} }
func (x Share) sub(y Share) Share         { return Share{x[0].Sub(y[0]), x[1].Sub(y[1])} }
func (x Share) scale(c p256.Scalar) Share { return Share{x[0].Mul(c), x[1].Mul(c)} }

// constant is this party's share of a value that everybody knows: as part 0,
// which party 0 lacks.
func (s *session) constant(v p256.Scalar) (x Share) {
	switch s.self {
	case 1:
		x[1] = v
	case 2:
		x[0] = v
	}
	return x
}

// Random is local: both holders of a part draw it from their common seed.
func (b *box) Random(_ context.Context, n int) ([]Share, error) { return b.random(n), nil }

func (b *box) random(n int) []Share {
	shares := make([]Share, n)
	for k, s := range b.streams {
		for i, r := range s.Scalars(n) {
			shares[i][k] = r
		}
	}
	return shares
}

// Open sends everyone the part that it lacks. It comes from both that hold it.
func (b *box) Open(ctx context.Context, xs []Share) ([]p256.Scalar, error) {
	return b.open(ctx, "open", xs)
}

func (b *box) open(ctx context.Context, what string, xs []Share) ([]p256.Scalar, error) {
	var msgs [2][]byte
	for k := range msgs {
		msgs[k] = make([]byte, 0, p256.ScalarSize*len(xs))
		for _, x := range xs {
			msgs[k] = x[k].AppendBytes(msgs[k])
		}
	}
	got, err := b.exchange(ctx, msgs[0], msgs[1])
	if err != nil {
		return nil, err
	}
	lacked, err := copies(b, what, got, len(xs), p256.DecodeScalars, p256.Scalar.Equal)
	if err != nil {
		return nil, err
	}
	for i, x := range xs {
		lacked[i] = lacked[i].Add(x[0]).Add(x[1])
	}
	b.note(what, p256.AppendScalars(msgs[0][:0], lacked))
	return lacked, nil
}

// OpenPoints is Open with parts times the base point.
func (b *box) OpenPoints(ctx context.Context, xs []Share) ([]p256.Point, error) {
	const what = "opening of points"
	n := len(xs)
	parts := make([]p256.Scalar, 3*n)
	for i, x := range xs {
		parts[i], parts[n+i], parts[2*n+i] = x[0], x[1], x[0].Add(x[1])
	}
	points := p256.BaseMultBatch(parts)
	clear(parts)
	var msgs [2][]byte
	var err error
	for k := range msgs {
		if msgs[k], err = p256.AppendPoints(nil, points[k*n:(k+1)*n]); err != nil {
			return nil, fmt.Errorf("%s: open points: %w", b.engine.Name(), err)
		}
	}
	got, err := b.exchange(ctx, msgs[0], msgs[1])
	if err != nil {
		return nil, err
	}
	lacked, err := copies(b, what, got, n, p256.DecodePoints, p256.Point.Equal)
	if err != nil {
		return nil, err
	}
	for i := range lacked {
		lacked[i] = lacked[i].Add(points[2*n+i])
	}
	p256.Normalize(lacked)
	msg, err := p256.AppendPoints(msgs[0][:0], lacked)
	if err != nil {
		return nil, fmt.Errorf("%s: open points: %w", b.engine.Name(), err)
	}
	b.note("points", msg)
	return lacked, nil
}

// copies decodes the two copies of what this party lacks, which must be the
// same: one of the senders is honest (section 5a).
func copies[V any](b *box, what string, got [2][]byte, n int, decode func([]byte, int) ([]V, error), equal func(V, V) bool) ([]V, error) {
	var values [2][]V
	for k, from := range []mpc.PartyID{b.next, b.prev} {
		var err error
		if values[k], err = decode(got[k], n); err != nil {
			return nil, &mpc.CheatError{Parties: []mpc.PartyID{from}, What: what + ": " + err.Error()}
		}
	}
	if !slices.EqualFunc(values[0], values[1], equal) && !b.engine.holes.noCopies {
		return nil, b.dispute(what + ": the copies of a part differ")
	}
	return values[0], nil
}

// exchange is one round: a message to next and one to prev, and theirs.
func (b *box) exchange(ctx context.Context, toNext, toPrev []byte) (got [2][]byte, err error) {
	return b.trade(ctx, toNext, toPrev, b.next, b.prev)
}

// trade is one round in which only what is not empty is sent, and only from
// some parties anything comes.
func (b *box) trade(ctx context.Context, toNext, toPrev []byte, from ...mpc.PartyID) (got [2][]byte, err error) {
	b.round++
	round := b.label + "/" + strconv.Itoa(b.round)
	if len(toNext) > 0 {
		if err := b.net.Send(ctx, b.next, round, toNext); err != nil {
			return got, err
		}
	}
	if len(toPrev) > 0 {
		if err := b.net.Send(ctx, b.prev, round, toPrev); err != nil {
			return got, err
		}
	}
	msgs, err := mpc.GatherFrom(ctx, b.net, round, from...)
	return [2][]byte{msgs[b.next], msgs[b.prev]}, err
}

// note enters opened values into the view.
func (b *box) note(what string, values []byte) {
	sum := mpc.Digest("zonesigner opened v1", []byte(what), values)
	b.view.Write(sum[:])
}

// dispute blames both others: one of them cheated.
func (s *session) dispute(what string) error {
	return mpc.Dispute(mpc.NewSignerSet(s.next, s.prev), what)
}
