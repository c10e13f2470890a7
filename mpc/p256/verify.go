package p256

import (
	"crypto/ecdsa"
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"
)

// VerifySignature reports whether sig (r then s, 32 bytes each, big-endian:
// RFC 6605, section 4) is pk's ECDSA signature on the digest. It asks
// crypto/ecdsa, which shares no code with this package.
func VerifySignature(pk Point, digest [32]byte, sig [64]byte) bool {
	key, err := pk.PublicKey()
	if err != nil {
		return false
	}
	r, s := new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])
	return ecdsa.Verify(key, digest[:], r, s)
}

// VerifyBatch checks one signature (rs[i], ss[i]) under pks[i] for each
// digest, given the point Rs[i] that r is the x coordinate of, all public and
// in the same order. It returns the indices of bad ones in rising order: nil,
// nil says that every signature is good. The error is for arguments that make
// no batch (lengths, a pk that is the identity) and for rand. Signatures of one
// key cost least side by side.
//
// A signature is bad if r or s is 0, R is the identity, r is not x(R) mod n,
// or R ≠ (m/s)·G + (r/s)·pk. The last is checked as one sum over the batch,
// Σ ρᵢ·Rᵢ = (Σ ρᵢ·mᵢ/sᵢ)·G + Σ (ρᵢ·rᵢ/sᵢ)·pkᵢ, with 128-bit ρᵢ that are drawn
// from rand here, after everything is fixed: a bad batch passes with
// probability 2⁻¹²⁸ (Bellare, Garay and Rabin, "Fast batch verification for
// modular exponentiation and digital signatures", EUROCRYPT 1998: the small
// exponents test). If it fails, and where there are too few for it to pay,
// signatures are checked one by one.
func VerifyBatch(pks []Point, digests [][32]byte, rs, ss []Scalar, Rs []Point, rand io.Reader) (bad []int, err error) {
	n := len(digests)
	if len(pks) != n || len(rs) != n || len(ss) != n || len(Rs) != n {
		return nil, fmt.Errorf("batch of %d digests, %d keys, %d r, %d s and %d R, expected as many of each", n, len(pks), len(rs), len(ss), len(Rs))
	}
	if slices.ContainsFunc(pks, Point.IsIdentity) {
		return nil, errors.New("public key is the identity")
	}
	coins := make([]byte, coinSize*n)
	if _, err := io.ReadFull(rand, coins); err != nil {
		return nil, fmt.Errorf("random coefficients: %w", err)
	}

	// What is malformed is bad at once; the sum runs over the others.
	var (
		equations = make([]equation, 0, n)
		inverses  = make([]Scalar, 0, n)
		indices   = make([]int, 0, n)
	)
	for i, R := range normalized(Rs) {
		if r, err := R.X(); err != nil || r != rs[i] || r.IsZero() || ss[i].IsZero() {
			bad = append(bad, i)
			continue
		}
		equations = append(equations, equation{pk: pks[i], m: ScalarFromDigest(digests[i][:]), r: rs[i], R: R})
		inverses = append(inverses, ss[i])
		indices = append(indices, i)
	}
	if err := InvertPublic(inverses); err != nil {
		return nil, err // not reached: no s is zero
	}
	for j, i := range indices {
		equations[j].sInv = inverses[j]
		equations[j].rho = ScalarFromWide(coins[coinSize*i : coinSize*(i+1)])
	}
	if len(equations) > fewEquations && sumHolds(equations) {
		return bad, nil
	}
	for j, e := range equations {
		if !e.holds() {
			bad = append(bad, indices[j])
		}
	}
	slices.Sort(bad)
	return bad, nil
}

const (
	coinSize     = 16 // bytes of a random coefficient
	fewEquations = 4  // are checked sooner one by one
)

// equation is R = (m/s)·G + (r/s)·pk, to be weighted by ρ.
type equation struct {
	m, r, sInv, rho Scalar
	pk, R           Point
}

func (e equation) holds() bool {
	return BaseMult(e.m.Mul(e.sInv)).Add(e.pk.Mult(e.r.Mul(e.sInv))).Equal(e.R)
}

// sumHolds says whether the sum of the weighted equations holds.
func sumHolds(equations []equation) bool {
	rhos := make([]Scalar, len(equations))
	points := make([]Point, len(equations))
	var (
		m, r Scalar // Σ ρ·m/s over all, Σ ρ·r/s over one key's
		sum  Point
	)
	for i, e := range equations {
		weight := e.rho.Mul(e.sInv)
		m = m.Add(weight.Mul(e.m))
		r = r.Add(weight.Mul(e.r))
		rhos[i], points[i] = e.rho, e.R
		if last := i+1 == len(equations); last || equations[i+1].pk != e.pk {
			sum, r = sum.Add(e.pk.Mult(r)), Scalar{}
		}
	}
	return MultiScalarMult(rhos, points).Equal(BaseMult(m).Add(sum))
}
