package engines

import (
	"context"
	"fmt"

	"zonesigner/mpc"
	"zonesigner/mpc/cggmp"
	"zonesigner/mpc/ecdsa"
	"zonesigner/mpc/frost"
)

// keys finds the one share of cfg, in the form of its protocol.
func keys[K any](engine string, cfg Config) (func(mpc.KeyID) (*K, error), error) {
	share, ok := cfg.Key.Share.(*K)
	if !ok {
		return nil, &mpc.ArgumentError{Msg: fmt.Sprintf("%s: key %s is of another protocol", engine, cfg.Key.ID)}
	}
	return func(id mpc.KeyID) (*K, error) {
		if id != cfg.Key.ID {
			return nil, &mpc.ArgumentError{Msg: fmt.Sprintf("no key %s", id)}
		}
		return share, nil
	}, nil
}

// threshold is ECDSA over an engine of package mpc.
type threshold struct{ ecdsa.Protocol }

func (threshold) Slow() bool { return false }

func (e threshold) Generate(ctx context.Context, net mpc.Network, id mpc.Identity, group mpc.Group, label []byte) (Key, error) {
	share, err := ecdsa.GenerateKey(ctx, net, id, group, e.Protocol, label)
	if err != nil {
		return Key{}, err
	}
	return Key{share.ID, share}, nil
}

func (threshold) PublicRounds() (first, last string) { return ecdsa.RoundCommit, ecdsa.RoundOpen }

func (e threshold) NewSigner(cfg Config) (mpc.Signer, error) {
	find, err := keys[ecdsa.KeyShare](e.Name(), cfg)
	if err != nil {
		return nil, err
	}
	return ecdsa.NewSigner(ecdsa.Config{
		Identity: cfg.Identity, Store: cfg.Store, Protocols: []ecdsa.Protocol{e.Protocol}, Keys: find,
		Group: func() mpc.Group { return cfg.Group }, RoundTrip: cfg.RoundTrip,
	})
}

// frostEngine is package frost: Ed25519, algorithm 15.
type frostEngine struct{}

func (frostEngine) Name() string                                 { return frost.Engine }
func (frostEngine) Active() bool                                 { return true }
func (frostEngine) Slow() bool                                   { return false }
func (frostEngine) Supports(g mpc.Group) error                   { return frost.Supports(g) }
func (frostEngine) Signers(g mpc.Group, set mpc.SignerSet) error { return frost.Signers(g, set) }
func (frostEngine) PublicRounds() (first, last string)           { return "", "" }

func (frostEngine) Generate(ctx context.Context, net mpc.Network, id mpc.Identity, group mpc.Group, label []byte) (Key, error) {
	share, err := frost.GenerateKey(ctx, net, id, group, label)
	if err != nil {
		return Key{}, err
	}
	return Key{share.ID, share}, nil
}

func (e frostEngine) NewSigner(cfg Config) (mpc.Signer, error) {
	find, err := keys[frost.KeyShare](e.Name(), cfg)
	if err != nil {
		return nil, err
	}
	return frost.NewSigner(frost.Config{Identity: cfg.Identity, Store: cfg.Store, Keys: find})
}

// cggmpEngine is package cggmp: ECDSA without an honest majority, and without
// tuples that are cheap.
type cggmpEngine struct{}

func (cggmpEngine) Name() string                                 { return cggmp.Engine }
func (cggmpEngine) Active() bool                                 { return true }
func (cggmpEngine) Slow() bool                                   { return true }
func (cggmpEngine) Supports(g mpc.Group) error                   { return cggmp.Supports(g) }
func (cggmpEngine) Signers(g mpc.Group, set mpc.SignerSet) error { return cggmp.Signers(g, set) }
func (cggmpEngine) PublicRounds() (first, last string)           { return "", "" }

func (cggmpEngine) Generate(ctx context.Context, net mpc.Network, id mpc.Identity, group mpc.Group, label []byte) (Key, error) {
	share, err := cggmp.GenerateKey(ctx, net, id, group, label)
	if err != nil {
		return Key{}, err
	}
	return Key{share.ID, share}, nil
}

func (e cggmpEngine) NewSigner(cfg Config) (mpc.Signer, error) {
	find, err := keys[cggmp.KeyShare](e.Name(), cfg)
	if err != nil {
		return nil, err
	}
	return cggmp.NewSigner(cggmp.Config{Identity: cfg.Identity, Store: cfg.Store, Keys: find})
}
