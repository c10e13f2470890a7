package mpc

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"

	"zonesigner/mpc/p256"
)

// Dealt is a dealing and this party's share of it.
type Dealt struct {
	*Dealing
	Share []p256.Scalar // secret
}

// Format keeps every printing verb from the share.
func (Dealt) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "mpc.Dealt(secret)") }

// CheckShare reports an ArgumentError unless the dealing is one of a key
// (Dealing.Check) and Share is self's of it.
func (d Dealt) CheckShare(group Group, dealer Dealer, self PartyID) error {
	if err := d.Check(group, dealer); err != nil {
		return err
	}
	return d.Fits(group, self, d.Share)
}

// Importer is what a Box offers where what a Dealer deals is not all of a share,
// because a part of it can only be made in a session.
type Importer[S any] interface {
	// Import makes sharings of values that were dealt, of each of which this
	// party has the words and all know the value times the base point. It fails
	// unless they are sharings of just these values: CheatError.
	Import(ctx context.Context, words [][]p256.Scalar, publics []p256.Point) ([]S, error)
}

// proofSize is that of the proof for one word: a point and a scalar.
const proofSize = p256.PointSize + p256.ScalarSize

// ProveShares shows the others that this party knows the words of its shares,
// by a Schnorr proof for each, and checks theirs: whose does not verify is
// named. All parties of group are in net. session is fresh, so no proof can be
// one of an earlier session.
func ProveShares(ctx context.Context, net Network, round string, group Group, session [32]byte, dealt []Dealt) error {
	self, _ := group.X(net.Self())
	var own []byte
	for i, d := range dealt {
		for k, word := range d.Share {
			nonce, err := p256.RandomScalar(rand.Reader)
			if err != nil {
				return err
			}
			public := d.Words[self-1][k]
			r := p256.BaseMult(nonce)
			if own, err = p256.AppendPoints(own, []p256.Point{r}); err != nil {
				return err
			}
			challenge, err := proofChallenge(session, net.Self(), i, k, public, r)
			if err != nil {
				return err
			}
			own = nonce.Add(challenge.Mul(word)).AppendBytes(own)
		}
	}
	got, err := Exchange(ctx, net, round, own)
	if err != nil {
		return err
	}
	for j, p := range group.Parties {
		if p == net.Self() {
			continue
		}
		if err := verifyShares(session, p, j, dealt, got[p]); err != nil {
			return &CheatError{Parties: []PartyID{p}, What: "proof that it knows its share of the key: " + err.Error()}
		}
	}
	return nil
}

// verifyShares checks p's proofs; j is its position in the group.
func verifyShares(session [32]byte, p PartyID, j int, dealt []Dealt, proofs []byte) error {
	words := 0
	for _, d := range dealt {
		words += len(d.Words[j])
	}
	if len(proofs) != words*proofSize {
		return fmt.Errorf("%d bytes, want %d", len(proofs), words*proofSize)
	}
	for i, d := range dealt {
		for k, public := range d.Words[j] {
			r, err := p256.PointFromBytes(proofs[:p256.PointSize])
			if err != nil {
				return err
			}
			z, err := p256.ScalarFromBytes(proofs[p256.PointSize:proofSize])
			if err != nil {
				return err
			}
			challenge, err := proofChallenge(session, p, i, k, public, r)
			if err != nil {
				return err
			}
			if !p256.BaseMult(z).Equal(r.Add(public.Mult(challenge))) {
				return fmt.Errorf("word %d of key %d: the proof is wrong", k, i)
			}
			proofs = proofs[proofSize:]
		}
	}
	return nil
}

// proofChallenge binds a proof to its session, prover, key and word.
func proofChallenge(session [32]byte, p PartyID, key, word int, public, r p256.Point) (p256.Scalar, error) {
	points, err := p256.AppendPoints(nil, []p256.Point{public, r})
	if err != nil {
		return p256.Scalar{}, err
	}
	index := func(i int) []byte { return binary.BigEndian.AppendUint64(nil, uint64(i)) }
	d := Digest("zonesigner proof of a dealt share v1", session[:], []byte(p), index(key), index(word), points)
	return p256.ScalarFromDigest(d[:]), nil
}
