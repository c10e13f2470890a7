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
	links  []factorLink
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
	number []uint64  // secret: our digits
}

// erase clears the seeds and the digits.
func (f *factor) erase() {
	for _, l := range f.links {
		clear(l.theirs)
		clear(l.ours)
		clear(l.number)
	}
}

// randomFactors draws this party's part of k factors.
func randomFactors(k, digits int) []byte {
	own := make([]byte, k*digits/4)
	_, _ = rand.Read(own)
	return own
}

// newFactors sets factors up among all parties: two rounds. own is this party's
// part of each, numbers of so many digits, little-endian, and erased.
func (b *box) newFactors(ctx context.Context, digits int, own []byte) ([]*factor, error) {
	defer clear(own)
	size := digits / 4 // bytes
	k := len(own) / size
	fs := make([]*factor, k)
	for i := range fs {
		fs[i] = &factor{own: littleEndian(own[size*i : size*(i+1)]), digits: digits, links: make([]factorLink, len(b.links))}
		for p := range fs[i].links {
			fs[i].links[p] = factorLink{make([][4]seed, digits), make([][3]seed, digits), make([]uint64, digits)}
		}
	}
	// Of each digit's bits h and l the transfers choose 1-h and 1-l: the
	// holder learns the seeds beside its own number's.
	choices := make([]byte, len(own))
	defer clear(choices)
	for j := range digits * k {
		pair := own[j/4] >> (2 * (j % 4)) & 3 // l + 2h
		flipped := (pair>>1&1 | pair<<1) ^ 3
		choices[j/4] |= flipped & 3 << (2 * (j % 4))
	}

	round := b.nextRound()
	rows := make([][]byte, len(b.links))
	msgs := make([][]byte, len(b.links))
	n := 2 * digits * k
	for p, l := range b.links {
		msgs[p], rows[p] = l.receiver.receive(b.call(round, b.self, l.peer), choices, n, &b.engine.holes)
	}
	got, err := b.swap(ctx, round, msgs)
	if err != nil {
		return nil, err
	}
	for p, l := range b.links {
		call := b.call(round, l.peer, b.self)
		sent, err := l.sender.send(call, got[p], n, &b.engine.holes)
		if err != nil {
			return nil, err
		}
		msgs[p] = growTrees(fs, p, newRowHash(call), sent, &l.sender.delta)
	}
	if got, err = b.swap(ctx, b.nextRound(), msgs); err != nil {
		return nil, err
	}
	for p, l := range b.links {
		if len(got[p]) != 2*seedSize*digits*k {
			return nil, cheat(l.peer, fmt.Sprintf("set-up of a factor: message of %d bytes, want %d", len(got[p]), 2*seedSize*digits*k))
		}
		pruneTrees(fs, p, newRowHash(b.call(round, b.self, l.peer)), rows[p], got[p], own)
	}
	return fs, nil
}

// growTrees makes the four seeds of each digit of a peer's factors. Two seeds
// come of the first transfer of a digit, each has two children, and the sums of
// the left and of the right ones are sent, masked by the second transfer.
func growTrees(fs []*factor, p int, hash *rowHash, rows []byte, delta *[rowSize]byte) (msg []byte) {
	zeros, ones := hash.seeds(rows, new([rowSize]byte)), hash.seeds(rows, delta)
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

// pruneTrees computes the three seeds of each digit that its holder may know.
func pruneTrees(fs []*factor, p int, hash *rowHash, rows, msg, own []byte) {
	digits := fs[0].digits
	transferred := hash.seeds(rows, new([rowSize]byte))
	for j := range digits * len(fs) {
		link := &fs[j/digits].links[p]
		low, high := byte(bit(own, 2*j)), byte(bit(own, 2*j+1))
		link.number[j%digits] = uint64(low | high<<1)
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
		link.ours[j%digits] = [3]seed{beside, near, far}
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
	for p, l := range b.links {
		if len(got[p]) != size || !canonical(got[p]) {
			return cheat(l.peer, fmt.Sprintf("products: message of %d bytes, want %d, of scalars", len(got[p]), size))
		}
		streams := newStreams(b.call(round, l.peer, b.self))
		each(got[p], func(part []byte, f *factor, _, products []p256.Scalar) {
			f.links[p].help(streams, part, products)
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
	for j := len(l.number) - 1; j >= 0; j-- {
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
func (l *factorLink) help(streams *streams, msg []byte, shares []p256.Scalar) {
	n := len(msg) / (len(l.number) * scalarSize)
	size := scalarSize * n
	var masks [3][]byte // of the numbers d^1, d^2 and d^3
	flat := make([]byte, len(masks)*size)
	for e := range masks {
		masks[e] = flat[size*e : size*(e+1)]
	}
	sums, totals := make([]p256.Sum, n), make([]p256.Scalar, n)
	for j := len(l.number) - 1; j >= 0; j-- {
		for e := range masks {
			streams.fillMasks(masks[e], &l.ours[j][e])
		}
		low, high := l.number[j]&1, l.number[j]>>1
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
