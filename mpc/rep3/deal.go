package rep3

import (
	"fmt"
	"io"
	"slices"

	"zonesigner/mpc"
	"zonesigner/mpc/p256"
)

// Deal takes two uniform parts and what they lack of x, and gives each party
// the two that it holds.
func (e Engine) Deal(g mpc.Group, x p256.Scalar, rand io.Reader) ([][]p256.Scalar, error) {
	if err := e.Supports(g); err != nil {
		return nil, err
	}
	parts := [3]p256.Scalar{x}
	defer clear(parts[:])
	for k := 1; k < len(parts); k++ {
		part, err := p256.RandomScalar(rand)
		if err != nil {
			return nil, fmt.Errorf("%s: deal: %w", e.Name(), err)
		}
		parts[k], parts[0] = part, parts[0].Sub(part)
	}
	words := make([][]p256.Scalar, len(parts))
	for i := range words {
		words[i] = []p256.Scalar{parts[(i+1)%3], parts[(i+2)%3]}
	}
	return words, nil
}

// SigningForm is the line of each part at id's point (section 5a).
func (e Engine) SigningForm(g mpc.Group, id mpc.PartyID) ([]p256.Scalar, error) {
	if err := e.Supports(g); err != nil {
		return nil, err
	}
	i := slices.Index(g.Parties, id)
	if i < 0 {
		return nil, &mpc.ArgumentError{Msg: fmt.Sprintf("%s: %q is no operator of the group", e.Name(), id)}
	}
	line := toShamir(g, i)
	return line[:], nil
}

// CheckCopies compares the two copies of each part: the invariant of section
// 5a, which no later check would look at by itself.
func (e Engine) CheckCopies(g mpc.Group, words [][]p256.Point) error {
	if err := e.Supports(g); err != nil {
		return err
	}
	for k := range words {
		next, prev := (k+1)%3, (k+2)%3 // who hold part k
		if !words[prev][0].Equal(words[next][1]) {
			return &mpc.ArgumentError{Msg: fmt.Sprintf("%s: operators %s and %s are given different copies of a part", e.Name(), g.Parties[next], g.Parties[prev])}
		}
	}
	return nil
}
