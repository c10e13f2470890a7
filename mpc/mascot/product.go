package mascot

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"

	"zonesigner/mpc/p256"
)

// components are products before privacy amplification: of a given factor a and
// two random ones b, c = a·b.
type components struct {
	b, c [2][]Share
}

// inputs are what one transfer multiplies by its choice bit: the sender's share
// of a, of a's MAC, and of the MAC key. The products are those of c, of
// c's MAC, and of b's MAC: so b is what the transfers chose, and c is its
// product with a, or some MAC is wrong.
const (
	inputs       = 3
	padSize      = maskSize * inputs
	productBits  = 2 * 256 // transfers of a product, each way
	productBatch = 64      // products in one message, of 48 KiB each
	padGroup     = 56      // transfers that are summed up before a reduction
)

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
		p.hidden = append(append(p.hidden, t.b[i]...), t.c[i]...)
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
		if len(got[p]) != n*inputs*p256.ScalarSize || !canonical(got[p]) {
			return cheat(l.peer, fmt.Sprintf("products: message of %d bytes, want %d, of scalars", len(got[p]), n*inputs*p256.ScalarSize))
		}
		choose(newRowHash(b.call(round, b.self, l.peer)), rows[p], choices, got[p], products)
	}
	for i, v := range own {
		s := i % 2
		t.c[s] = append(t.c[s], Share{products[i][0], products[i][1], b.key.own})
		t.b[s] = append(t.b[s], Share{v, products[i][2], b.key.own})
	}
	return nil
}

// correct is the sender's part: for the pads of each transfer it sends the
// difference plus its input, and takes off what the pads for choice 0 add up
// to, with the weights of the choice bits.
func (b *box) correct(hash *rowHash, rows []byte, delta *[rowSize]byte, a []Share, products [][inputs]p256.Scalar) (msg []byte) {
	msg = make([]byte, len(a)*productBits*inputs*p256.ScalarSize)
	var pads [2][padSize]byte
	key := b.key.own.Bytes()
	for i := range products {
		x := [inputs][p256.ScalarSize]byte{a[i/2].Value.Bytes(), a[i/2].MAC.Bytes(), key}
		var sums [inputs]wide
		var totals [inputs]p256.Scalar
		for j := 255; j >= 0; j-- {
			k := 256*i + j
			row := rows[rowSize*k : rowSize*(k+1)]
			hash.expand(pads[0][:], row, k)
			hash.expandPlus(pads[1][:], row, delta, k)
			in := x
			if b.engine.holes.send != nil {
				b.engine.holes.send(k, &in)
			}
			out := msg[inputs*p256.ScalarSize*k:]
			for c := range inputs {
				pad0, pad1 := pads[0][maskSize*c:maskSize*(c+1)], pads[1][maskSize*c:maskSize*(c+1)]
				sums[c].double(1)
				sums[c].add(pad0)
				var d wide
				d.addDifference(pad0, pad1)
				y := d.masked(&in[c])
				copy(out[p256.ScalarSize*c:], y[:])
			}
			flushBits(&totals, &sums, j, (*wide).mask)
		}
		for c := range inputs {
			products[i][c] = products[i][c].Sub(totals[c])
		}
	}
	clear(pads[0][:])
	clear(pads[1][:])
	return msg
}

// choose is the receiver's part: its pad, plus the correction where its bit is
// set, adds up to the sender's input times its number, plus what the sender
// takes off.
func choose(hash *rowHash, rows, choices, msg []byte, products [][inputs]p256.Scalar) {
	var pad [padSize]byte
	for i := range products {
		var sums, sent [inputs]wide
		var totals, sentTotals [inputs]p256.Scalar
		for j := 255; j >= 0; j-- {
			k := 256*i + j
			hash.expand(pad[:], rows[rowSize*k:rowSize*(k+1)], k)
			chosen := -bit(choices, k)
			in := msg[inputs*p256.ScalarSize*k:]
			for c := range inputs {
				sums[c].double(1)
				sums[c].add(pad[maskSize*c : maskSize*(c+1)])
				sent[c].double(1)
				sent[c].addScalarIf(in[p256.ScalarSize*c:p256.ScalarSize*(c+1)], chosen)
			}
			flushBits(&totals, &sums, j, (*wide).mask)
			flushBits(&sentTotals, &sent, j, (*wide).scalar)
		}
		for c := range inputs {
			products[i][c] = products[i][c].Add(totals[c]).Add(sentTotals[c])
		}
	}
	clear(pad[:])
}

// flushBits moves sums to totals when enough bits above the j-th and it are in.
func flushBits(totals *[inputs]p256.Scalar, sums *[inputs]wide, j int, value func(*wide) p256.Scalar) {
	if j%padGroup != 0 {
		return
	}
	scale := powerOfTwo(min(padGroup, 256-j))
	for c := range sums {
		totals[c] = totals[c].Mul(scale).Add(value(&sums[c]))
		sums[c] = wide{}
	}
}
