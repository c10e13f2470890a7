package shamir

import (
	"io"

	"zonesigner/mpc"
	"zonesigner/mpc/p256"
)

// Deal shares x as mpc.ShamirDealer does.
func (e Engine) Deal(g mpc.Group, x p256.Scalar, rand io.Reader) ([][]p256.Scalar, error) {
	if err := e.Supports(g); err != nil {
		return nil, err
	}
	return mpc.ShamirDealer{}.Deal(g, x, rand)
}

// SigningForm is the share itself.
func (Engine) SigningForm(g mpc.Group, id mpc.PartyID) ([]p256.Scalar, error) {
	return mpc.ShamirDealer{}.SigningForm(g, id)
}

// CheckCopies has nothing to check: every party has a share of its own.
func (Engine) CheckCopies(g mpc.Group, words [][]p256.Point) error {
	return mpc.ShamirDealer{}.CheckCopies(g, words)
}
