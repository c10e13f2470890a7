package mascot

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"

	"zonesigner/mpc/p256"
)

// components are products before privacy amplification: of a given factor a and
// two random ones b, c = a·b. In mascot-minus b has no MAC.
type components struct {
	b, c [2][]Share
}

// inputs are what one transfer multiplies by its choice bit at most: the
// sender's share of a, of a's MAC, and of the MAC key. The products are those of
// c, of c's MAC, and of b's MAC: so b is what the transfers chose, and c is its
// product with a, or some MAC is wrong. mascot-minus has no use for b's MAC,
// which serves the check that it leaves out.
const (
	inputs       = 3
	productBits  = 2 * 256 // transfers of a product, each way
	productBatch = 64      // products in one message, of 48 KiB each
	padGroup     = 64      // transfers that are summed up before a reduction
)

// inputs is how many of them there are.
func (e Engine) inputs() int {
	if e.minus {
		return inputs - 1
	}
	return inputs
}

// components multiplies each of a by random factors and leaves the MACs of what
// comes of it to the next check.
func (b *box) components(ctx context.Context, a []Share) (*components, error) {
	t := &components{}
	for batch := range slices.Chunk(a, productBatch) {
		if err := b.multiply(ctx, t, batch); err != nil {
			return nil, err
		}
	}
	p := &b.pending
	for i := range 2 {
		p.hidden = append(p.hidden, t.c[i]...)
		if !b.engine.minus {
			p.hidden = append(p.hidden, t.b[i]...)
		}
	}
	return t, nil
}

// multiply makes one batch: the two rounds of transfer extension and of
// correction (MASCOT, Protocol 4, "Multiply").
func (b *box) multiply(ctx context.Context, t *components, a []Share) error {
	n := len(a) * productBits
	choices := make([]byte, n/8)
	_, _ = rand.Read(choices)
	defer clear(choices)
	round := b.nextRound()
	msgs, rows := make([][]byte, len(b.links)), make([][]byte, len(b.links))
	for p, l := range b.links {
		msgs[p], rows[p] = l.receiver.receive(b.call(round, b.self, l.peer), choices, n, &b.engine.holes)
	}
	got, err := b.swap(ctx, round, msgs)
	if err != nil {
		return err
	}

	// products[2i+s] are this party's shares of c, c's MAC and b's MAC of
	// component s of product i. First what it multiplies by itself.
	products := make([][inputs]p256.Scalar, 2*len(a))
	own := make([]p256.Scalar, 2*len(a))
	for i := range own {
		own[i] = littleEndian(choices[32*i : 32*i+32])
		x := a[i/2]
		products[i] = [inputs]p256.Scalar{own[i].Mul(x.Value), own[i].Mul(x.MAC), own[i].Mul(b.key.own)}
	}
	for p, l := range b.links {
		call := b.call(round, l.peer, b.self)
		sent, err := l.sender.send(call, got[p], n, &b.engine.holes)
		if err != nil {
			return err
		}
		msgs[p] = b.correct(newRowHash(call), sent, &l.sender.delta, a, products)
	}
	if got, err = b.swap(ctx, b.nextRound(), msgs); err != nil {
		return err
	}
	for p, l := range b.links {
		if want := n * b.engine.inputs() * scalarSize; len(got[p]) != want || !canonical(got[p]) {
			return cheat(l.peer, fmt.Sprintf("products: message of %d bytes, want %d, of scalars", len(got[p]), want))
		}
		b.choose(newRowHash(b.call(round, b.self, l.peer)), rows[p], choices, got[p], products)
	}
	for i, v := range own {
		s := i % 2
		t.c[s] = append(t.c[s], Share{products[i][0], products[i][1], b.key.own})
		t.b[s] = append(t.b[s], Share{v, products[i][2], b.key.own})
	}
	return nil
}

// correct is the sender's part: for the masks of each transfer it sends the
// difference plus its input, and takes off what the masks for choice 0 add up
// to, with the weights of the choice bits.
func (b *box) correct(hash *rowHash, rows []byte, delta *[rowSize]byte, a []Share, products [][inputs]p256.Scalar) (msg []byte) {
	n := b.engine.inputs()
	msg = make([]byte, len(a)*productBits*n*scalarSize)
	delta0, delta1 := rowOf(delta[:], 0)
	var masks [inputs]p256.Scalar
	for i := range products {
		x := [inputs]p256.Scalar{a[i/2].Value, a[i/2].MAC, b.key.own}
		var sums [inputs]p256.Sum
		var totals [inputs]p256.Scalar
		for j := 255; j >= 0; j-- {
			k := 256*i + j
			in := x
			if b.engine.holes.send != nil {
				b.engine.holes.send(k, &in)
			}
			lo, hi := rowOf(rows, k)
			hash.row(lo, hi, k)
			for c := range n {
				masks[c] = hash.scalar(c)
				sums[c] = sums[c].Shift(1).Add(masks[c])
			}
			hash.row(lo^delta0, hi^delta1, k)
			out := msg[n*scalarSize*k : n*scalarSize*(k+1)]
			for c := range n {
				store(out[scalarSize*c:], in[c].Add(masks[c]).Sub(hash.scalar(c)))
			}
			if j%padGroup == 0 {
				flush(totals[:n], sums[:n])
			}
		}
		for c := range n {
			products[i][c] = products[i][c].Sub(totals[c])
		}
	}
	clear(masks[:])
	return msg
}

// choose is the receiver's part: its mask, plus the correction where its bit is
// set, adds up to the sender's input times its number, plus what the sender
// takes off.
func (b *box) choose(hash *rowHash, rows, choices, msg []byte, products [][inputs]p256.Scalar) {
	n := b.engine.inputs()
	for i := range products {
		var sums [inputs]p256.Sum
		var totals [inputs]p256.Scalar
		for j := 255; j >= 0; j-- {
			k := 256*i + j
			lo, hi := rowOf(rows, k)
			hash.row(lo, hi, k)
			in, chosen := msg[n*scalarSize*k:n*scalarSize*(k+1)], bit(choices, k)
			for c := range n {
				sent := p256.Select(chosen, load(in[scalarSize*c:]), p256.Scalar{})
				sums[c] = sums[c].Shift(1).Add(hash.scalar(c).Add(sent))
			}
			if j%padGroup == 0 {
				flush(totals[:n], sums[:n])
			}
		}
		for c := range n {
			products[i][c] = products[i][c].Add(totals[c])
		}
	}
}

// twoTo64 is the weight of 64 bits.
var twoTo64 = p256.NewScalar(1 << 32).Square()

// flush puts sums, of 64 bits, below totals.
func flush(totals []p256.Scalar, sums []p256.Sum) {
	for i := range sums {
		totals[i] = totals[i].Mul(twoTo64).Add(sums[i].Scalar())
		sums[i] = p256.Sum{}
	}
}
