package frost

import (
	"context"
	"crypto/ed25519"
	"crypto/sha512"
	"fmt"
	"io"

	"filippo.io/edwards25519"

	"zonesigner/mpc"
)

// Dealing is what is public of a key that its owner has split: every operator
// is given the same. It is Feldman's: commitments to the t+1 coefficients of
// the sharing polynomial, ascending, so that there is a public share for every
// party and all are on one polynomial. The first is the public key.
type Dealing struct {
	Commitments []*edwards25519.Point
}

// Deal splits the Ed25519 key with that seed, 32 bytes, for the parties of
// group. It returns what is public of it, and the share of each party in the
// group's order, which is secret. What is split is the number that the seed
// gives (RFC 8032, section 5.1.5) mod the group's order; signatures with it
// verify alike.
func Deal(group mpc.Group, seed []byte) (*Dealing, []*edwards25519.Scalar, error) {
	if err := Signers(group, mpc.NewSignerSet(group.Parties...)); err != nil {
		return nil, nil, err
	}
	if len(seed) != ed25519.SeedSize {
		return nil, nil, &mpc.ArgumentError{Msg: fmt.Sprintf("frost: deal: a seed of %d bytes, want %d", len(seed), ed25519.SeedSize)}
	}
	h := sha512.Sum512(seed)
	defer clear(h[:])
	secret, err := new(edwards25519.Scalar).SetBytesWithClamping(h[:32])
	if err != nil {
		return nil, nil, err
	}
	coefficients := []*edwards25519.Scalar{secret}
	for range group.T {
		coefficients = append(coefficients, randomScalar())
	}
	d := new(Dealing)
	for _, c := range coefficients {
		d.Commitments = append(d.Commitments, new(edwards25519.Point).ScalarBaseMult(c))
	}
	var shares []*edwards25519.Scalar
	for _, p := range group.Parties {
		x, _ := group.X(p)
		shares = append(shares, evaluate(coefficients, x))
	}
	for _, c := range coefficients {
		c.Set(new(edwards25519.Scalar))
	}
	return d, shares, nil
}

// AppendBinary appends the encoding: 32 bytes for each commitment.
func (d *Dealing) AppendBinary(b []byte) ([]byte, error) {
	for _, c := range d.Commitments {
		b = append(b, c.Bytes()...)
	}
	return b, nil
}

// DecodeDealing reads what AppendBinary wrote for a group, strictly.
func DecodeDealing(group mpc.Group, b []byte) (*Dealing, error) {
	if err := group.Validate(); err != nil {
		return nil, err
	}
	if len(b) != 32*(group.T+1) {
		return nil, fmt.Errorf("frost: dealt key: public shares of %d bytes, expected %d", len(b), 32*(group.T+1))
	}
	d := new(Dealing)
	for ; len(b) > 0; b = b[32:] {
		c, err := decodeElement(b[:32])
		if err != nil {
			return nil, fmt.Errorf("frost: dealt key: public shares: %w", err)
		}
		d.Commitments = append(d.Commitments, c)
	}
	return d, nil
}

// PublicKey returns the public key in the form of a DNSKEY.
func (d *Dealing) PublicKey() [32]byte { return [32]byte(d.Commitments[0].Bytes()) }

// DecodeShare reads a share, 32 bytes.
func DecodeShare(b []byte) (*edwards25519.Scalar, error) { return decodeScalar(b) }

// Fits reports an ArgumentError unless share is party's of the dealing.
func (d *Dealing) Fits(group mpc.Group, party mpc.PartyID, share *edwards25519.Scalar) error {
	x, ok := group.X(party)
	if !ok || len(d.Commitments) != group.T+1 {
		return &mpc.ArgumentError{Msg: fmt.Sprintf("frost: dealt key: there is no share for operator %s, or %d commitments for threshold %d", party, len(d.Commitments), group.T)}
	}
	if new(edwards25519.Point).ScalarBaseMult(share).Equal(evaluatePoints(d.Commitments, x)) != 1 {
		return &mpc.ArgumentError{Msg: fmt.Sprintf("frost: dealt key: the share of operator %s is not the one that its public share says", party)}
	}
	return nil
}

// Dealt is a dealing and this party's share of it.
type Dealt struct {
	*Dealing
	Share *edwards25519.Scalar // secret
}

// Format keeps every printing verb from the share.
func (Dealt) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "frost.Dealt(secret)") }

// ImportKeys takes keys that were dealt, with labels as those of GenerateKeys,
// together with all parties of group (docs/protocol.md, section 7a). Each checks
// its own share, proves to the others that it knows it, and then goes through
// all that a key is tested by that was just generated. A share that is wrong is
// an ArgumentError, before anything is sent.
func ImportKeys(ctx context.Context, net mpc.Network, id mpc.Identity, group mpc.Group, labels [][]byte, dealt []Dealt) ([]*KeyShare, error) {
	return importKeys(ctx, net, id, group, labels, dealt, holes{})
}

func importKeys(ctx context.Context, net mpc.Network, id mpc.Identity, group mpc.Group, labels [][]byte, dealt []Dealt, holes holes) ([]*KeyShare, error) {
	if len(dealt) != len(labels) {
		return nil, &mpc.ArgumentError{Msg: fmt.Sprintf("frost: import %d keys under %d labels", len(dealt), len(labels))}
	}
	g := &generation{net: net, group: group, holes: holes}
	for i, d := range dealt {
		if err := d.Fits(group, net.Self(), d.Share); err != nil && !holes.noDealt {
			return nil, err
		}
		k := &KeyShare{Group: group, Self: net.Self(), Share: new(edwards25519.Scalar).Set(d.Share), Public: d.Commitments[0]}
		for _, p := range group.Parties {
			x, _ := group.X(p)
			public := evaluatePoints(d.Commitments, x)
			if isIdentity(public) {
				return nil, &mpc.ArgumentError{Msg: fmt.Sprintf("frost: dealt key: the share of operator %s is zero", p)}
			}
			k.PublicShares = append(k.PublicShares, public)
		}
		points, err := d.AppendBinary(nil)
		if err != nil {
			return nil, err
		}
		bound := mpc.Digest("zonesigner frost label of a dealt key v1", labels[i], points)
		g.keys, g.labels = append(g.keys, k), append(g.labels, bound[:])
	}
	return g.run(ctx, id, "import", g.proveShares)
}

// proveShares shows the others that this party knows its shares, by a Schnorr
// proof for each as in key generation, and checks theirs.
func (g *generation) proveShares(ctx context.Context) error {
	self, _ := g.group.X(g.net.Self())
	var own []byte
	for _, k := range g.keys {
		own = append(own, g.prove(g.net.Self(), k.Share, k.PublicShares[self-1].Bytes())...)
	}
	got, err := mpc.Exchange(ctx, g.net, "key/prove", own)
	if err != nil {
		return err
	}
	for j, p := range g.group.Parties {
		if p == g.net.Self() || g.holes.noProof {
			continue
		}
		if len(got[p]) != len(own) {
			return cheated(p, fmt.Sprintf("proofs that it knows its shares of %d bytes, want %d", len(got[p]), len(own)))
		}
		for i, k := range g.keys {
			public := k.PublicShares[j]
			if !g.verifyProof(p, public, public.Bytes(), got[p][64*i:64*i+64]) {
				return cheated(p, "its proof that it knows its share of the key is wrong")
			}
		}
	}
	return nil
}
