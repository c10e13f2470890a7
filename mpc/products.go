package mpc

import (
	"slices"

	"zonesigner/mpc/p256"
)

// Products are those that a box made since its last Check, and the sacrificial
// ones that were made beside them to verify them by (docs/protocol.md, section
// 5). They are for engines whose sharings are linear and have the zero S as a
// sharing of zero. The methods that compute take the box for its linear part
// alone.
type Products[S any] struct {
	// Each product C of X and Y has a sacrificial product C2 of X2 and Y.
	X, Y, C, X2, C2 []S
	scaled          []scaled[S]
}

// scaled is many products with one common factor, which share one sacrifice:
// ws[i] = xs[i]·z and w2 = x2·z.
type scaled[S any] struct {
	xs, ws    []S
	z, x2, w2 S
}

// Add keeps products cs of xs and ys, with c2s of x2s and ys.
func (p *Products[S]) Add(xs, ys, cs, x2s, c2s []S) {
	p.X, p.Y, p.C = append(p.X, xs...), append(p.Y, ys...), append(p.C, cs...)
	p.X2, p.C2 = append(p.X2, x2s...), append(p.C2, c2s...)
}

// AddScaled keeps what scalings made, ws[j] of scale[j], with w2s[j] of x2s[j].
func (p *Products[S]) AddScaled(scale []Scaling[S], ws [][]S, x2s, w2s []S) {
	for j, sc := range scale {
		p.scaled = append(p.scaled, scaled[S]{slices.Clone(sc.Xs), slices.Clone(ws[j]), sc.By, x2s[j], w2s[j]})
	}
}

// Empty reports whether there is nothing to verify.
func (p *Products[S]) Empty() bool { return len(p.X)+len(p.scaled) == 0 }

// Differences are e = χ·x - x2 of each product, and one of each scaling, to be
// opened.
func (p *Products[S]) Differences(box ABB[S], chi, psi p256.Scalar) []S {
	e := make([]S, 0, len(p.X)+len(p.scaled))
	for i, x := range p.X {
		e = append(e, box.Sub(box.Scale(x, chi), p.X2[i]))
	}
	for _, w := range p.scaled {
		e = append(e, box.Sub(box.Scale(horner(box, w.xs, psi), chi), w.x2))
	}
	return e
}

// Zeros are Σ ψⁱ·(χ·cᵢ - c2ᵢ - eᵢ·yᵢ), where e are the opened differences, and
// χ·Σψⁱ·wᵢ - w2 - e·z of each scaling: sharings of zero if, but for chance, all
// products are right.
func (p *Products[S]) Zeros(box ABB[S], chi, psi p256.Scalar, e []p256.Scalar) []S {
	t := make([]S, len(p.X))
	for i, c := range p.C {
		t[i] = box.Sub(box.Sub(box.Scale(c, chi), p.C2[i]), box.Scale(p.Y[i], e[i]))
	}
	zeros := []S{horner(box, t, psi)}
	for j, w := range p.scaled {
		d := box.Sub(box.Scale(horner(box, w.ws, psi), chi), w.w2)
		zeros = append(zeros, box.Sub(d, box.Scale(w.z, e[len(p.X)+j])))
	}
	return zeros
}

// Erase clears and forgets all of them.
func (p *Products[S]) Erase() {
	for _, l := range [][]S{p.X, p.Y, p.C, p.X2, p.C2} {
		clear(l)
	}
	for _, w := range p.scaled {
		clear(w.xs)
		clear(w.ws)
	}
	*p = Products[S]{}
}

// SplitScaled cuts ws, the products of all scalings in order, into those of
// each.
func SplitScaled[S any](scale []Scaling[S], ws []S) [][]S {
	var out [][]S
	for _, sc := range scale {
		n := len(sc.Xs)
		out, ws = append(out, ws[:n:n]), ws[n:]
	}
	return out
}

// horner returns Σ ψⁱ·xsᵢ.
func horner[S any](box ABB[S], xs []S, psi p256.Scalar) (v S) {
	for _, x := range slices.Backward(xs) {
		v = box.Add(box.Scale(v, psi), x)
	}
	return v
}

// Coins are two scalars that are a hash of what all parties hold alike, under
// the domain of their engine.
func Coins(domain string, fields ...[]byte) (chi, psi p256.Scalar) {
	var wide [96]byte
	for i := range 3 {
		d := Digest(domain, append(slices.Clip(fields), []byte{byte(i)})...)
		copy(wide[32*i:], d[:])
	}
	return p256.ScalarFromWide(wide[:48]), p256.ScalarFromWide(wide[48:])
}
