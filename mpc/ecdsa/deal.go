package ecdsa

import (
	"context"
	"fmt"
	"slices"

	"zonesigner/mpc"
	"zonesigner/mpc/p256"
)

// Dealer returns what deals keys of engine, or an ArgumentError where they
// cannot be dealt.
func Dealer(engine Protocol) (mpc.Dealer, error) {
	d := engine.dealer()
	if d == nil {
		return nil, &mpc.ArgumentError{Msg: fmt.Sprintf("ecdsa: keys of engine %s cannot be dealt", engine.Name())}
	}
	return d, nil
}

// ImportKeys takes keys that were dealt, with labels as those of GenerateKeys,
// together with all parties of group (section 7a). Each checks the dealing and
// its own share, proves to the others that it knows its share, and then goes
// through all that a key is tested by that was just generated. Either all
// checks pass, and every operator's signature on the transcripts is here, or
// there is no key. A dealing that is wrong is an ArgumentError, before anything
// is sent.
func ImportKeys(ctx context.Context, net mpc.Network, id mpc.Identity, group mpc.Group, engine Protocol, labels [][]byte, dealt []mpc.Dealt) ([]*KeyShare, error) {
	return importKeys(ctx, net, id, group, engine, labels, dealt, holes{})
}

func importKeys(ctx context.Context, net mpc.Network, id mpc.Identity, group mpc.Group, engine Protocol, labels [][]byte, dealt []mpc.Dealt, holes holes) ([]*KeyShare, error) {
	if len(dealt) != len(labels) {
		return nil, &mpc.ArgumentError{Msg: fmt.Sprintf("ecdsa: import %d keys under %d labels", len(dealt), len(labels))}
	}
	dealer, err := Dealer(engine)
	if err != nil {
		return nil, err
	}
	g := &generation{net: net, group: group, holes: holes}
	for i, d := range dealt {
		k, err := dealtShare(&d, group, dealer, net.Self(), holes)
		if err != nil {
			return nil, err
		}
		label := labels[i]
		if !holes.noSame {
			if label, err = d.Label(group, dealer, label); err != nil {
				return nil, err
			}
		}
		g.keys, g.labels = append(g.keys, k), append(g.labels, label)
	}
	return g.run(ctx, id, engine, "import", func(ctx context.Context, shop workshop) error {
		err := mpc.ProveShares(ctx, net, "key/prove", group, shop.session(), dealt)
		if _, cheated := mpc.AsCheat(err); err != nil && !(cheated && holes.noProof) {
			return err
		}
		return shop.takeKeys(ctx, g.keys)
	})
}

// dealtShare is what the dealing gives self, checked.
func dealtShare(d *mpc.Dealt, group mpc.Group, dealer mpc.Dealer, self mpc.PartyID, holes holes) (*KeyShare, error) {
	public, err := d.PublicShares(group, dealer)
	if err != nil {
		return nil, err
	}
	if !holes.noDealt {
		if err := d.CheckShare(group, dealer, self); err != nil {
			return nil, err
		}
	}
	return &KeyShare{Engine: dealer.Name(), Group: group, Self: self, Share: slices.Clone(d.Share), Public: d.Public, PublicShares: public}, nil
}

// takeKeys makes what was dealt of keys what the engine keeps, where that is
// something else.
func (b *bench[S]) takeKeys(ctx context.Context, keys []*KeyShare) error {
	importer, ok := b.box.(mpc.Importer[S])
	if !ok {
		return nil
	}
	words, publics := make([][]p256.Scalar, len(keys)), make([]p256.Point, len(keys))
	for i, k := range keys {
		words[i], publics[i] = k.Share, k.Public
	}
	shares, err := importer.Import(ctx, words, publics)
	if err != nil {
		return err
	}
	for i, k := range keys {
		clear(k.Share)
		k.Share = b.engine.Words(shares[i])
	}
	clear(shares)
	return nil
}
