package ecdsa

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"

	"zonesigner/mpc"
	"zonesigner/mpc/p256"
)

// Dealing is what is public of a key that its owner has split (section 7a):
// every operator is given the same.
type Dealing struct {
	Public p256.Point
	// Words are those of each party in the group's order, as the engine keeps
	// a share, times the base point.
	Words [][]p256.Point
}

// Deal splits secret for the parties of group, with randomness from rand. It
// returns what is public of it, and the share of each party in the group's
// order, which is secret. Only the caller's own copies of the key remain.
func Deal(group mpc.Group, engine Protocol, secret p256.Scalar, rand io.Reader) (*Dealing, [][]p256.Scalar, error) {
	dealer, err := dealerOf(engine)
	if err != nil {
		return nil, nil, err
	}
	if secret.IsZero() {
		return nil, nil, &mpc.ArgumentError{Msg: "ecdsa: the private key is zero"}
	}
	shares, err := dealer.Deal(group, secret, rand)
	if err != nil {
		return nil, nil, fmt.Errorf("ecdsa: deal: %w", err)
	}
	d := &Dealing{Public: p256.BaseMult(secret)}
	for _, words := range shares {
		d.Words = append(d.Words, p256.BaseMultBatch(words))
	}
	if err := d.Check(group, engine); err != nil {
		for _, words := range shares {
			clear(words)
		}
		return nil, nil, err
	}
	return d, shares, nil
}

func dealerOf(engine Protocol) (mpc.Dealer, error) {
	d := engine.dealer()
	if d == nil {
		return nil, &mpc.ArgumentError{Msg: fmt.Sprintf("ecdsa: keys of engine %s cannot be dealt", engine.Name())}
	}
	return d, nil
}

// Check reports an ArgumentError unless the dealing is a sharing of the private
// key of Public: all copies are the same, the signing forms are on one
// polynomial of degree t, and it has that key at 0.
func (d *Dealing) Check(group mpc.Group, engine Protocol) error {
	points, err := d.publicShares(group, engine)
	if err != nil {
		return err
	}
	dealer, err := dealerOf(engine)
	if err != nil {
		return err
	}
	if err := dealer.CheckCopies(group, d.Words); err != nil {
		return fmt.Errorf("ecdsa: dealt key: %w", err)
	}
	opening, err := mpc.NewOpening(group, group.Parties, "", group.T)
	if err != nil {
		return err
	}
	shares := make([][]p256.Point, len(points))
	for i, p := range points {
		shares[i] = []p256.Point{p}
	}
	// Who is to blame is the dealer, whichever operators' shares stand out.
	value, err := opening.Points("dealt key", shares)
	if err != nil {
		return &mpc.ArgumentError{Msg: fmt.Sprintf("ecdsa: dealt key: the shares of %v are on no polynomial of degree %d", group.Parties, group.T)}
	}
	if !value[0].Mult(opening.Scale()).Equal(d.Public) {
		return &mpc.ArgumentError{Msg: "ecdsa: dealt key: the shares are those of another key"}
	}
	return nil
}

// Fits reports an ArgumentError unless words are party's share of the dealing.
func (d *Dealing) Fits(group mpc.Group, party mpc.PartyID, words []p256.Scalar) error {
	x, ok := group.X(party)
	if !ok || int(x) > len(d.Words) || len(words) != len(d.Words[x-1]) {
		return &mpc.ArgumentError{Msg: fmt.Sprintf("ecdsa: dealt key: there is no share of %d words for operator %s", len(words), party)}
	}
	for k, p := range p256.BaseMultBatch(words) {
		if !p.Equal(d.Words[x-1][k]) {
			return &mpc.ArgumentError{Msg: fmt.Sprintf("ecdsa: dealt key: the share of operator %s is not the one that its public share says", party)}
		}
	}
	return nil
}

// publicShares is the signing form of each party's share, times the base point.
func (d *Dealing) publicShares(group mpc.Group, engine Protocol) ([]p256.Point, error) {
	dealer, err := dealerOf(engine)
	if err != nil {
		return nil, err
	}
	if err := engine.Supports(group); err != nil {
		return nil, err
	}
	if len(d.Words) != group.N() || d.Public.IsIdentity() {
		return nil, &mpc.ArgumentError{Msg: fmt.Sprintf("ecdsa: dealt key: shares of %d operators for a group of %d, or no public key", len(d.Words), group.N())}
	}
	points := make([]p256.Point, group.N())
	for i, p := range group.Parties {
		form, err := dealer.SigningForm(group, p)
		if err != nil {
			return nil, err
		}
		if len(form) != len(d.Words[i]) {
			return nil, &mpc.ArgumentError{Msg: fmt.Sprintf("ecdsa: dealt key: a share of %d words for operator %s, %s has %d", len(d.Words[i]), p, engine.Name(), len(form))}
		}
		for k, word := range d.Words[i] {
			points[i] = points[i].Add(word.Mult(form[k]))
		}
		if points[i].IsIdentity() {
			return nil, &mpc.ArgumentError{Msg: fmt.Sprintf("ecdsa: dealt key: the share of operator %s is zero", p)}
		}
	}
	return points, nil
}

// AppendBinary appends the encoding of the public shares, 64 bytes for each
// word of each party. The public key is not in it.
func (d *Dealing) AppendBinary(b []byte) ([]byte, error) {
	for _, words := range d.Words {
		var err error
		if b, err = p256.AppendPoints(b, words); err != nil {
			return nil, fmt.Errorf("ecdsa: dealt key: %w", err)
		}
	}
	return b, nil
}

// DecodeDealing reads what AppendBinary wrote for group and engine, strictly.
// public is the key in the form of a DNSKEY. Nothing is checked but the
// encoding.
func DecodeDealing(group mpc.Group, engine Protocol, public, shares []byte) (*Dealing, error) {
	dealer, err := dealerOf(engine)
	if err != nil {
		return nil, err
	}
	d := new(Dealing)
	if d.Public, err = p256.PointFromBytes(public); err != nil {
		return nil, fmt.Errorf("ecdsa: dealt key: public key: %w", err)
	}
	if group.N() == 0 {
		return nil, &mpc.ArgumentError{Msg: "ecdsa: dealt key: the group is empty"}
	}
	form, err := dealer.SigningForm(group, group.Parties[0])
	if err != nil {
		return nil, err
	}
	width := len(form)
	points, err := p256.DecodePoints(shares, width*group.N())
	if err != nil {
		return nil, fmt.Errorf("ecdsa: dealt key: public shares: %w", err)
	}
	for i := range group.Parties {
		d.Words = append(d.Words, points[i*width:(i+1)*width:(i+1)*width])
	}
	return d, nil
}

// digest names the dealing.
func (d *Dealing) digest(group mpc.Group, engine string) ([32]byte, error) {
	points, err := p256.AppendPoints(nil, []p256.Point{d.Public})
	if err != nil {
		return [32]byte{}, err
	}
	if points, err = d.AppendBinary(points); err != nil {
		return [32]byte{}, err
	}
	return mpc.Digest("zonesigner dealing v1", []byte(engine), group.Digest[:], points), nil
}

// Dealt is a dealing and this party's share of it.
type Dealt struct {
	*Dealing
	Share []p256.Scalar // secret
}

// Format keeps every printing verb from the share.
func (Dealt) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "ecdsa.Dealt(secret)") }

// ImportKeys takes keys that were dealt, with labels as those of GenerateKeys,
// together with all parties of group (section 7a). Each checks the dealing and
// its own share, proves to the others that it knows its share, and then goes
// through all that a key is tested by that was just generated. Either all
// checks pass, and every operator's signature on the transcripts is here, or
// there is no key. A dealing that is wrong is an ArgumentError, before anything
// is sent.
func ImportKeys(ctx context.Context, net mpc.Network, id mpc.Identity, group mpc.Group, engine Protocol, labels [][]byte, dealt []Dealt) ([]*KeyShare, error) {
	return importKeys(ctx, net, id, group, engine, labels, dealt, holes{})
}

func importKeys(ctx context.Context, net mpc.Network, id mpc.Identity, group mpc.Group, engine Protocol, labels [][]byte, dealt []Dealt, holes holes) ([]*KeyShare, error) {
	if len(dealt) != len(labels) {
		return nil, &mpc.ArgumentError{Msg: fmt.Sprintf("ecdsa: import %d keys under %d labels", len(dealt), len(labels))}
	}
	g := &generation{net: net, group: group, holes: holes}
	for i, d := range dealt {
		k, err := d.keyShare(group, engine, net.Self(), holes)
		if err != nil {
			return nil, err
		}
		digest, err := d.digest(group, engine.Name())
		if err != nil {
			return nil, err
		}
		if holes.noSame {
			digest = [32]byte{}
		}
		bound := mpc.Digest("zonesigner label of a dealt key v1", labels[i], digest[:])
		g.keys, g.labels = append(g.keys, k), append(g.labels, bound[:])
	}
	return g.run(ctx, id, engine, "import", func(ctx context.Context, shop workshop) error {
		return g.proveShares(ctx, shop.session(), dealt)
	})
}

// keyShare is what the dealing gives self, checked.
func (d *Dealt) keyShare(group mpc.Group, engine Protocol, self mpc.PartyID, holes holes) (*KeyShare, error) {
	public, err := d.publicShares(group, engine)
	if err != nil {
		return nil, err
	}
	if !holes.noDealt {
		if err := d.Check(group, engine); err != nil {
			return nil, err
		}
		if err := d.Fits(group, self, d.Share); err != nil {
			return nil, err
		}
	}
	return &KeyShare{Engine: engine.Name(), Group: group, Self: self, Share: append([]p256.Scalar(nil), d.Share...), Public: d.Public, PublicShares: public}, nil
}

// proofSize is that of the proof for one word: a point and a scalar.
const proofSize = p256.PointSize + p256.ScalarSize

// proveShares shows the others that this party knows the words of its shares,
// by a Schnorr proof for each, and checks theirs. session is fresh, so no proof
// can be one of an earlier session.
func (g *generation) proveShares(ctx context.Context, session [32]byte, dealt []Dealt) error {
	self, _ := g.group.X(g.net.Self())
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
			challenge, err := g.proofChallenge(session, g.net.Self(), i, k, public, r)
			if err != nil {
				return err
			}
			own = nonce.Add(challenge.Mul(word)).AppendBytes(own)
		}
	}
	got, err := mpc.Exchange(ctx, g.net, "key/prove", own)
	if err != nil {
		return err
	}
	for j, p := range g.group.Parties {
		if p == g.net.Self() || g.holes.noProof {
			continue
		}
		if err := g.verifyShares(session, p, j, dealt, got[p]); err != nil {
			return &mpc.CheatError{Parties: []mpc.PartyID{p}, What: "proof that it knows its share of the key: " + err.Error()}
		}
	}
	return nil
}

// verifyShares checks p's proofs; j is its position in the group.
func (g *generation) verifyShares(session [32]byte, p mpc.PartyID, j int, dealt []Dealt, proofs []byte) error {
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
			challenge, err := g.proofChallenge(session, p, i, k, public, r)
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
func (g *generation) proofChallenge(session [32]byte, p mpc.PartyID, key, word int, public, r p256.Point) (p256.Scalar, error) {
	points, err := p256.AppendPoints(nil, []p256.Point{public, r})
	if err != nil {
		return p256.Scalar{}, err
	}
	d := mpc.Digest("zonesigner proof of a dealt share v1", session[:], []byte(p), uint64Bytes(uint64(key)), uint64Bytes(uint64(word)), points)
	return p256.ScalarFromDigest(d[:]), nil
}
