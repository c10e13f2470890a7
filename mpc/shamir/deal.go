package shamir

import (
	"fmt"
	"io"
	"slices"

	"zonesigner/mpc"
	"zonesigner/mpc/p256"
)

// Deal takes a uniform polynomial of degree t with the value x at 0 and gives
// each party its value at the party's point.
func (e Engine) Deal(g mpc.Group, x p256.Scalar, rand io.Reader) ([][]p256.Scalar, error) {
	if err := e.Supports(g); err != nil {
		return nil, err
	}
	coefficients := []p256.Scalar{x}
	defer func() { clear(coefficients) }()
	for range g.T {
		c, err := p256.RandomScalar(rand)
		if err != nil {
			return nil, fmt.Errorf("%s: deal: %w", e.Name(), err)
		}
		coefficients = append(coefficients, c)
	}
	words := make([][]p256.Scalar, g.N())
	for i, p := range g.Parties {
		at, _ := g.X(p)
		var value p256.Scalar
		for _, c := range slices.Backward(coefficients) {
			value = value.Mul(p256.NewScalar(uint64(at))).Add(c)
		}
		words[i] = []p256.Scalar{value}
	}
	return words, nil
}

// SigningForm is the share itself.
func (e Engine) SigningForm(g mpc.Group, id mpc.PartyID) ([]p256.Scalar, error) {
	if _, ok := g.X(id); !ok {
		return nil, &mpc.ArgumentError{Msg: fmt.Sprintf("%s: %q is no operator of the group", e.Name(), id)}
	}
	return []p256.Scalar{p256.One()}, nil
}

// CheckCopies has nothing to check: every party has a share of its own.
func (Engine) CheckCopies(mpc.Group, [][]p256.Point) error { return nil }
