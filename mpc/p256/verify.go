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

// VerifyBatch checks one signature (rs[i], ss[i]) under pk for each digest,
// given the point Rs[i] that r is the x coordinate of, all public and in the
// same order. It returns the indices of bad ones in rising order: nil, nil
// says that every signature is good. The error is for arguments that make no
// batch (lengths, pk the identity) and for rand.
//
// A signature is bad if r or s is 0, R is the identity, r is not x(R) mod n,
// or R ≠ (m/s)·G + (r/s)·pk. The last is checked as one sum over the batch,
// Σ ρᵢ·Rᵢ = (Σ ρᵢ·mᵢ/sᵢ)·G + (Σ ρᵢ·rᵢ/sᵢ)·pk, with 128-bit ρᵢ that are drawn
// from rand here, after everything is fixed: a bad batch passes with
// probability 2⁻¹²⁸. (Bellare, Garay and Rabin, "Fast batch verification for
// modular exponentiation and digital signatures", EUROCRYPT 1998: the small
// exponents test.) Only if it fails are signatures checked one by one.
func VerifyBatch(pk Point, digests [][32]byte, rs, ss []Scalar, Rs []Point, rand io.Reader) (bad []int, err error) {
	n := len(digests)
	if len(rs) != n || len(ss) != n || len(Rs) != n {
		return nil, fmt.Errorf("batch of %d digests, %d r, %d s and %d R, expected as many of each", n, len(rs), len(ss), len(Rs))
	}
	if pk.IsIdentity() {
		return nil, errors.New("public key is the identity")
	}
	normal := normalized(Rs)

	coins := make([]byte, 16*n)
	if _, err := io.ReadFull(rand, coins); err != nil {
		return nil, fmt.Errorf("random coefficients: %w", err)
	}

	// Those that are malformed are bad at once; the sums run over the others.
	good := make([]int, 0, n)
	inverses := make([]Scalar, 0, n) // 1/s
	for i, R := range normal {
		if rs[i].IsZero() || ss[i].IsZero() || R.IsIdentity() || (affine{R.x, R.y}).r() != rs[i] {
			bad = append(bad, i)
			continue
		}
		good = append(good, i)
		inverses = append(inverses, ss[i])
	}
	if err := InvertBatch(inverses); err != nil {
		return nil, err // not reached: no s is zero
	}
	rhos := make([]Scalar, len(good))
	points := make([]Point, len(good))
	var sumG, sumPK Scalar
	for j, i := range good {
		rhos[j] = ScalarFromWide(coins[16*i : 16*(i+1)])
		points[j] = normal[i]
		weight := rhos[j].Mul(inverses[j]) // ρ/s
		sumG = sumG.Add(weight.Mul(ScalarFromDigest(digests[i][:])))
		sumPK = sumPK.Add(weight.Mul(rs[i]))
	}
	if MultiScalarMult(rhos, points).Equal(BaseMult(sumG).Add(pk.Mult(sumPK))) {
		return bad, nil
	}

	for j, i := range good {
		u1 := inverses[j].Mul(ScalarFromDigest(digests[i][:]))
		u2 := inverses[j].Mul(rs[i])
		if !BaseMult(u1).Add(pk.Mult(u2)).Equal(points[j]) {
			bad = append(bad, i)
		}
	}
	slices.Sort(bad)
	return bad, nil
}
