package mascot

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"slices"

	"zonesigner/mpc"
	"zonesigner/mpc/p256"
)

// components are products before privacy amplification: of given factors a and
// random ones b, c = a·b. In mascot-minus b has no MAC.
type components struct {
	b, c []Share
}

// inputs are what one transfer multiplies by its choice bit at most: the
// sender's share of a, of a's MAC, and of the MAC key. The products are those of
// c, of c's MAC, and of b's MAC: so b is what the transfers chose, and c is its
// product with a, or some MAC is wrong. mascot-minus has no use for b's MAC,
// which serves the check that it leaves out.
const (
	inputs         = 3
	componentBits  = 256 // transfers of a component, each way
	componentBatch = 128 // components in one message, of 24 KiB each
	batchesAhead   = 4   // batches in flight with one peer, which has 3.5 MiB of each waiting here at most
	group          = 64  // transfers that are summed up before a reduction, as a p256.Sum holds
)

// inputs is how many of them there are.
func (e Engine) inputs() int {
	if e.minus {
		return inputs - 1
	}
	return inputs
}

// components multiplies each of a by a random factor and leaves the MACs of what
// comes of it to the next check. Batches go side by side, so that they wait
// together. With products by masks beside them, what four chunks have waiting of
// one peer stays below the 64 MiB that a session's queue holds; with more peers less is
// under way with each.
// Parties need not have as many batches in flight as others.
func (b *box) components(ctx context.Context, a []Share) (*components, error) {
	t := &components{make([]Share, len(a)), make([]Share, len(a))}
	rounds := make([][2]string, (len(a)+componentBatch-1)/componentBatch)
	for i := range rounds {
		rounds[i] = [2]string{b.nextRound(), b.nextRound()}
	}
	err := mpc.Pipeline(ctx, len(rounds), max(1, batchesAhead/len(b.links)), nil, func(ctx context.Context, i int) error {
		from := i * componentBatch
		to := min(from+componentBatch, len(a))
		return b.multiply(ctx, rounds[i], &components{t.b[from:to], t.c[from:to]}, a[from:to])
	})
	if err != nil {
		return nil, err
	}
	p := &b.pending
	p.hidden = append(p.hidden, t.c...)
	if !b.engine.minus {
		p.hidden = append(p.hidden, t.b...)
	}
	return t, nil
}

// multiply fills t with one batch, in two rounds: of transfer extension and of
// correction (MASCOT, Protocol 4, "Multiply").
func (b *box) multiply(ctx context.Context, rounds [2]string, t *components, a []Share) error {
	n := len(a) * componentBits
	choices := make([]byte, n/8)
	_, _ = rand.Read(choices)
	defer clear(choices)
	round := rounds[0]
	msgs, rows := make([][]byte, len(b.links)), make([][]byte, len(b.links))
	for p, l := range b.links {
		msgs[p], rows[p] = l.receiver.receive(b.call(round, b.self, l.peer), choices, n, &b.engine.holes)
	}
	got, err := b.swap(ctx, round, msgs)
	if err != nil {
		return err
	}

	// products[i] are this party's shares of c, c's MAC and b's MAC of component
	// i. First what it multiplies by itself.
	products := make([][inputs]p256.Scalar, len(a))
	own := make([]p256.Scalar, len(a))
	for i, x := range a {
		own[i] = littleEndian(choices[32*i : 32*i+32])
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
	if got, err = b.swap(ctx, rounds[1], msgs); err != nil {
		return err
	}
	for p, l := range b.links {
		if want := n * b.engine.inputs() * scalarSize; len(got[p]) != want || !canonical(got[p]) {
			return cheat(l.peer, fmt.Sprintf("products: message of %d bytes, want %d, of scalars", len(got[p]), want))
		}
		b.choose(newRowHash(b.call(round, b.self, l.peer)), rows[p], choices, got[p], products)
	}
	for i, v := range own {
		t.c[i] = Share{products[i][0], products[i][1], b.key.own}
		t.b[i] = Share{v, products[i][2], b.key.own}
	}
	return nil
}

// correct is the sender's part: for the masks of each transfer it sends the
// difference plus its input, and takes off what the masks for choice 0 add up
// to, with the weights of the choice bits.
func (b *box) correct(hash *rowHash, rows []byte, delta *[rowSize]byte, a []Share, products [][inputs]p256.Scalar) (msg []byte) {
	n := b.engine.inputs()
	size := scalarSize * n // of a transfer's part of the message
	msg = make([]byte, len(a)*componentBits*size)
	zeros, ones := make([]byte, group*size), make([]byte, group*size)
	for i := range products {
		x := [inputs]p256.Scalar{a[i].Value, a[i].MAC, b.key.own}
		var totals [inputs]p256.Scalar
		for k := componentBits*(i+1) - group; k >= componentBits*i; k -= group {
			batch, out := rows[rowSize*k:rowSize*(k+group)], msg[size*k:size*(k+group)]
			hash.scalars(zeros, n, batch, new([rowSize]byte), k)
			hash.scalars(ones, n, batch, delta, k)
			for c := range n {
				in := x
				var sum p256.Sum
				for j := group - 1; j >= 0; j-- {
					if b.engine.holes.send != nil {
						in = x
						b.engine.holes.send(k+j, &in)
					}
					at := size*j + scalarSize*c
					mask := load(zeros[at:])
					sum = sum.Shift(1).Add(mask)
					store(out[at:], in[c].Add(mask).Sub(load(ones[at:])))
				}
				totals[c] = totals[c].Mul(twoTo64).Add(sum.Scalar())
			}
		}
		for c := range n {
			products[i][c] = products[i][c].Sub(totals[c])
		}
	}
	clear(zeros)
	clear(ones)
	return msg
}

// choose is the receiver's part: its mask, plus the correction where its bit is
// set, adds up to the sender's input times its number, plus what the sender
// takes off.
func (b *box) choose(hash *rowHash, rows, choices, msg []byte, products [][inputs]p256.Scalar) {
	n := b.engine.inputs()
	size := scalarSize * n
	masks := make([]byte, group*size)
	for i := range products {
		var totals [inputs]p256.Scalar
		for k := componentBits*(i+1) - group; k >= componentBits*i; k -= group {
			hash.scalars(masks, n, rows[rowSize*k:rowSize*(k+group)], new([rowSize]byte), k)
			in, chosen := msg[size*k:size*(k+group)], binary.LittleEndian.Uint64(choices[k/8:])
			for c := range n {
				var sum p256.Sum
				for j := group - 1; j >= 0; j-- {
					at := size*j + scalarSize*c
					sent := p256.Select(chosen>>j&1, load(in[at:]), p256.Scalar{})
					sum = sum.Shift(1).Add(load(masks[at:]).Add(sent))
				}
				totals[c] = totals[c].Mul(twoTo64).Add(sum.Scalar())
			}
		}
		for c := range n {
			products[i][c] = products[i][c].Add(totals[c])
		}
	}
	clear(masks)
}

// twoTo64 is the weight of a group.
var twoTo64 = p256.NewScalar(1 << 32).Square()

// mostShared bounds how many products share components.
const mostShared = 8

// byFactor groups products, of which it takes the first factors, by these: which
// of them have one, is alike at all parties. Of the first n no two are the same.
func byFactor(xs []Share, n int) (groups [][]int) {
	for i, x := range xs {
		j := -1
		if i >= n {
			j = slices.IndexFunc(groups, func(g []int) bool {
				first := xs[g[0]]
				return len(g) < mostShared && first.Value.Equal(x.Value) && first.MAC.Equal(x.MAC)
			})
		}
		if j < 0 {
			groups = append(groups, []int{i})
		} else {
			groups[j] = append(groups[j], i)
		}
	}
	return groups
}

// componentsOf is how many components products with one first factor take.
func (b *box) componentsOf(products int) int {
	if b.engine.holes.noSpare {
		return products
	}
	return products + 1
}

// amplification combines components: m products with one factor a are made of
// m+1 components of it, by a matrix that nobody knew when they were made.
type amplification [mostShared][mostShared + 1]p256.Scalar

// newAmplification has so many rows that are not zero.
func newAmplification(coins [32]byte, rows int, holes *holes) *amplification {
	r := &amplification{}
	for t := range rows {
		for s := range rows + 1 {
			if r[t][s] = coin(coins, byte(t*(mostShared+1)+s)); holes.noCombine {
				if r[t][s] = (p256.Scalar{}); s == t {
					r[t][s] = p256.One()
				}
			}
		}
	}
	if holes.combine != nil {
		holes.combine(r)
	}
	return r
}

// row is output t of components.
func (r *amplification) row(t int, xs []Share) Share {
	v := Share{Key: xs[0].Key}
	for s, x := range xs {
		v.Value, v.MAC = v.Value.Add(x.Value.Mul(r[t][s])), v.MAC.Add(x.MAC.Mul(r[t][s]))
	}
	return v
}
