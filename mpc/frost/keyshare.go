package frost

import (
	"fmt"

	"filippo.io/edwards25519"

	"zonesigner/mpc"
)

// Engine is what configuration, statements and key records call this protocol.
const Engine = "frost"

// KeyShare is one party's share of a key and what is public about the key.
type KeyShare struct {
	ID           mpc.KeyID
	Group        mpc.Group // as it was when the shares were made: its order fixes the evaluation points
	Self         mpc.PartyID
	Epoch        uint64               // of the shares; grows with every refresh or reshare
	Share        *edwards25519.Scalar // secret; the polynomial's value at Group.X(Self)
	Public       *edwards25519.Point
	PublicShares []*edwards25519.Point // of each party in Group's order: its share times the base point
}

// PublicKey returns the public key in the form of a DNSKEY (RFC 8080, section
// 3).
func (k *KeyShare) PublicKey() [32]byte { return [32]byte(k.Public.Bytes()) }

// String names the key and shows no secret.
func (k KeyShare) String() string {
	return fmt.Sprintf("share of key %s (%s, epoch %d) of operator %s", k.ID, Engine, k.Epoch, k.Self)
}

// Format keeps every printing verb to String.
func (k KeyShare) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(k.String())) }

// keyShareMagic begins an encoded share and carries its version.
const keyShareMagic = "zonesigner frost key share v1\n"

// MarshalBinary encodes the share, secret included: length-prefixed text,
// big-endian numbers, scalars and points as RFC 9591 has them.
func (k *KeyShare) MarshalBinary() ([]byte, error) {
	if err := k.validate(); err != nil {
		return nil, err
	}
	b := []byte(keyShareMagic)
	b = mpc.AppendText(b, string(k.ID))
	b = mpc.AppendHolder(b, k.Group, k.Self, k.Epoch)
	b = append(b, k.Share.Bytes()...)
	b = append(b, k.Public.Bytes()...)
	for _, p := range k.PublicShares {
		b = append(b, p.Bytes()...)
	}
	return b, nil
}

// UnmarshalBinary is the strict inverse of MarshalBinary: what it accepts
// encodes to the same bytes.
func (k *KeyShare) UnmarshalBinary(b []byte) error {
	r := mpc.NewReader(b)
	if string(r.Take(len(keyShareMagic))) != keyShareMagic {
		return fmt.Errorf("key share: it is not of version 1 of %s", Engine)
	}
	var d KeyShare
	d.ID = mpc.KeyID(r.Text())
	var err error
	if d.Group, d.Self, d.Epoch, err = r.Holder(); err != nil {
		return fmt.Errorf("key share: %w", err)
	}
	n := d.Group.N()
	share, points := r.Take(32), r.Take(32*(n+1))
	if !r.Done() {
		return fmt.Errorf("key share: %d bytes do not fit its fields", len(b))
	}
	if d.Share, err = decodeScalar(share); err != nil {
		return fmt.Errorf("key share: share: %w", err)
	}
	for ; len(points) > 0; points = points[32:] {
		p, err := decodeElement(points[:32])
		if err != nil {
			return fmt.Errorf("key share: public key and shares: %w", err)
		}
		d.PublicShares = append(d.PublicShares, p)
	}
	d.Public, d.PublicShares = d.PublicShares[0], d.PublicShares[1:]
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
	x, _ := k.Group.X(k.Self)
	switch {
	case k.ID == "" || len(k.ID) > mpc.MaxName:
		return fmt.Errorf("key share: id is empty or too long")
	case k.Share == nil || k.Public == nil || len(k.PublicShares) != k.Group.N():
		return fmt.Errorf("key share: %d public shares for %d parties, or no share or key", len(k.PublicShares), k.Group.N())
	case new(edwards25519.Point).ScalarBaseMult(k.Share).Equal(k.PublicShares[x-1]) != 1:
		return fmt.Errorf("key share: the share does not fit its public share")
	}
	return nil
}
