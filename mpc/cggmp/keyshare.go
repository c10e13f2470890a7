package cggmp

import (
	"errors"
	"fmt"

	"github.com/cronokirby/saferith"
	"github.com/taurusgroup/multi-party-sig/pkg/math/arith"
	"github.com/taurusgroup/multi-party-sig/pkg/paillier"
	"github.com/taurusgroup/multi-party-sig/pkg/party"
	"github.com/taurusgroup/multi-party-sig/pkg/pedersen"
	"github.com/taurusgroup/multi-party-sig/protocols/cmp"
	"github.com/taurusgroup/multi-party-sig/protocols/cmp/config"

	"zonesigner/mpc"
	"zonesigner/mpc/p256"
)

// Engine is the engine's name in configuration, key shares and statements.
const Engine = "cggmp"

// Supports reports an ArgumentError when no key can be made for g.
func Supports(g mpc.Group) error {
	if err := g.Validate(); err != nil {
		return err
	}
	if g.N() > mpc.MaxMembers {
		return &mpc.ArgumentError{Msg: fmt.Sprintf("cggmp: %d operators, at most %d are supported", g.N(), mpc.MaxMembers)}
	}
	_, err := mpc.NewOpening(g, g.Parties, g.Parties[0], g.T) // of the public key, see openPublic
	return err
}

// Signers reports an ArgumentError unless set has t+1 members or more, all of
// g.
func Signers(g mpc.Group, set mpc.SignerSet) error {
	for _, p := range set {
		if _, ok := g.X(p); !ok {
			return &mpc.ArgumentError{Msg: fmt.Sprintf("cggmp: signer %q does not belong to the group", p)}
		}
	}
	if !set.Equal(mpc.NewSignerSet(set...)) || len(set) <= g.T {
		return &mpc.ArgumentError{Msg: fmt.Sprintf("cggmp: %s is no signer set of at least %d operators", set, g.T+1)}
	}
	return nil
}

// KeyShare is one party's share of a key and what is public about the key.
type KeyShare struct {
	ID           mpc.KeyID
	Engine       string
	Group        mpc.Group // as it was when the shares were made: its order fixes the evaluation points
	Self         mpc.PartyID
	Epoch        uint64 // of the shares; grows with every refresh or reshare
	Public       p256.Point
	PublicShares []p256.Point // of each party in Group's order: its Shamir share times the base point

	config *cmp.Config // secret
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

// newKeyShare takes what the library made; ID is still to be set.
func newKeyShare(g mpc.Group, self mpc.PartyID, c *cmp.Config) (*KeyShare, error) {
	k := &KeyShare{Engine: Engine, Group: g, Self: self, config: c}
	for _, p := range g.Parties {
		public := c.Public[libraryID(g, p)]
		if public == nil {
			return nil, fmt.Errorf("cggmp: the library made no share for operator %s", p)
		}
		k.PublicShares = append(k.PublicShares, pointOf(public.ECDSA))
	}
	return k, k.openPublic()
}

// openPublic recombines the public key and checks that the shares of all n
// lie on one polynomial of degree t.
func (k *KeyShare) openPublic() error {
	opening, err := mpc.NewOpening(k.Group, k.Group.Parties, k.Self, k.Group.T)
	if err != nil {
		return err
	}
	shares := make([][]p256.Point, len(k.PublicShares))
	for i, p := range k.PublicShares {
		shares[i] = []p256.Point{p.Mult(opening.Scale())}
	}
	public, err := opening.Points("public key", shares)
	if err != nil {
		return err
	}
	k.Public = public[0]
	return nil
}

// keyShareMagic begins an encoded share and carries its version.
const keyShareMagic = "zonesigner cggmp key share v1\n"

// Sizes of an encoded share in bytes: the primes, and per party its points,
// modulus and Pedersen parameters.
const (
	sizePrime  = 128
	sizePublic = 2*sizePoint + 3*sizeModN
)

// MarshalBinary encodes the share, secrets included, in a form of our own that
// does not change with the library: length-prefixed text, big-endian numbers
// of fixed width, points as x and y. After the header come the share of the
// key, the ElGamal key, the primes of the Paillier key, two public seeds, and
// for each party its public share, ElGamal key, modulus and Pedersen
// parameters.
func (k *KeyShare) MarshalBinary() ([]byte, error) {
	if err := k.validate(); err != nil {
		return nil, err
	}
	b := []byte(keyShareMagic)
	b = mpc.AppendText(b, string(k.ID))
	b = mpc.AppendHolder(b, k.Group, k.Self, k.Epoch)
	c := k.config
	b = scalarOf(c.ECDSA).AppendBytes(b)
	b = scalarOf(c.ElGamal).AppendBytes(b)
	b = appendNat(b, sizePrime, c.Paillier.P())
	b = appendNat(b, sizePrime, c.Paillier.Q())
	b = append(append(b, c.RID...), c.ChainKey...)
	for _, p := range k.Group.Parties {
		public := c.Public[libraryID(k.Group, p)]
		var err error
		if b, err = p256.AppendPoints(b, []p256.Point{pointOf(public.ECDSA), pointOf(public.ElGamal)}); err != nil {
			return nil, fmt.Errorf("key share: public values of %s: %w", p, err)
		}
		b = appendNat(b, sizeModN, public.Pedersen.N().Nat())
		b = appendNat(b, sizeModN, public.Pedersen.S())
		b = appendNat(b, sizeModN, public.Pedersen.T())
	}
	return b, nil
}

// appendNat appends x in size bytes, which validate has found to suffice.
func appendNat(b []byte, size int, x *saferith.Nat) []byte {
	fixed := make([]byte, size)
	x.FillBytes(fixed)
	b = append(b, fixed...)
	clear(fixed)
	return b
}

// UnmarshalBinary is the strict inverse of MarshalBinary: what it accepts
// encodes to the same bytes, and fits together.
func (k *KeyShare) UnmarshalBinary(b []byte) error {
	r := mpc.NewReader(b)
	if string(r.Take(len(keyShareMagic))) != keyShareMagic {
		return errors.New("key share: it is not of version 1 of cggmp")
	}
	d := KeyShare{Engine: Engine}
	d.ID = mpc.KeyID(r.Text())
	var err error
	if d.Group, d.Self, d.Epoch, err = r.Holder(); err != nil {
		return fmt.Errorf("key share: %w", err)
	}
	n := d.Group.N()
	secret := r.Take(2*sizeScalar + 2*sizePrime + 2*sizeSeed)
	public := r.Take(n * sizePublic)
	if !r.Done() {
		return fmt.Errorf("key share: %d bytes do not fit its fields", len(b))
	}
	if err := mpc.CheckHolder(d.Group, d.Self); err != nil {
		return fmt.Errorf("key share: %w", err)
	}
	if err := d.decodeConfig(secret, public); err != nil {
		return fmt.Errorf("key share: %w", err)
	}
	if err := d.openPublic(); err != nil {
		return fmt.Errorf("key share: %w", err)
	}
	if err := d.validate(); err != nil {
		return err
	}
	*k = d
	return nil
}

// decodeConfig makes the library's own form of the share.
func (k *KeyShare) decodeConfig(secret, public []byte) error {
	r := mpc.NewReader(secret)
	scalars, err := p256.DecodeScalars(r.Take(2*sizeScalar), 2)
	if err != nil {
		return err
	}
	p, q := nat(r.Take(sizePrime)), nat(r.Take(sizePrime))
	for _, prime := range []*saferith.Nat{p, q} {
		if err := paillier.ValidatePrime(prime); err != nil {
			return fmt.Errorf("prime of the Paillier key: %w", err)
		}
	}
	c := cmp.EmptyConfig(group{})
	c.ID, c.Threshold = libraryID(k.Group, k.Self), k.Group.T
	c.ECDSA, c.ElGamal = &scalar{scalars[0]}, &scalar{scalars[1]}
	c.Paillier = paillier.NewSecretKeyFromPrimes(p, q)
	c.RID, c.ChainKey = clone(r.Take(sizeSeed)), clone(r.Take(sizeSeed))
	c.Public = map[party.ID]*config.Public{}
	r = mpc.NewReader(public)
	for _, id := range k.Group.Parties {
		points, err := p256.DecodePoints(r.Take(2*sizePoint), 2)
		if err != nil {
			return fmt.Errorf("public values of %s: %w", id, err)
		}
		modulus, s, t := nat(r.Take(sizeModN)), nat(r.Take(sizeModN)), nat(r.Take(sizeModN))
		if modulus.EqZero() == 1 || modulus.Byte(0)&1 == 0 {
			return fmt.Errorf("modulus of %s is even", id)
		}
		m := saferith.ModulusFromNat(modulus)
		if err := paillier.ValidateN(m); err != nil {
			return fmt.Errorf("modulus of %s: %w", id, err)
		}
		if err := pedersen.ValidateParameters(m, s, t); err != nil {
			return fmt.Errorf("parameters of %s: %w", id, err)
		}
		key, n := paillier.NewPublicKey(m), arith.ModulusFromN(m)
		if id == k.Self {
			if c.Paillier.N().Nat().Eq(modulus) != 1 {
				return errors.New("the primes are not those of its modulus")
			}
			key, n = c.Paillier.PublicKey, c.Paillier.Modulus() // computes faster, knowing the primes
		}
		c.Public[libraryID(k.Group, id)] = &config.Public{
			ECDSA: &point{points[0]}, ElGamal: &point{points[1]},
			Paillier: key, Pedersen: pedersen.New(n, s, t),
		}
		k.PublicShares = append(k.PublicShares, points[0])
	}
	k.config = c
	return nil
}

func nat(b []byte) *saferith.Nat { return new(saferith.Nat).SetBytes(b) }

func clone(b []byte) []byte { return append([]byte(nil), b...) }

func (k *KeyShare) validate() error {
	if err := Supports(k.Group); err != nil {
		return fmt.Errorf("key share: %w", err)
	}
	if err := mpc.CheckHolder(k.Group, k.Self); err != nil {
		return fmt.Errorf("key share: %w", err)
	}
	c := k.config
	switch {
	case k.ID == "" || len(k.ID) > mpc.MaxName || k.Engine != Engine:
		return fmt.Errorf("key share: id is empty or too long, or engine %q is not %q", k.Engine, Engine)
	case k.Public.IsIdentity() || len(k.PublicShares) != k.Group.N():
		return fmt.Errorf("key share: public key is the identity, or %d public shares for %d parties", len(k.PublicShares), k.Group.N())
	case c == nil || len(c.RID) != sizeSeed || len(c.ChainKey) != sizeSeed || len(c.Public) != k.Group.N():
		return errors.New("key share: it is not complete")
	}
	own := c.Public[libraryID(k.Group, k.Self)]
	if !c.ECDSA.ActOnBase().Equal(own.ECDSA) || !c.ElGamal.ActOnBase().Equal(own.ElGamal) {
		return errors.New("key share: the secrets are not those of its public values")
	}
	return nil
}
