package mascot

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"sync"

	"zonesigner/mpc"
	"zonesigner/mpc/p256"
)

// pending is what waits for the next check.
type pending struct {
	opened  []opened
	hidden  []Share    // fresh from transfers, not opened
	mask    []Share    // of the sum of hidden, if it is there already
	ties    []scaling  // values multiplied by a factor
	adopted []adoption // values of other sessions

	revealed bool // something that not all are sure to have seen alike
}

// opened is a value that everybody has seen, and this party's share of its MAC.
type opened struct {
	value p256.Scalar
	mac   p256.Scalar
}

// scaling says that for each of the factors z, ws[t][i] is xs[i]·z[t]. The last
// of the values is a mask that serves this check alone.
type scaling struct {
	xs   []Share
	ws   [2][]Share
	z    [2]Share
	bare bool // the products have no MACs
}

// isEmpty reports whether there is nothing to check.
func (p *pending) isEmpty() bool {
	return len(p.opened)+len(p.hidden)+len(p.ties)+len(p.adopted) == 0 && !p.revealed
}

func (p *pending) erase() {
	clear(p.opened)
	clear(p.hidden)
	clear(p.mask)
}

// readyCheck makes what the next check would have to wait for, where it is not
// there: its mask, and commitments to the first coins. It takes one round of a box
// that may be another.
func (b *box) readyCheck(ctx context.Context, rounds *box) error {
	if b.pending.mask != nil && b.toss.commitments != nil {
		return nil
	}
	_, err := b.random(ctx, rounds, 0)
	return err
}

// fewOpenings is up to how many opened values are checked one by one, with no
// coins to weigh them by.
const fewOpenings = 8

// Check verifies everything that was multiplied or opened, and every random
// value, since the last one.
func (b *box) Check(ctx context.Context) error {
	if b.pending.isEmpty() {
		return nil
	}
	_, err := b.check(ctx, false)
	return err
}

// checkAndToss is Check, and returns coins that nobody could foresee while anything
// could be changed on which the check depends, in no more rounds.
func (b *box) checkAndToss(ctx context.Context) ([32]byte, error) {
	if b.pending.isEmpty() {
		return b.coins(ctx)
	}
	return b.check(ctx, true)
}

// check verifies what is pending, and tosses coins where it is to.
func (b *box) check(ctx context.Context, toss bool) (next [32]byte, err error) {
	p := b.pending
	b.pending = pending{}
	defer p.erase()
	if len(p.hidden)+len(p.ties)+len(p.adopted) == 0 && len(p.opened) <= fewOpenings {
		zeros := make([]p256.Scalar, len(p.opened))
		for i, o := range p.opened {
			zeros[i] = o.mac.Sub(b.key.own.Mul(o.value))
		}
		return b.openZeros(ctx, zeros, toss)
	}
	if len(p.hidden) > 0 && p.mask == nil {
		if err := b.readyCheck(ctx, b); err != nil {
			return next, err
		}
		p.mask, b.pending.mask = b.pending.mask, nil
	}
	coins, err := b.coins(ctx)
	if err != nil {
		return next, err
	}
	// A random sum of the hidden values under a mask, and of the values of
	// each scaling, which have a mask among them.
	var sums []Share
	if len(p.hidden) > 0 {
		sums = append(sums, last(append(p.hidden, p.mask[0]), coin(coins, 1)))
	}
	psi := coin(coins, 2)
	for _, s := range p.ties {
		sums = append(sums, last(s.xs, psi))
	}
	for _, a := range p.adopted {
		sums = append(sums, last(a.fresh, psi))
	}
	values, err := b.reveal(ctx, "sums", sums)
	if err != nil {
		return next, err
	}
	// Each of these adds up to zero over all parties.
	var zeros []p256.Scalar
	var value, mac p256.Scalar
	chi := coin(coins, 0)
	for _, o := range slices.Backward(p.opened) {
		value, mac = value.Mul(chi).Add(o.value), mac.Mul(chi).Add(o.mac)
	}
	zeros = append(zeros, mac.Sub(b.key.own.Mul(value)))
	for i, v := range values {
		zeros = append(zeros, sums[i].MAC.Sub(b.key.own.Mul(v)))
	}
	values = values[len(values)-len(p.ties)-len(p.adopted):]
	for i, s := range p.ties {
		x := values[i]
		for t := range s.ws {
			w := b.Sub(last(s.ws[t], psi), b.Scale(s.z[t], x))
			if zeros = append(zeros, w.Value); !s.bare {
				zeros = append(zeros, w.MAC)
			}
		}
	}
	for i, a := range p.adopted {
		x := values[len(p.ties)+i]
		zeros = append(zeros, last(a.old, psi).MAC.Sub(a.old[0].Key.Mul(x)))
	}
	b.pending.revealed = false // the sums, which openZeros compares
	return b.openZeros(ctx, zeros, toss)
}

// horner returns Σ χⁱ·xᵢ.
func horner(xs []Share, chi p256.Scalar) Share {
	var v Share
	for _, x := range slices.Backward(xs) {
		v = Share{v.Value.Mul(chi).Add(x.Value), v.MAC.Mul(chi).Add(x.MAC), x.Key}
	}
	return v
}

// last is the last of xs plus Σ χⁱ⁺¹·xᵢ over the others.
func last(xs []Share, chi p256.Scalar) Share {
	v, mask := horner(xs[:len(xs)-1], chi), xs[len(xs)-1]
	return Share{v.Value.Mul(chi).Add(mask.Value), v.MAC.Mul(chi).Add(mask.MAC), mask.Key}
}

// openZeros has every party commit to its shares, all of which must add up to
// zero, and then open them. All must have seen the same openings. It tosses coins,
// where it is to, with what opens the shares: by then the commitments say what the
// sums are.
func (b *box) openZeros(ctx context.Context, shares []p256.Scalar, toss bool) (coins [32]byte, err error) {
	if toss {
		if err := b.commitToss(ctx); err != nil {
			return coins, err
		}
	}
	if b.engine.holes.zeros != nil {
		b.engine.holes.zeros(b.label, shares)
	}
	own := make([]byte, 32, 32+p256.ScalarSize*len(shares))
	_, _ = rand.Read(own)
	own = p256.AppendScalars(own, shares)
	round, view := b.nextRound(), b.View()
	commit := func(p mpc.PartyID, opening []byte) []byte {
		d := mpc.Digest("zonesigner mascot zeros v1", b.id[:], []byte(round), []byte(p), opening)
		return append(d[:], view[:]...)
	}
	msg := slices.Clone(own)
	if toss {
		msg = append(msg, b.tossMessage()...)
	}
	if b.engine.holes.noWait {
		if err := b.send(ctx, round+"o", slices.Repeat([][]byte{msg}, len(b.links))); err != nil {
			return coins, err
		}
	}
	commitments, err := mpc.Exchange(ctx, b.net, round+"c", commit(b.self, own))
	if err != nil {
		return coins, err
	}
	for _, p := range b.parties {
		if len(commitments[p]) != 64 {
			return coins, cheat(p, fmt.Sprintf("check of MACs: commitment of %d bytes, want 64", len(commitments[p])))
		}
		if !bytes.Equal(commitments[p][32:], view[:]) && !b.engine.holes.noEcho {
			return coins, b.dispute("operators were shown different openings")
		}
	}
	this, before := b.checks.begin()
	defer b.checks.end(this)
	openings, err := mpc.Exchange(ctx, b.net, round+"o", msg)
	if err != nil {
		return coins, err
	}
	tosses := map[mpc.PartyID][]byte{}
	sums := make([]p256.Scalar, len(shares))
	for _, p := range b.parties {
		if len(openings[p]) != len(msg) {
			return coins, cheat(p, fmt.Sprintf("check of MACs: opening of %d bytes, want %d", len(openings[p]), len(msg)))
		}
		opening := openings[p][:len(own)]
		tosses[p] = openings[p][len(own):]
		if !bytes.Equal(commit(p, opening)[:32], commitments[p][:32]) && !b.engine.holes.noCommit {
			return coins, cheat(p, "check of MACs: it did not open what it committed to")
		}
		theirs, err := p256.DecodeScalars(opening[32:], len(shares))
		if err != nil {
			return coins, cheat(p, "check of MACs: "+err.Error())
		}
		for i := range sums {
			sums[i] = sums[i].Add(theirs[i])
		}
	}
	for _, v := range sums {
		if !v.IsZero() && !b.engine.holes.noMACs {
			return coins, b.dispute("a value does not fit its MAC")
		}
	}
	this.passed = true
	b.checks.end(this)
	if !b.engine.holes.noOrder {
		if err := b.passed(ctx, before); err != nil {
			return coins, err
		}
	}
	if toss {
		return b.tossed(round, tosses)
	}
	return coins, nil
}

// checks are those of a session in which this party has opened its shares of
// zeros, and not yet seen that they add up. Shares that do not add up tell the
// MAC key to who knows by how much, before an honest party hears of it. So none
// that others committed to after that counts until they have.
type checks struct {
	mu   sync.Mutex
	open []*openCheck
}

type openCheck struct {
	over   chan struct{}
	passed bool // set before over is closed
}

// begin adds a check to which everybody is committed; it is that, and what was
// open before.
func (c *checks) begin() (this *openCheck, before []*openCheck) {
	c.mu.Lock()
	defer c.mu.Unlock()
	this, before = &openCheck{over: make(chan struct{})}, slices.Clone(c.open)
	c.open = append(c.open, this)
	return this, before
}

// end takes a check out, once; one that has not passed never will.
func (c *checks) end(this *openCheck) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := slices.Index(c.open, this); i >= 0 {
		c.open = slices.Delete(c.open, i, i+1)
		close(this.over)
	}
}

// passed returns when all of checks have passed.
func (s *session) passed(ctx context.Context, checks []*openCheck) error {
	for _, c := range checks {
		select {
		case <-c.over:
		case <-ctx.Done():
			return ctx.Err()
		}
		if !c.passed {
			return s.dispute("a value checked beside does not fit its MAC")
		}
	}
	return nil
}

// reveal opens values without a check.
func (b *box) reveal(ctx context.Context, what string, xs []Share) ([]p256.Scalar, error) {
	if len(xs) == 0 {
		return nil, nil
	}
	values := make([]p256.Scalar, len(xs))
	for i, x := range xs {
		values[i] = x.Value
	}
	if b.engine.holes.shift != nil {
		b.engine.holes.shift(what, values)
	}
	msg := p256.AppendScalars(make([]byte, 0, p256.ScalarSize*len(xs)), values)
	got, err := mpc.Exchange(ctx, b.net, b.nextRound(), msg)
	if err != nil {
		return nil, err
	}
	for _, l := range b.links {
		theirs, err := p256.DecodeScalars(got[l.peer], len(xs))
		if err != nil {
			return nil, cheat(l.peer, what+": "+err.Error())
		}
		for i := range values {
			values[i] = values[i].Add(theirs[i])
		}
	}
	b.note(what, p256.AppendScalars(msg[:0], values))
	b.pending.revealed = true
	return values, nil
}

// Open reveals the values and checks them, and all that waits for a check.
func (b *box) Open(ctx context.Context, xs []Share) ([]p256.Scalar, error) {
	if err := b.haveMACs(xs); err != nil {
		return nil, err
	}
	values, err := b.reveal(ctx, "open", xs)
	if err != nil {
		return nil, err
	}
	b.expect(values, xs)
	if err := b.Check(ctx); err != nil {
		return nil, err
	}
	return values, nil
}

// haveMACs refuses what was made for signing alone.
func (b *box) haveMACs(xs []Share) error {
	for _, x := range xs {
		if x.Key.IsZero() {
			return &mpc.ArgumentError{Msg: b.engine.Name() + ": a product that was made for signing has no MAC, it is neither opened nor multiplied"}
		}
	}
	return nil
}

// expect has the next check see that xs are values.
func (b *box) expect(values []p256.Scalar, xs []Share) {
	for i, x := range xs {
		b.pending.opened = append(b.pending.opened, opened{values[i], x.MAC})
	}
}

// OpenPoints reveals the values times the base point, and checks them with the
// MAC in the exponent (section 4.4 of the paper), after all that waits.
func (b *box) OpenPoints(ctx context.Context, xs []Share) ([]p256.Point, error) {
	if err := b.haveMACs(xs); err != nil {
		return nil, err
	}
	if err := b.Check(ctx); err != nil || len(xs) == 0 {
		return nil, err
	}
	values, macs := make([]p256.Scalar, len(xs)), make([]p256.Scalar, len(xs))
	for i, x := range xs {
		values[i], macs[i] = x.Value, x.MAC
	}
	if b.engine.holes.shift != nil {
		b.engine.holes.shift("points", values)
	}
	points := p256.BaseMultBatch(values)
	clear(values)
	msg, err := p256.AppendPoints(nil, points)
	if err != nil {
		return nil, fmt.Errorf("%s: open points: %w", b.engine.Name(), err)
	}
	got, err := mpc.Exchange(ctx, b.net, b.nextRound(), msg)
	if err != nil {
		return nil, err
	}
	for _, l := range b.links {
		theirs, err := p256.DecodePoints(got[l.peer], len(xs))
		if err != nil {
			return nil, cheat(l.peer, "opening of points: "+err.Error())
		}
		for i := range points {
			points[i] = points[i].Add(theirs[i])
		}
	}
	p256.Normalize(points)
	if msg, err = p256.AppendPoints(msg[:0], points); err != nil {
		return nil, fmt.Errorf("%s: open points: %w", b.engine.Name(), err)
	}
	b.note("points", msg)
	if err := b.checkPoints(ctx, macs, points); err != nil {
		return nil, err
	}
	return points, nil
}

// checkPoints checks public points against MACs on their logarithms.
func (b *box) checkPoints(ctx context.Context, macs []p256.Scalar, points []p256.Point) error {
	coins, err := b.coins(ctx)
	if err != nil {
		return err
	}
	err = mpc.CheckPointMACs(ctx, b.net, b.nextRound(), coins, mpc.PointMACs{Key: b.key.own, MACs: macs, Points: points})
	if _, ok := mpc.AsCheat(err); ok && b.engine.holes.noMACs {
		return nil
	}
	return err
}

// MACKey is this party's share of the MAC key.
func (b *box) MACKey() p256.Scalar { return b.key.own }

// MAC is this party's share of x's MAC.
func (b *box) MAC(x Share) p256.Scalar { return x.MAC }

// toss is the state of a box's coins: what this party will reveal next, and
// what all have committed to.
type toss struct {
	next        [32]byte // secret until it is revealed
	commitments map[mpc.PartyID][]byte
}

// coins returns a value that nobody could foresee when the last message before
// it was sent: of each party a seed that it committed to, at the last toss or,
// for the first one, in a round before. Everybody must have seen the same
// openings.
func (b *box) coins(ctx context.Context) ([32]byte, error) {
	round, view := b.nextRound(), b.View()
	if err := b.commitToss(ctx); err != nil {
		return [32]byte{}, err
	}
	got, err := mpc.Exchange(ctx, b.net, round, slices.Concat(view[:], b.tossMessage()))
	if err != nil {
		return [32]byte{}, err
	}
	tosses := map[mpc.PartyID][]byte{}
	for _, p := range b.parties {
		m := got[p]
		if len(m) != 96 {
			return [32]byte{}, cheat(p, fmt.Sprintf("coins of %d bytes, want 96", len(m)))
		}
		if !bytes.Equal(m[:32], view[:]) && !b.engine.holes.noEcho {
			return [32]byte{}, b.dispute("operators were shown different openings")
		}
		tosses[p] = m[32:]
	}
	return b.tossed(round, tosses)
}

// tossMessage reveals this party's seed and commits to its next one: 64 bytes.
func (b *box) tossMessage() []byte {
	msg := slices.Clone(b.toss.next[:])
	_, _ = rand.Read(b.toss.next[:])
	return append(msg, b.tossCommitment(b.self, b.toss.next[:])...)
}

// tossed makes coins of what all revealed in a round, 64 bytes each.
func (b *box) tossed(round string, tosses map[mpc.PartyID][]byte) ([32]byte, error) {
	seeds := [][]byte{b.id[:], []byte(round)}
	next := map[mpc.PartyID][]byte{}
	for _, p := range b.parties {
		m := tosses[p]
		if !bytes.Equal(b.tossCommitment(p, m[:32]), b.toss.commitments[p]) {
			return [32]byte{}, cheat(p, "coins: it did not open what it committed to")
		}
		seeds = append(seeds, m[:32])
		next[p] = m[32:]
	}
	b.toss.commitments = next
	return mpc.Digest("zonesigner mascot coins v1", seeds...), nil
}

// commitToss exchanges commitments to the seeds of the box's first coins.
func (b *box) commitToss(ctx context.Context) error {
	tossed, err := b.beginToss(ctx, b)
	if err != nil {
		return err
	}
	return tossed(ctx)
}

// beginToss is the first half of commitToss, and returns the second.
func (b *box) beginToss(ctx context.Context, rounds *box) (func(context.Context) error, error) {
	if b.toss.commitments != nil {
		return func(context.Context) error { return nil }, nil
	}
	_, _ = rand.Read(b.toss.next[:])
	round, own := rounds.nextRound(), b.tossCommitment(b.self, b.toss.next[:])
	return func(ctx context.Context) (err error) {
		b.toss.commitments, err = mpc.Gather(ctx, b.net, round, own)
		return err
	}, b.send(ctx, round, slices.Repeat([][]byte{own}, len(b.links)))
}

// tossCommitment is p's commitment to a seed.
func (b *box) tossCommitment(p mpc.PartyID, seed []byte) []byte {
	d := mpc.Digest("zonesigner mascot toss v1", b.id[:], []byte(b.label), []byte(p), seed)
	return d[:]
}

// coin is the i-th scalar of coins.
func coin(coins [32]byte, i byte) p256.Scalar {
	d0 := mpc.Digest("zonesigner mascot coin v1", coins[:], []byte{i, 0})
	d1 := mpc.Digest("zonesigner mascot coin v1", coins[:], []byte{i, 1})
	return p256.ScalarFromWide(append(d0[:], d1[:16]...))
}
