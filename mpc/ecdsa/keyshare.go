package ecdsa

import (
	"fmt"

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
	Share        []p256.Scalar // secret; in the engine's form (mpc.Engine.Words)
	Public       p256.Point
	PublicShares []p256.Point // of each party in Group's order: its Shamir share times the base point
}

// PublicKey returns the public key as x then y, 32 bytes each: the form of a
// DNSKEY (RFC 6605, section 4).
func (k *KeyShare) PublicKey() [64]byte {
	b, _ := k.Public.Bytes() // a key is never the identity
	return b
}

// String names the key and shows no secret.
func (k *KeyShare) String() string {
	return fmt.Sprintf("share of key %s (%s, epoch %d) of operator %s", k.ID, k.Engine, k.Epoch, k.Self)
}

// Format keeps every printing verb to String.
func (k *KeyShare) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(k.String())) }

// keyShareMagic begins an encoded share and carries its version.
const keyShareMagic = "zonesigner key share v1\n"

// MarshalBinary encodes the share, secret included: length-prefixed text,
// big-endian numbers, points as x and y.
func (k *KeyShare) MarshalBinary() ([]byte, error) {
	if err := k.validate(); err != nil {
		return nil, err
	}
	b := []byte(keyShareMagic)
	b = mpc.AppendText(b, string(k.ID))
	b = mpc.AppendText(b, k.Engine)
	b = mpc.AppendHolder(b, k.Group, k.Self, k.Epoch)
	b = append(b, byte(len(k.Share)))
	b = p256.AppendScalars(b, k.Share)
	return p256.AppendPoints(b, append([]p256.Point{k.Public}, k.PublicShares...))
}

// UnmarshalBinary is the strict inverse of MarshalBinary: what it accepts
// encodes to the same bytes.
func (k *KeyShare) UnmarshalBinary(b []byte) error {
	r := mpc.NewReader(b)
	if string(r.Take(len(keyShareMagic))) != keyShareMagic {
		return fmt.Errorf("key share: it is not of version 1")
	}
	var d KeyShare
	d.ID = mpc.KeyID(r.Text())
	d.Engine = r.Text()
	var err error
	if d.Group, d.Self, d.Epoch, err = r.Holder(); err != nil {
		return fmt.Errorf("key share: %w", err)
	}
	n := d.Group.N()
	words := int(r.Byte())
	if d.Share, err = p256.DecodeScalars(r.Take(32*words), words); err != nil {
		return fmt.Errorf("key share: %w", err)
	}
	points, err := p256.DecodePoints(r.Take(64*(n+1)), n+1)
	if err != nil {
		return fmt.Errorf("key share: public key and shares: %w", err)
	}
	if !r.Done() {
		return fmt.Errorf("key share: %d bytes do not fit its fields", len(b))
	}
	d.Public, d.PublicShares = points[0], points[1:]
	if err := d.validate(); err != nil {
		return err
	}
	*k = d
	return nil
}

func (k *KeyShare) validate() error {
	if err := mpc.CheckHolder(k.Group, k.Self); err != nil {
		return fmt.Errorf("key share: %w", err)
	}
	switch {
	case k.ID == "" || len(k.ID) > mpc.MaxName || k.Engine == "" || len(k.Engine) > mpc.MaxName:
		return fmt.Errorf("key share: id or engine is empty or too long")
	case len(k.Share) == 0 || len(k.Share) > 255:
		return fmt.Errorf("key share: %d scalars", len(k.Share))
	case k.Public.IsIdentity() || len(k.PublicShares) != k.Group.N():
		return fmt.Errorf("key share: public key is the identity, or %d public shares for %d parties", len(k.PublicShares), k.Group.N())
	}
	return nil
}
