package mpc

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"

	"zonesigner/mpc/p256"
)

// MACBox is what a Box offers whose sharings have no redundancy, as those of
// all n parties with n-1 adversaries, but MACs: shares of α·x for a key α that
// is shared additively.
type MACBox[S any] interface {
	Box[S]
	// MACKey is this party's share of α, an addend. It is the session's; who
	// keeps MACs keeps it with them.
	MACKey() p256.Scalar
	// MAC is this party's share of α·x, an addend.
	MAC(x S) p256.Scalar
}

// PointMACs are points that should be xᵢ·G, and this party's shares of the MACs
// of the xᵢ and of the MAC key.
type PointMACs struct {
	Key    p256.Scalar   // secret: an addend of α
	MACs   []p256.Scalar // secret: addends of α·xᵢ
	Points []p256.Point
}

// CheckPointMACs checks that points, which all parties of net hold alike, are
// what their MACs say: the MAC in the exponent of section 4.4 of the paper, for
// all points at once. coins must be the same for all, and nobody may have known
// them when the points were fixed: a value of a coin toss, or a hash of all
// shares of points that were committed to before anyone saw those of others. It
// takes two rounds, round+"c" and round+"o".
//
// A wrong point is a CheatError that disputes all others.
func CheckPointMACs(ctx context.Context, net Network, round string, coins [32]byte, parts ...PointMACs) error {
	// Σⱼ Σᵢ ρᵢ·(macᵢⱼ·G - αⱼ·Pᵢ) is the identity, with ρᵢ of 128 bits.
	var mac p256.Scalar
	var share p256.Point
	next := 0
	for _, p := range parts {
		if len(p.MACs) != len(p.Points) {
			return &ArgumentError{Msg: fmt.Sprintf("check of points: %d MACs for %d points", len(p.MACs), len(p.Points))}
		}
		rho := make([]p256.Scalar, len(p.Points))
		for i := range rho {
			d := Digest("zonesigner point coins v1", coins[:], binary.BigEndian.AppendUint32(nil, uint32(next)))
			rho[i] = p256.ScalarFromWide(d[:16])
			next++
		}
		mac = mac.Add(p256.InnerProduct(rho, p.MACs))
		share = share.Sub(weightedSum(rho, p.Points, p.Key))
	}
	encoded, err := p256.BaseMult(mac).Add(share).Bytes()
	if err != nil {
		return fmt.Errorf("check of points: %w", err) // one in 2²⁵⁶, or nothing to check
	}
	own := make([]byte, 32, 32+len(encoded))
	_, _ = rand.Read(own)
	own = append(own, encoded[:]...)
	commit := func(p PartyID, opening []byte) []byte {
		d := Digest("zonesigner point check v1", coins[:], []byte(round), []byte(p), opening)
		return d[:]
	}
	commitments, err := Exchange(ctx, net, round+"c", commit(net.Self(), own))
	if err != nil {
		return err
	}
	openings, err := Exchange(ctx, net, round+"o", own)
	if err != nil {
		return err
	}
	var total p256.Point
	var others []PartyID
	for _, p := range net.Parties() {
		if p != net.Self() {
			others = append(others, p)
		}
		if !bytes.Equal(commit(p, openings[p]), commitments[p]) {
			return &CheatError{Parties: []PartyID{p}, What: "check of points: it did not open what it committed to"}
		}
		if len(openings[p]) != len(own) {
			return &CheatError{Parties: []PartyID{p}, What: fmt.Sprintf("check of points: opening of %d bytes, want %d", len(openings[p]), len(own))}
		}
		z, err := p256.PointFromBytes(openings[p][32:])
		if err != nil {
			return &CheatError{Parties: []PartyID{p}, What: "check of points: " + err.Error()}
		}
		total = total.Add(z)
	}
	if !total.IsIdentity() {
		return &CheatError{Parties: others, Disputed: len(others) > 1, What: "a point does not fit its MAC"}
	}
	return nil
}

// fewPoints are sooner multiplied one by one.
const fewPoints = 4

// weightedSum returns key·Σ ρᵢ·Pᵢ, in time that does not depend on the key.
func weightedSum(rho []p256.Scalar, points []p256.Point, key p256.Scalar) (sum p256.Point) {
	if len(points) > fewPoints {
		return p256.MultiScalarMult(rho, points).Mult(key)
	}
	for i, p := range points {
		sum = sum.Add(p.Mult(rho[i].Mul(key)))
	}
	return sum
}
