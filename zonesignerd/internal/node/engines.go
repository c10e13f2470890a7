package node

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding"
	"errors"
	"fmt"

	"filippo.io/edwards25519"

	"zonesigner/dnssec"
	"zonesigner/mpc"
	"zonesigner/mpc/ecdsa"
	"zonesigner/mpc/frost"
	"zonesigner/mpc/p256"
	"zonesigner/mpc/rep3"
	"zonesigner/mpc/shamir"
	"zonesigner/zonesignerd/config"
	"zonesigner/zonesignerd/internal/keyfile"
	"zonesigner/zonesignerd/internal/sharefile"
)

// engine is how keys of one protocol are made.
type engine interface {
	// generate makes one key for each label, with all operators.
	generate(ctx context.Context, net mpc.Network, id mpc.Identity, group mpc.Group, labels [][]byte) ([]newKey, error)
	// binds reports whether there are unbound tuples, which serve all keys.
	binds() bool
	// deal splits a private key, which algorithm it has to be of being
	// checked: the public shares, and the share of each party in the group's
	// order, encoded.
	deal(group mpc.Group, key *keyfile.Key) (public []byte, shares [][]byte, err error)
	// checkDealt reports a dealing that is no sharing of its public key, or of
	// which share is not self's.
	checkDealt(group mpc.Group, self mpc.PartyID, d *sharefile.Dealing, share []byte) error
	// take makes keys of dealings, one for each label, with all operators.
	take(ctx context.Context, net mpc.Network, id mpc.Identity, group mpc.Group, labels [][]byte, dealt []dealtShare) ([]newKey, error)
}

// dealtShare is a dealing and this operator's share of it, which is secret.
type dealtShare struct {
	*sharefile.Dealing
	share []byte
}

// engines lists all by name, and those of ECDSA.
func engines() (all map[string]engine, protocols []ecdsa.Protocol) {
	all = map[string]engine{config.Frost: frostEngine{}}
	protocols = []ecdsa.Protocol{
		ecdsa.Over(shamir.Passive()), ecdsa.Over(shamir.Active()), ecdsa.Over(rep3.Passive()), ecdsa.Over(rep3.Active()),
	}
	for _, p := range protocols {
		all[p.Name()] = ecdsaEngine{p}
	}
	return all, protocols
}

// binds reports whether the engine is known and has unbound tuples.
func (n *Node) binds(name string) bool {
	e := n.engines[name]
	return e != nil && e.binds()
}

// newKey is this operator's part of a key that was just made.
type newKey struct {
	id     mpc.KeyID
	public []byte // as in a DNSKEY
	secret []byte // the share, encoded
}

// ecdsaEngine is ECDSA, algorithm 13, over an engine of package mpc.
type ecdsaEngine struct{ ecdsa.Protocol }

func (ecdsaEngine) binds() bool { return true }

func (e ecdsaEngine) generate(ctx context.Context, net mpc.Network, id mpc.Identity, group mpc.Group, labels [][]byte) ([]newKey, error) {
	return encodeKeys(ecdsa.GenerateKeys(ctx, net, id, group, e.Protocol, labels))
}

func encodeKeys(shares []*ecdsa.KeyShare, err error) ([]newKey, error) {
	if err != nil {
		return nil, err
	}
	out := make([]newKey, len(shares))
	for i, s := range shares {
		public := s.PublicKey()
		if out[i], err = encodeKey(s.ID, public[:], s); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (e ecdsaEngine) deal(group mpc.Group, key *keyfile.Key) (public []byte, shares [][]byte, err error) {
	if key.Algorithm != dnssec.ECDSAP256SHA256 {
		return nil, nil, fmt.Errorf("a key of algorithm %d cannot be shared by engine %s, which signs with algorithm %d", key.Algorithm, e.Name(), dnssec.ECDSAP256SHA256)
	}
	secret, err := p256.ScalarFromBytes(key.Private)
	if err != nil {
		return nil, nil, err
	}
	d, words, err := ecdsa.Deal(group, e.Protocol, secret, rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	for _, w := range words {
		shares = append(shares, p256.AppendScalars(nil, w))
		clear(w)
	}
	public, err = d.AppendBinary(nil)
	return public, shares, err
}

// dealt decodes a dealing and a share of it.
func (e ecdsaEngine) dealt(group mpc.Group, d *sharefile.Dealing, share []byte) (ecdsa.Dealt, error) {
	dealing, err := ecdsa.DecodeDealing(group, e.Protocol, d.Public, d.Shares)
	if err != nil {
		return ecdsa.Dealt{}, err
	}
	words, err := p256.DecodeScalars(share, len(share)/p256.ScalarSize)
	return ecdsa.Dealt{Dealing: dealing, Share: words}, err
}

func (e ecdsaEngine) checkDealt(group mpc.Group, self mpc.PartyID, d *sharefile.Dealing, share []byte) error {
	dealt, err := e.dealt(group, d, share)
	if err != nil {
		return err
	}
	defer clear(dealt.Share)
	if err := dealt.Check(group, e.Protocol); err != nil {
		return err
	}
	return dealt.Fits(group, self, dealt.Share)
}

func (e ecdsaEngine) take(ctx context.Context, net mpc.Network, id mpc.Identity, group mpc.Group, labels [][]byte, dealt []dealtShare) ([]newKey, error) {
	keys := make([]ecdsa.Dealt, len(dealt))
	for i, d := range dealt {
		var err error
		if keys[i], err = e.dealt(group, d.Dealing, d.share); err != nil {
			return nil, err
		}
		defer clear(keys[i].Share)
	}
	return encodeKeys(ecdsa.ImportKeys(ctx, net, id, group, e.Protocol, labels, keys))
}

// frostEngine is FROST with Ed25519, algorithm 15.
type frostEngine struct{}

func (frostEngine) binds() bool { return false }

func (frostEngine) generate(ctx context.Context, net mpc.Network, id mpc.Identity, group mpc.Group, labels [][]byte) ([]newKey, error) {
	return encodeFrost(frost.GenerateKeys(ctx, net, id, group, labels))
}

func encodeFrost(shares []*frost.KeyShare, err error) ([]newKey, error) {
	if err != nil {
		return nil, err
	}
	out := make([]newKey, len(shares))
	for i, s := range shares {
		public := s.PublicKey()
		if out[i], err = encodeKey(s.ID, public[:], s); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (frostEngine) deal(group mpc.Group, key *keyfile.Key) (public []byte, shares [][]byte, err error) {
	if key.Algorithm != dnssec.ED25519 {
		return nil, nil, fmt.Errorf("a key of algorithm %d cannot be shared by engine %s, which signs with algorithm %d", key.Algorithm, frost.Engine, dnssec.ED25519)
	}
	d, scalars, err := frost.Deal(group, key.Private)
	if err != nil {
		return nil, nil, err
	}
	for _, s := range scalars {
		shares = append(shares, s.Bytes())
		s.Set(new(edwards25519.Scalar))
	}
	public, err = d.AppendBinary(nil)
	return public, shares, err
}

// dealt decodes a dealing and a share of it.
func (frostEngine) dealt(group mpc.Group, d *sharefile.Dealing, share []byte) (frost.Dealt, error) {
	dealing, err := frost.DecodeDealing(group, d.Shares)
	if err != nil {
		return frost.Dealt{}, err
	}
	if public := dealing.PublicKey(); !bytes.Equal(public[:], d.Public) {
		return frost.Dealt{}, errors.New("dealt key: the shares are those of another key")
	}
	scalar, err := frost.DecodeShare(share)
	return frost.Dealt{Dealing: dealing, Share: scalar}, err
}

func (e frostEngine) checkDealt(group mpc.Group, self mpc.PartyID, d *sharefile.Dealing, share []byte) error {
	dealt, err := e.dealt(group, d, share)
	if err != nil {
		return err
	}
	defer dealt.Share.Set(new(edwards25519.Scalar))
	return dealt.Fits(group, self, dealt.Share)
}

func (e frostEngine) take(ctx context.Context, net mpc.Network, id mpc.Identity, group mpc.Group, labels [][]byte, dealt []dealtShare) ([]newKey, error) {
	keys := make([]frost.Dealt, len(dealt))
	for i, d := range dealt {
		var err error
		if keys[i], err = e.dealt(group, d.Dealing, d.share); err != nil {
			return nil, err
		}
		defer keys[i].Share.Set(new(edwards25519.Scalar))
	}
	return encodeFrost(frost.ImportKeys(ctx, net, id, group, labels, keys))
}

func encodeKey(id mpc.KeyID, public []byte, share encoding.BinaryMarshaler) (newKey, error) {
	secret, err := share.MarshalBinary()
	return newKey{id, public, secret}, err
}

// signers is mpc.Signer for keys of all engines. Binding is ECDSA's alone.
type signers struct {
	*ecdsa.Signer
	frost *frost.Signer
	keys  *keyring
}

func (s *signers) of(key mpc.KeyID) mpc.Signer {
	if k, ok := s.keys.find(string(key)); ok && k.Engine == config.Frost {
		return s.frost
	}
	return s.Signer
}

func (s *signers) Prepare(ctx context.Context, net mpc.Network, key mpc.KeyID, set mpc.SignerSet, stripe mpc.PartyID, n int, progress func(done int)) error {
	return s.of(key).Prepare(ctx, net, key, set, stripe, n, progress)
}

// Sign takes a session with keys of one engine; each signer refuses the keys of
// another.
func (s *signers) Sign(ctx context.Context, net mpc.Network, session mpc.SignSession, progress func(done int)) ([][]mpc.Signature, error) {
	if len(session.Requests) == 0 {
		return nil, &mpc.ArgumentError{Msg: "a session without requests"}
	}
	return s.of(session.Requests[0].Key).Sign(ctx, net, session, progress)
}

// shareOf returns this operator's share of a key in the form of its protocol.
func shareOf[K any, P interface {
	*K
	encoding.BinaryUnmarshaler
}](k *keyring, id mpc.KeyID) (*K, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if s, ok := k.shares[id].(*K); ok {
		return s, nil
	}
	r, err := k.n.store.Key(string(id))
	if err != nil {
		return nil, err
	}
	s := new(K)
	if err := P(s).UnmarshalBinary(r.Secret); err != nil {
		return nil, fmt.Errorf("key %s: %w", id, err)
	}
	k.shares[id] = s
	return s, nil
}
