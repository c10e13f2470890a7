package mascot

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"zonesigner/mpc"
	"zonesigner/mpc/p256"
)

// factor is a random value Δ = Σ Δⱼ of which party j knows Δⱼ, set up so that
// shared values can be multiplied by it over and over: the correlated
// oblivious product evaluation with errors (COPEe) of MASCOT, Protocol 1, of
// each party with each other one. The MAC key is such a factor, and so is the
// mask of a key that many values are multiplied by.
//
// MASCOT takes Δⱼ bit by bit, here it is two bits at a time, which halves the
// messages: of four seeds for a digit, the party that multiplies knows all,
// and the holder of the digit all but the one of the digit's number (the
// subspace VOLE of Roy, "SoftSpokenOT", CRYPTO 2022, section 4).
type factor struct {
	own    p256.Scalar // secret: this party's Δⱼ
	digits int         // of two bits, of each party's Δⱼ
	number []uint64    // secret: our digits
	links  []factorLink
	growth *growth
}

// How many digits a party's part has. Of the MAC key nobody may guess 128 bits;
// other factors hide a number, or are one of another session.
const (
	keyDigits    = 64
	numberDigits = 128
)

// factorLink is what this party keeps for one peer, for each digit.
type factorLink struct {
	theirs [][4]seed // to multiply by the peer's Δ: the seeds of all numbers
	ours   [][3]seed // to help multiply by ours: of digit ^ 1, ^ 2 and ^ 3
}

// erase clears the seeds and the digits.
func (f *factor) erase() {
	for _, l := range f.links {
		clear(l.theirs)
		clear(l.ours)
	}
	for _, chosen := range f.growth.chosen {
		clear(chosen)
	}
	clear(f.number)
}

// randomFactors draws this party's part of k factors.
func randomFactors(k, digits int) []byte {
	own := make([]byte, k*digits/4)
	_, _ = rand.Read(own)
	return own
}

// newFactors sets factors up among all parties: two rounds, of which the second
// is awaited when they are first used. own is this party's part of each, numbers
// of so many digits, little-endian, and erased.
func (b *box) newFactors(ctx context.Context, digits int, own []byte) ([]*factor, error) {
	defer clear(own)
	choices := seedChoices(own)
	defer clear(choices)
	all := make([][]byte, len(b.links))
	for p := range all {
		all[p] = choices
	}
	got, err := b.transfer(ctx, b.nextRound(), b.links, all, nil)
	if err != nil {
		return nil, err
	}
	return b.growFactors(ctx, b.nextRound(), digits, own, got)
}

// seedChoices are what the transfers of factors' seeds choose. Of each digit's
// bits h and l they are 1-h and 1-l: the holder learns the seeds beside its own
// number's.
func seedChoices(own []byte) []byte {
	choices := make([]byte, len(own))
	for j := range 4 * len(own) {
		pair := own[j/4] >> (2 * (j % 4)) & 3 // l + 2h
		flipped := (pair>>1&1 | pair<<1) ^ 3
		choices[j/4] |= flipped & 3 << (2 * (j % 4))
	}
	return choices
}

// growth is the second round of factors' set-up: what their holder needs to help
// others multiply. What it multiplies itself does not wait for it.
type growth struct {
	round  string
	fs     []*factor
	chosen [][]seed // secret: of each peer, two for each digit

	turn chan struct{} // a mutex, whose wait ends with a context
	done bool
}

// growFactors makes factors of transfers, two for each digit, and sends the second
// round.
func (b *box) growFactors(ctx context.Context, round string, digits int, own []byte, got []transfers) ([]*factor, error) {
	size := digits / 4 // bytes
	g := &growth{round: round, fs: make([]*factor, len(own)/size), chosen: make([][]seed, len(b.links)), turn: make(chan struct{}, 1)}
	for i := range g.fs {
		part := own[size*i : size*(i+1)]
		g.fs[i] = &factor{own: littleEndian(part), digits: digits, growth: g, links: make([]factorLink, len(b.links)), number: make([]uint64, digits)}
		for j := range digits {
			g.fs[i].number[j] = bit(part, 2*j) | bit(part, 2*j+1)<<1
		}
		for p := range g.fs[i].links {
			g.fs[i].links[p] = factorLink{make([][4]seed, digits), make([][3]seed, digits)}
		}
	}
	msgs := make([][]byte, len(b.links))
	for p := range b.links {
		msgs[p] = growTrees(g.fs, p, got[p].zeros, got[p].ones)
		g.chosen[p] = got[p].chosen
	}
	return g.fs, b.send(ctx, round, msgs)
}

// complete awaits the second round, once.
func (g *growth) complete(ctx context.Context, s *session) error {
	select {
	case g.turn <- struct{}{}:
		defer func() { <-g.turn }()
	case <-ctx.Done():
		return &mpc.AbsentError{Parties: mpc.Without(s.parties, s.self), Round: g.round, Err: ctx.Err()}
	}
	if g.done {
		return nil
	}
	got, err := s.gather(ctx, g.round)
	if err != nil {
		return err
	}
	for p, l := range s.links {
		if want := 2 * seedSize * g.fs[0].digits * len(g.fs); len(got[p]) != want {
			return cheat(l.peer, fmt.Sprintf("set-up of a factor: message of %d bytes, want %d", len(got[p]), want))
		}
		pruneTrees(g.fs, p, g.chosen[p], got[p])
	}
	g.done = true
	return nil
}

// growTrees makes the four seeds of each digit of a peer's factors. Two seeds
// come of the first transfer of a digit, each has two children, and the sums of
// the left and of the right ones are sent, masked by the second transfer. It
// erases what was transferred.
func growTrees(fs []*factor, p int, zeros, ones []seed) (msg []byte) {
	digits := fs[0].digits
	msg = make([]byte, 2*seedSize*digits*len(fs))
	for j := range digits * len(fs) {
		left, right := children(&zeros[2*j]), children(&ones[2*j])
		fs[j/digits].links[p].theirs[j%digits] = [4]seed{left[0], left[1], right[0], right[1]}
		for l, mask := range [2]seed{zeros[2*j+1], ones[2*j+1]} {
			out := msg[seedSize*(2*j+l) : seedSize*(2*j+l+1)]
			copy(out, mask[:])
			xorIf(out, left[l][:], 0xff)
			xorIf(out, right[l][:], 0xff)
		}
	}
	clear(zeros)
	clear(ones)
	return msg
}

// pruneTrees computes the three seeds of each digit that its holder may know, and
// erases what was transferred.
func pruneTrees(fs []*factor, p int, transferred []seed, msg []byte) {
	digits := fs[0].digits
	for j := range digits * len(fs) {
		f := fs[j/digits]
		low := byte(f.number[j%digits] & 1)
		sides := children(&transferred[2*j]) // of the other half: numbers 2(1-h) and 2(1-h)+1
		near, far := sides[0], sides[1]
		for i := range near { // near has our low bit, far the other
			d := (near[i] ^ far[i]) & -low
			near[i] ^= d
			far[i] ^= d
		}
		beside := transferred[2*j+1] // masks the sum of the children with the other low bit, of which far is one
		xorIf(beside[:], msg[seedSize*2*j:seedSize*(2*j+1)], -low)
		xorIf(beside[:], msg[seedSize*(2*j+1):seedSize*(2*j+2)], low-1)
		xorIf(beside[:], far[:], 0xff)
		f.links[p].ours[j%digits] = [3]seed{beside, near, far}
	}
	clear(transferred)
}

// children are the two seeds below one.
func children(s *seed) (c [2]seed) {
	const domain = "zonesigner mascot children v1"
	in := [len(domain) + seedSize]byte{}
	copy(in[copy(in[:], domain):], s[:])
	d := sha256.Sum256(in[:])
	copy(c[0][:], d[:seedSize])
	copy(c[1][:], d[seedSize:])
	return c
}

// timesBatch bounds how many products by a factor one message is for, of at most
// 4 KiB each, and timesAhead how many messages are in flight. By the MAC key it
// is 2 KiB, with nothing else under way then.
const (
	timesBatch    = 224
	timesAhead    = 2
	keyTimesAhead = 16
)

// job is values to be multiplied by factors of one length: products[f][i] becomes this
// party's share of xs[i]·Δ of fs[f].
type job struct {
	fs       []*factor
	xs       []p256.Scalar
	products [][]p256.Scalar
}

// times does jobs, no two of which have a factor in common. A peer may make
// products wrong by an amount that depends on the factor's digits.
func (b *box) times(ctx context.Context, jobs ...*job) error {
	for _, j := range jobs {
		for _, f := range j.fs {
			own := make([]p256.Scalar, len(j.xs))
			for i, x := range j.xs {
				own[i] = x.Mul(f.own)
			}
			j.products = append(j.products, own)
		}
	}
	messages := split(jobs)
	rounds := make([]string, len(messages))
	for i := range rounds {
		rounds[i] = b.nextRound()
	}
	ahead := keyTimesAhead
	for _, j := range jobs {
		if j.fs[0].digits > keyDigits {
			ahead = timesAhead
		}
	}
	return mpc.Pipeline(ctx, len(messages), ahead, nil, func(ctx context.Context, i int) error {
		return b.timesOnce(ctx, rounds[i], messages[i])
	})
}

// split cuts jobs into what goes into one message each.
func split(jobs []*job) (messages [][]*job) {
	room := 0
	for _, j := range jobs {
		for from := 0; from < len(j.xs); {
			if room <= 0 {
				messages, room = append(messages, nil), timesBatch
			}
			to := min(len(j.xs), from+max(1, room/len(j.fs)))
			piece := &job{fs: j.fs, xs: j.xs[from:to]}
			for _, products := range j.products {
				piece.products = append(piece.products, products[from:to])
			}
			m := &messages[len(messages)-1]
			*m = append(*m, piece)
			room -= (to - from) * len(j.fs)
			from = to
		}
	}
	return messages
}

// timesOnce adds to products what is other parties' part of them.
func (b *box) timesOnce(ctx context.Context, round string, jobs []*job) error {
	size := 0
	for _, j := range jobs {
		size += j.fs[0].digits * scalarSize * len(j.xs) * len(j.fs)
	}
	// each calls f for every factor, with its part of a message.
	each := func(msg []byte, f func(part []byte, fs *factor, xs, products []p256.Scalar)) {
		for _, j := range jobs {
			n := j.fs[0].digits * scalarSize * len(j.xs)
			for k := range j.fs {
				f(msg[:n], j.fs[k], j.xs, j.products[k])
				msg = msg[n:]
			}
		}
	}
	msgs := make([][]byte, len(b.links))
	for p, l := range b.links {
		streams := newStreams(b.call(round, b.self, l.peer))
		msgs[p] = make([]byte, size)
		each(msgs[p], func(part []byte, f *factor, xs, products []p256.Scalar) {
			f.links[p].multiply(streams, xs, part, products)
			if b.engine.holes.correct != nil {
				b.engine.holes.correct(part)
			}
		})
	}
	got, err := b.swap(ctx, round, msgs)
	if err != nil {
		return err
	}
	for _, j := range jobs {
		for _, f := range j.fs {
			if err := f.growth.complete(ctx, b.session); err != nil {
				return err
			}
		}
	}
	for p, l := range b.links {
		if len(got[p]) != size || !canonical(got[p]) {
			return cheat(l.peer, fmt.Sprintf("products: message of %d bytes, want %d, of scalars", len(got[p]), size))
		}
		streams := newStreams(b.call(round, l.peer, b.self))
		each(got[p], func(part []byte, f *factor, _, products []p256.Scalar) {
			f.help(p, streams, part, products)
		})
	}
	return nil
}

// digitGroup is how many digits are summed up before a reduction: with at most
// three scalars for each, it is what a p256.Sum holds.
const digitGroup = 32

// multiply is the part of the party that has x. For a digit d with seeds' masks
// r₀ … r₃ it sends y = x - Σᵥ rᵥ and has the share Σᵥ v·rᵥ of d·x.
func (l *factorLink) multiply(streams *streams, xs []p256.Scalar, msg []byte, shares []p256.Scalar) {
	size := scalarSize * len(xs)
	var masks [4][]byte
	flat := make([]byte, len(masks)*size)
	for v := range masks {
		masks[v] = flat[size*v : size*(v+1)]
	}
	sums, totals := make([]p256.Sum, len(xs)), make([]p256.Scalar, len(xs))
	for j := len(l.theirs) - 1; j >= 0; j-- {
		for v := range masks {
			streams.fillMasks(masks[v], &l.theirs[j][v])
		}
		out := msg[size*j : size*(j+1)]
		for i, x := range xs {
			at := scalarSize * i
			r2, r3 := load(masks[2][at:]), load(masks[3][at:])
			odd, high := load(masks[1][at:]).Add(r3), r2.Add(r3) // v = 1, 3 and v = 2, 3
			store(out[at:], x.Sub(load(masks[0][at:]).Add(r2)).Sub(odd))
			sums[i] = sums[i].Shift(2).Add(odd).Add(high).Add(high)
		}
		if j%digitGroup == 0 {
			flush(totals, sums)
		}
	}
	for i := range shares {
		shares[i] = shares[i].Add(totals[i])
	}
	clear(flat)
	clear(totals)
}

// help is the part of the digits' holder: with all masks but r_d and with y,
// Σᵥ (d-v)·rᵥ + d·y = d·x - Σᵥ v·rᵥ. By the bits of d that is one and two times
// either the masks with another such bit and y, or the masks with another such
// bit taken off.
func (f *factor) help(p int, streams *streams, msg []byte, shares []p256.Scalar) {
	n := len(msg) / (f.digits * scalarSize)
	size := scalarSize * n
	var masks [3][]byte // of the numbers d^1, d^2 and d^3
	flat := make([]byte, len(masks)*size)
	for e := range masks {
		masks[e] = flat[size*e : size*(e+1)]
	}
	sums, totals := make([]p256.Sum, n), make([]p256.Scalar, n)
	for j := f.digits - 1; j >= 0; j-- {
		for e := range masks {
			streams.fillMasks(masks[e], &f.links[p].ours[j][e])
		}
		low, high := f.number[j]&1, f.number[j]>>1
		in := msg[size*j : size*(j+1)]
		for i := range n {
			at := scalarSize * i
			y, r3 := load(in[at:]), load(masks[2][at:])
			odd, upper := load(masks[0][at:]).Add(r3), load(masks[1][at:]).Add(r3)
			once := p256.Select(low, odd.Add(y), odd.Neg())
			twice := p256.Select(high, upper.Add(y), upper.Neg())
			sums[i] = sums[i].Shift(2).Add(once).Add(twice).Add(twice)
		}
		if j%digitGroup == 0 {
			flush(totals, sums)
		}
	}
	for i := range shares {
		shares[i] = shares[i].Add(totals[i])
	}
	clear(flat)
	clear(sums)
	clear(totals)
}

// flush puts sums, of 64 bits, below totals.
func flush(totals []p256.Scalar, sums []p256.Sum) {
	for i := range sums {
		totals[i] = totals[i].Mul(twoTo64).Add(sums[i].Scalar())
		sums[i] = p256.Sum{}
	}
}

// littleEndian reads up to 32 bytes as a number, modulo the group's order.
func littleEndian(b []byte) p256.Scalar {
	var big [32]byte
	for i := range len(b) / 8 {
		binary.BigEndian.PutUint64(big[24-8*i:], binary.LittleEndian.Uint64(b[8*i:]))
	}
	return p256.ScalarFromWide(big[:])
}
