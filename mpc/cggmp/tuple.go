package cggmp

import (
	"errors"
	"fmt"
	"slices"

	"github.com/taurusgroup/multi-party-sig/pkg/ecdsa"

	"zonesigner/mpc"
	"zonesigner/mpc/p256"
)

// tuple is a presignature: one party's shares of a nonce k and of χ = k·sk,
// with R = k⁻¹·G. (The library's k is the inverse of what FIPS 186-5 calls
// k.) A signature on m is s = k·m + r·χ. What it is randomised with when it is
// spent is a nonce of each member, committed to when it was made.
type tuple struct {
	R           p256.Point
	RBar        []p256.Point           // kⱼ·R of each member of the signer set
	S           []p256.Point           // χⱼ·R of each
	commitments [][sizeCommitment]byte // of each to its nonce
	k           p256.Scalar            // secret
	chi         p256.Scalar            // secret
	nonce       [sizeNonce]byte        // secret until the tuple is spent
}

// Sizes of a nonce and of the commitment to it, in bytes.
const (
	sizeNonce      = 32
	sizeCommitment = 32
)

// Format keeps the secrets, which fmt would read past their own Format.
func (t *tuple) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("cggmp.tuple(secret)")) }

// newTuple takes what the library made for set.
func newTuple(k *KeyShare, set mpc.SignerSet, p *ecdsa.PreSignature) (*tuple, error) {
	t := &tuple{R: pointOf(p.R), k: scalarOf(p.KShare), chi: scalarOf(p.ChiShare)}
	for _, member := range set {
		id := libraryID(k.Group, member)
		rBar, s := p.RBar.Points[id], p.S.Points[id]
		if rBar == nil || s == nil {
			return nil, fmt.Errorf("presignature without the values of %s", member)
		}
		t.RBar, t.S = append(t.RBar, pointOf(rBar)), append(t.S, pointOf(s))
	}
	return t, t.check(k, set)
}

// check reports whether the public values of a presignature make it good for
// a signature under k: Σ kⱼ·R = G and Σ χⱼ·R = sk·G, and our own are those of
// our shares. Then shares of s that fit them add up to a valid signature, and
// where the sum is not valid a share that does not fit names its sender.
func (t *tuple) check(k *KeyShare, set mpc.SignerSet) error {
	var sumK, sumChi p256.Point
	for j := range set {
		if t.RBar[j].IsIdentity() || t.S[j].IsIdentity() {
			return errors.New("presignature with the identity in it")
		}
		sumK, sumChi = sumK.Add(t.RBar[j]), sumChi.Add(t.S[j])
	}
	i := slices.Index(set, k.Self)
	switch {
	case t.R.IsIdentity() || !sumK.Equal(p256.Generator()) || !sumChi.Equal(k.Public):
		return errors.New("presignature that is not one of this key")
	case i < 0 || !t.R.Mult(t.k).Equal(t.RBar[i]) || !t.R.Mult(t.chi).Equal(t.S[i]):
		return errors.New("presignature with other shares than were published")
	}
	return nil
}

// commitment commits a member to its nonce of this tuple. R makes it good for
// no other tuple, the name for no other member.
func (t *tuple) commitment(p mpc.PartyID, nonce []byte) ([sizeCommitment]byte, error) {
	R, err := t.R.Bytes()
	return mpc.Digest("zonesigner cggmp nonce v2", R[:], []byte(p), nonce), err
}

// public is all that the members of the set hold alike.
func (t *tuple) public() ([]byte, error) {
	b, err := p256.AppendPoints(nil, slices.Concat([]p256.Point{t.R}, t.RBar, t.S))
	for _, c := range t.commitments {
		b = append(b, c[:]...)
	}
	return b, err
}

func (t *tuple) erase() {
	t.k, t.chi = p256.Scalar{}, p256.Scalar{}
	clear(t.nonce[:])
}

func erase(ts []*tuple) {
	for _, t := range ts {
		t.erase()
	}
}

// chunkVersion begins an encoded chunk. Tuples of version 1 have no nonces,
// and nothing is signed with them any more.
const chunkVersion = 2

// encodeChunk is one byte of version, one of the number of members, and for
// each tuple its points (64 bytes each) and commitments (32), and this party's
// two scalars and nonce.
func encodeChunk(ts []*tuple, members int) ([]byte, error) {
	b := []byte{chunkVersion, byte(members)}
	for _, t := range ts {
		public, err := t.public()
		if err != nil {
			return nil, err
		}
		b = p256.AppendScalars(append(b, public...), []p256.Scalar{t.k, t.chi})
		b = append(b, t.nonce[:]...)
	}
	return b, nil
}

// decodeChunk decodes tuples from to from+count-1 of a chunk, strictly.
func decodeChunk(b []byte, members, from, count int) ([]*tuple, error) {
	size := sizePoint*(1+2*members) + sizeCommitment*members + 2*sizeScalar + sizeNonce
	if len(b) < 2 || b[0] != chunkVersion || int(b[1]) != members || (len(b)-2)%size != 0 {
		return nil, fmt.Errorf("chunk of %d bytes is not of version %d for %d members", len(b), chunkVersion, members)
	}
	if n := (len(b) - 2) / size; from < 0 || count < 1 || from > n || count > n-from {
		return nil, fmt.Errorf("chunk of %d tuples has no range %d+%d", n, from, count)
	}
	ts := make([]*tuple, count)
	for i := range ts {
		r := mpc.NewReader(b[2+size*(from+i):])
		points, err := p256.DecodePoints(r.Take(sizePoint*(1+2*members)), 1+2*members)
		if err != nil {
			return nil, fmt.Errorf("chunk: %w", err)
		}
		commitments := make([][sizeCommitment]byte, members)
		for j := range commitments {
			copy(commitments[j][:], r.Take(len(commitments[j])))
		}
		scalars, err := p256.DecodeScalars(r.Take(2*sizeScalar), 2)
		if err != nil {
			return nil, fmt.Errorf("chunk: %w", err)
		}
		ts[i] = &tuple{R: points[0], RBar: points[1 : 1+members], S: points[1+members:], commitments: commitments, k: scalars[0], chi: scalars[1]}
		copy(ts[i].nonce[:], r.Take(sizeNonce))
	}
	return ts, nil
}
