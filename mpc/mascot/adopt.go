package mascot

import (
	"context"
	"encoding/binary"
	"slices"

	"zonesigner/mpc"
	"zonesigner/mpc/p256"
)

// adoption says that fresh, with MACs of this session, shares the same values
// as old, with MACs of another. The last of them is a mask that serves this
// check alone.
type adoption struct{ old, fresh []Share }

// adopter gives values that were kept MACs of this session, each once. That
// every party put in the share that it had then is checked with the next check:
// a random sum of the values under a mask fits both MACs.
type adopter struct {
	box   *box
	keys  []p256.Scalar // secret: of the other sessions, in the order of their first values
	old   [][]Share     // for each of the keys
	fresh [][]Share
}

// areForeign reports whether any of xs is of another session.
func (b *box) areForeign(xs []Share) bool {
	return slices.ContainsFunc(xs, func(x Share) bool { return !x.Key.Equal(b.key.own) })
}

// adoptAll returns the arguments of a multiplication as values of this session.
// In mascot-minus the factor of a scaling stays as it is: nothing but its
// difference from a mask is made of it, and that is not checked.
func (b *box) adoptAll(ctx context.Context, xs, ys []Share, scale []mpc.Scaling[Share]) ([]Share, []Share, []mpc.Scaling[Share], error) {
	a := &adopter{box: b}
	a.note(xs)
	a.note(ys)
	for _, sc := range scale {
		a.note(sc.Xs)
		if !b.engine.minus {
			a.note([]Share{sc.By})
		}
	}
	if len(a.keys) == 0 {
		return xs, ys, scale, nil
	}
	if err := a.adopt(ctx); err != nil {
		return nil, nil, nil, err
	}
	taken := make([]int, len(a.keys))
	xs, ys = a.take(taken, xs), a.take(taken, ys)
	scale = slices.Clone(scale)
	for j, sc := range scale {
		scale[j].Xs = a.take(taken, sc.Xs)
		if !b.engine.minus {
			scale[j].By = a.take(taken, []Share{sc.By})[0]
		}
	}
	return xs, ys, scale, nil
}

// session is the index of the key of x, or -1 for this session's own. Which
// values are of one session is no secret.
func (a *adopter) session(x Share) int {
	if x.Key.Equal(a.box.key.own) {
		return -1
	}
	i := slices.IndexFunc(a.keys, x.Key.Equal)
	if i < 0 {
		i = len(a.keys)
		a.keys, a.old = append(a.keys, x.Key), append(a.old, nil)
	}
	return i
}

func (a *adopter) note(xs []Share) {
	for _, x := range xs {
		if i := a.session(x); i >= 0 {
			a.old[i] = append(a.old[i], x)
		}
	}
}

// take replaces what was noted, in the same order.
func (a *adopter) take(taken []int, xs []Share) []Share {
	out := slices.Clone(xs)
	for k, x := range out {
		if i := a.session(x); i >= 0 {
			out[k] = a.fresh[i][taken[i]]
			taken[i]++
		}
	}
	return out
}

// keyLength is how many digits MAC keys have. Those of the first version were
// numbers of 256 bits, which is no secret.
func keyLength(keys []p256.Scalar) int {
	for _, key := range keys {
		if b := key.Bytes(); binary.BigEndian.Uint64(b[:])|binary.BigEndian.Uint64(b[8:]) != 0 {
			return numberDigits
		}
	}
	return keyDigits
}

func (a *adopter) adopt(ctx context.Context) error {
	b := a.box
	digits := keyLength(a.keys)
	own := make([]byte, 0, digits/4*len(a.keys))
	for _, key := range a.keys {
		big := key.Bytes()
		for i := range digits / 32 {
			own = binary.LittleEndian.AppendUint64(own, binary.BigEndian.Uint64(big[24-8*i:]))
		}
	}
	fs, err := b.newFactors(ctx, digits, own)
	if err != nil {
		return err
	}
	defer func() {
		for _, f := range fs {
			f.erase()
		}
	}()
	// One round: MACs of this session for the values of each other one and a
	// mask, and for the mask one of that session too.
	macs := &job{fs: []*factor{b.key}}
	jobs := []*job{macs}
	for i := range a.keys {
		for _, x := range a.old[i] {
			macs.xs = append(macs.xs, x.Value)
		}
		mask := randomScalar()
		macs.xs = append(macs.xs, mask)
		jobs = append(jobs, &job{fs: fs[i : i+1], xs: []p256.Scalar{mask}})
	}
	defer clear(macs.xs)
	if err := b.times(ctx, jobs...); err != nil {
		return err
	}
	at := 0
	for i, key := range a.keys {
		n := len(a.old[i])
		fresh := make([]Share, n+1)
		for k := range fresh {
			fresh[k] = Share{macs.xs[at+k], macs.products[0][at+k], b.key.own}
		}
		at += len(fresh)
		a.fresh = append(a.fresh, fresh[:n:n])
		b.pending.adopted = append(b.pending.adopted, adoption{
			old:   append(a.old[i][:n:n], Share{fresh[n].Value, jobs[1+i].products[0][0], key}),
			fresh: fresh,
		})
	}
	return nil
}
