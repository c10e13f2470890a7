package node

import (
	"context"
	"encoding"
	"fmt"

	"zonesigner/mpc"
	"zonesigner/mpc/ecdsa"
	"zonesigner/mpc/frost"
	"zonesigner/zonesignerd/config"
)

// engine is how keys of one protocol are made.
type engine interface {
	// generate makes one key for each label, with all operators.
	generate(ctx context.Context, net mpc.Network, id mpc.Identity, group mpc.Group, labels [][]byte) ([]newKey, error)
	// binds reports whether there are unbound tuples, which serve all keys.
	binds() bool
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
	shares, err := ecdsa.GenerateKeys(ctx, net, id, group, e.Protocol, labels)
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

// frostEngine is FROST with Ed25519, algorithm 15.
type frostEngine struct{}

func (frostEngine) binds() bool { return false }

func (frostEngine) generate(ctx context.Context, net mpc.Network, id mpc.Identity, group mpc.Group, labels [][]byte) ([]newKey, error) {
	shares, err := frost.GenerateKeys(ctx, net, id, group, labels)
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
