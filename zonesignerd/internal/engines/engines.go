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
	// Slow reports that a key takes many seconds and a tuple some: few are to
	// be made where it is only for measuring.
	Slow() bool
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

// All lists the engines in the order of Protocols, then those with signers of
// their own.
func All() []Engine {
	var all []Engine
	for _, p := range Protocols() {
		all = append(all, threshold{p})
	}
	return append(all, frostEngine{}, cggmpEngine{})
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
