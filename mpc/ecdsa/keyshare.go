package ecdsa

import (
	"context"

	"zonesigner/mpc"
	"zonesigner/mpc/p256"
)

// KeyShare is one party's share of a key and what is public about the key.
type KeyShare struct {
	ID           mpc.KeyID
	Engine       string
	Group        mpc.Group // as it was when the shares were made: its order fixes the evaluation points
	Self         mpc.PartyID
	Epoch        uint64        // of the shares; grows with every refresh or reshare
	Share        []p256.Scalar // secret; in the engine's form (Engine.Words)
	Public       p256.Point
	PublicShares []p256.Point // of each party, in Group's order: its Shamir share times the generator
}

// PublicKey returns the public key as x then y, 32 bytes each: the form of a
// DNSKEY (RFC 6605, section 4).
func (k *KeyShare) PublicKey() [64]byte { return [64]byte{} }

// MarshalBinary encodes the share, secret included.
func (k *KeyShare) MarshalBinary() ([]byte, error) { return nil, errStub }

// UnmarshalBinary is the strict inverse of MarshalBinary.
func (k *KeyShare) UnmarshalBinary(b []byte) error { return errStub }

// GenerateKey makes a new key together with all parties of group.
func GenerateKey(ctx context.Context, net mpc.Network, id mpc.Identity, group mpc.Group, engine Protocol, label []byte) (*KeyShare, error) {
	return nil, errStub
}

// Protocol is an engine that Figure 4 runs over; Over makes one.
type Protocol interface{ Name() string }

// Over makes a Protocol of an engine.
func Over[S any](e mpc.Engine[S]) Protocol { return nil }
