package cggmp

import (
	"context"
	"fmt"

	"github.com/taurusgroup/multi-party-sig/protocols/cmp"

	"zonesigner/mpc"
)

// Dealer splits a key that its owner has into the shares that ImportKeys takes:
// Shamir shares of degree t.
type Dealer struct{ mpc.ShamirDealer }

var _ mpc.Dealer = Dealer{}

// Name is the engine's.
func (Dealer) Name() string { return Engine }

// Supports is that of the package.
func (Dealer) Supports(g mpc.Group) error { return Supports(g) }

// ImportKeys takes keys that were dealt, with labels as those of GenerateKeys,
// together with all parties of group (docs/protocol.md, section 7a). Each checks
// the dealing and its own share and proves to the others that it knows its
// share; then all make the parameters that go with a key, as for a new one, and
// test the key as that is tested. A dealing that is wrong is an ArgumentError,
// before anything is sent.
func ImportKeys(ctx context.Context, net mpc.Network, id mpc.Identity, group mpc.Group, labels [][]byte, dealt []mpc.Dealt) ([]*KeyShare, error) {
	return importKeys(ctx, net, id, group, labels, dealt, holes{})
}

func importKeys(ctx context.Context, net mpc.Network, id mpc.Identity, group mpc.Group, labels [][]byte, dealt []mpc.Dealt, holes holes) ([]*KeyShare, error) {
	if len(dealt) != len(labels) {
		return nil, &mpc.ArgumentError{Msg: fmt.Sprintf("cggmp: import %d keys under %d labels", len(dealt), len(labels))}
	}
	if err := mpc.CheckLabels("cggmp: key import", net, group, labels, maxKeys); err != nil {
		return nil, err
	}
	bound := make([][]byte, len(labels))
	for i, d := range dealt {
		var err error
		if bound[i], err = d.Label(group, Dealer{}, labels[i]); err != nil {
			return nil, err
		}
		if holes.noSame {
			bound[i] = labels[i]
		}
		if holes.noDealt {
			continue
		}
		if err := d.CheckShare(group, Dealer{}, net.Self()); err != nil {
			return nil, err
		}
	}
	s, err := newSession(ctx, net, group, mpc.Digest("zonesigner cggmp key import v1", bound...), holes)
	if err != nil {
		return nil, fmt.Errorf("cggmp: import keys: %w", err)
	}
	err = mpc.ProveShares(ctx, net, "key/prove", group, s.id, dealt)
	if _, cheated := mpc.AsCheat(err); err != nil && !(cheated && holes.noProof) {
		return nil, fmt.Errorf("cggmp: import keys: %w", err)
	}
	keys, err := s.makeKeys(ctx, id, group, bound, dealt)
	if err != nil {
		return nil, fmt.Errorf("cggmp: import keys: %w", err)
	}
	return keys, nil
}

// replaceKey puts what was dealt in the place of the key that the library made
// along with the parameters, of which nothing depends on it.
func replaceKey(made *cmp.Config, g mpc.Group, d *mpc.Dealt) error {
	public, err := d.PublicShares(g, Dealer{})
	if err != nil {
		return err
	}
	for i, p := range g.Parties {
		made.Public[libraryID(g, p)].ECDSA = &point{public[i]}
	}
	made.ECDSA = &scalar{d.Share[0]}
	return nil
}
