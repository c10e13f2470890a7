// Package engines is the list of the protocols that this program has, by name:
// what the daemon makes keys with, and what "zonesignerd bench" measures.
//
// A protocol behind the arithmetic black box (mpc.Engine) is one line in
// Protocols. One that brings its own signer implements Engine, and is one line
// in All.
package engines

import (
	"context"
	"fmt"
	"slices"
	"time"

	"zonesigner/mpc"
	"zonesigner/mpc/ecdsa"
	"zonesigner/mpc/mascot"
	"zonesigner/mpc/rep3"
	"zonesigner/mpc/shamir"
)

// Protocols are the engines of threshold ECDSA, the default first.
func Protocols() []ecdsa.Protocol {
	return []ecdsa.Protocol{
		ecdsa.Over(shamir.Active()),
		ecdsa.Over(shamir.Passive()),
		ecdsa.Over(rep3.Active()),
		ecdsa.Over(rep3.Passive()),
		ecdsa.Over(mascot.Full()),
		ecdsa.Over(mascot.Minus()),
	}
}

// Engine is how keys of one protocol are made and used.
type Engine interface {
	// Name, Active, Supports and Signers are those of mpc.Engine.
	Name() string
	Active() bool
	Supports(g mpc.Group) error
	Signers(g mpc.Group, set mpc.SignerSet) error
	// Generate makes a key together with all of group, by key generation with
	// all its checks. label says what for.
	Generate(ctx context.Context, net mpc.Network, id mpc.Identity, group mpc.Group, label []byte) (Key, error)
	// PublicRounds names the rounds of Generate between whose beginning and
	// end the public key is opened; both are empty where it is not a part of
	// its own.
	PublicRounds() (first, last string)
	// NewSigner makes one operator's signer.
	NewSigner(cfg Config) (mpc.Signer, error)
}

// Key is one operator's part of a key.
type Key struct {
	ID    mpc.KeyID
	Share any // secret; what the engine's signer takes
}

// Format keeps the share from being printed.
func (k Key) Format(f fmt.State, _ rune) { _, _ = fmt.Fprintf(f, "key %s", k.ID) }

// Config is what a signer of one key is made of.
type Config struct {
	Identity  mpc.Identity
	Store     mpc.TupleStore
	Group     mpc.Group
	Key       Key
	RoundTrip func() time.Duration // the longest one; may be nil
}

// All lists the engines by the order of Protocols, then those with signers of
// their own.
func All() []Engine {
	var all []Engine
	for _, p := range Protocols() {
		all = append(all, threshold{p})
	}
	return all
}

// Find returns the engine of a name; false when there is none.
func Find(name string) (Engine, bool) {
	all := All()
	i := slices.IndexFunc(all, func(e Engine) bool { return e.Name() == name })
	if i < 0 {
		return nil, false
	}
	return all[i], true
}

// threshold is ECDSA over an engine of package mpc.
type threshold struct{ ecdsa.Protocol }

func (e threshold) Generate(ctx context.Context, net mpc.Network, id mpc.Identity, group mpc.Group, label []byte) (Key, error) {
	share, err := ecdsa.GenerateKey(ctx, net, id, group, e.Protocol, label)
	if err != nil {
		return Key{}, err
	}
	return Key{ID: share.ID, Share: share}, nil
}

func (e threshold) PublicRounds() (first, last string) { return ecdsa.RoundCommit, ecdsa.RoundOpen }

func (e threshold) NewSigner(cfg Config) (mpc.Signer, error) {
	share, ok := cfg.Key.Share.(*ecdsa.KeyShare)
	if !ok {
		return nil, &mpc.ArgumentError{Msg: fmt.Sprintf("%s: key %s is of another protocol", e.Name(), cfg.Key.ID)}
	}
	return ecdsa.NewSigner(ecdsa.Config{
		Identity: cfg.Identity, Store: cfg.Store, Protocols: []ecdsa.Protocol{e.Protocol},
		Keys: func(id mpc.KeyID) (*ecdsa.KeyShare, error) {
			if id != share.ID {
				return nil, &mpc.ArgumentError{Msg: fmt.Sprintf("no key %s", id)}
			}
			return share, nil
		},
		Group: func() mpc.Group { return cfg.Group }, RoundTrip: cfg.RoundTrip,
	})
}
