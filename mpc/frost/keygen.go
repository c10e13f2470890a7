package frost

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"

	"filippo.io/edwards25519"

	"zonesigner/mpc"
)

// maxKeys bounds one generation.
const maxKeys = 1024

// GenerateKey is GenerateKeys for one key.
func GenerateKey(ctx context.Context, net mpc.Network, id mpc.Identity, group mpc.Group, label []byte) (*KeyShare, error) {
	keys, err := GenerateKeys(ctx, net, id, group, [][]byte{label})
	if err != nil {
		return nil, err
	}
	return keys[0], nil
}

// GenerateKeys makes a new key for each label together with all parties of
// group, who call it with the same arguments: the distributed key generation of
// Komlo and Goldberg, "FROST", SAC 2020, figure 1, with commitments before it,
// an echo within and a test signature after. A label says what for (zone, role,
// the request that people approved) and is bound into the session and the
// key's transcript. Either all checks pass, and every operator's signature on
// the transcripts is here, or there is no key.
func GenerateKeys(ctx context.Context, net mpc.Network, id mpc.Identity, group mpc.Group, labels [][]byte) ([]*KeyShare, error) {
	return generateKeys(ctx, net, id, group, labels, holes{})
}

func generateKeys(ctx context.Context, net mpc.Network, id mpc.Identity, group mpc.Group, labels [][]byte, holes holes) ([]*KeyShare, error) {
	g := &generation{net: net, group: group, labels: labels, holes: holes}
	defer g.erase()
	return g.run(ctx, id, "generation", func(ctx context.Context) error {
		if err := g.openCommitments(ctx); err != nil {
			return err
		}
		return g.exchangeShares(ctx)
	})
}

// generation is one session of GenerateKeys or ImportKeys.
type generation struct {
	net    mpc.Network
	group  mpc.Group
	labels [][]byte
	holes  holes

	session mpc.SessionID
	// own is this party's polynomial for each key: t+1 coefficients,
	// ascending; secret.
	own [][]*edwards25519.Scalar
	// commitments to the coefficients, of each key and each party in the
	// group's order.
	commitments [][][]*edwards25519.Point
	view        [32]byte // digest of all that was opened; zero where keys are imported
	keys        []*KeyShare
}

// Format keeps every printing verb from what is secret.
func (g *generation) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "key generation %s", g.session)
}

func (g *generation) erase() {
	for _, f := range g.own {
		for _, c := range f {
			c.Set(new(edwards25519.Scalar))
		}
	}
}

// run is a session with all parties, under the name of what it is for: make
// finds the shares and what is public of them, and the keys are then tested and
// endorsed.
func (g *generation) run(ctx context.Context, id mpc.Identity, what string, make func(context.Context) error) ([]*KeyShare, error) {
	if err := Supports(g.group); err != nil {
		return nil, err
	}
	if err := mpc.CheckLabels("frost: key "+what, g.net, g.group, g.labels, maxKeys); err != nil {
		return nil, err
	}
	var err error
	if g.session, err = mpc.Greet(ctx, g.net, g.binding(g.labels...)); err == nil {
		if err = make(ctx); err == nil {
			err = g.test(ctx, id)
		}
	}
	if err != nil {
		for _, k := range g.keys {
			k.Share.Set(new(edwards25519.Scalar))
		}
		return nil, fmt.Errorf("frost: key %s: %w", what, err)
	}
	return g.keys, nil
}

// test signs with the keys, names them by their transcripts, and has those
// endorsed by all.
func (g *generation) test(ctx context.Context, id mpc.Identity) error {
	tests, err := g.testSignatures(ctx)
	if err != nil {
		return fmt.Errorf("test signature: %w", err)
	}
	var transcripts []byte
	for i, k := range g.keys {
		t := g.transcript(i, tests[i])
		k.ID = mpc.KeyID(hex.EncodeToString(t[:16]))
		if err := k.validate(); err != nil {
			return err
		}
		transcripts = append(transcripts, t[:]...)
	}
	if err := mpc.Endorse(ctx, g.net, id, transcripts); err != nil && !g.holes.noTranscript {
		return err
	}
	return nil
}

func (g *generation) binding(labels ...[]byte) [32]byte {
	fields := append(slices.Clone(labels), g.group.Digest[:], []byte{byte(g.group.T)})
	for _, p := range g.group.Parties {
		fields = append(fields, []byte(p))
	}
	return mpc.Digest("zonesigner frost key generation v1", fields...)
}

// openCommitments is round 1 of figure 1, committed to first, so that nobody
// chooses its polynomials by those of others, and compared after, so that all
// hold the same (an echo in place of a broadcast channel).
func (g *generation) openCommitments(ctx context.Context) error {
	t, self := g.group.T, g.net.Self()
	var own []byte
	for range g.labels {
		f := make([]*edwards25519.Scalar, t+1)
		at := len(own)
		for i := range f {
			f[i] = randomScalar()
			own = append(own, new(edwards25519.Point).ScalarBaseMult(f[i]).Bytes()...)
		}
		g.own = append(g.own, f)
		own = append(own, g.prove(self, f[0], own[at:at+32])...)
	}
	commit := func(p mpc.PartyID, b []byte) []byte {
		d := mpc.Digest("zonesigner frost polynomials v1", g.session[:], []byte(p), b)
		return d[:]
	}
	hashes, err := mpc.Exchange(ctx, g.net, "key/commit", commit(self, own))
	if err != nil {
		return err
	}
	opened, err := mpc.Exchange(ctx, g.net, "key/open", own)
	if err != nil {
		return err
	}
	g.commitments = make([][][]*edwards25519.Point, len(g.labels))
	transcript := [][]byte{g.session[:]}
	for _, p := range g.group.Parties {
		b := opened[p]
		if !bytes.Equal(hashes[p], commit(p, b)) && !g.holes.noKeyCommit {
			return cheated(p, "its polynomial is not the one it committed to")
		}
		if len(b) != len(own) {
			return cheated(p, fmt.Sprintf("commitments of %d bytes, want %d", len(b), len(own)))
		}
		transcript = append(transcript, b)
		for i := range g.labels {
			points, err := g.decodeCommitments(p, b[:len(own)/len(g.labels)])
			if err != nil {
				return err
			}
			g.commitments[i] = append(g.commitments[i], points)
			b = b[len(own)/len(g.labels):]
		}
	}
	g.view = mpc.Digest("zonesigner frost key view v1", transcript...)
	if g.holes.noKeyView {
		return nil
	}
	return mpc.ConfirmView(ctx, g.net, "key/view", g.view, "operators hold different commitments to polynomials")
}

// decodeCommitments reads and checks what p opened for one key: t+1 points and
// a proof of possession.
func (g *generation) decodeCommitments(p mpc.PartyID, b []byte) ([]*edwards25519.Point, error) {
	points := make([]*edwards25519.Point, g.group.T+1)
	for i := range points {
		var err error
		if points[i], err = decodeElement(b[32*i : 32*i+32]); err != nil {
			return nil, cheated(p, "commitment to its polynomial: "+err.Error())
		}
	}
	if !g.verifyProof(p, points[0], b[:32], b[32*len(points):]) && !g.holes.noProof {
		return nil, cheated(p, "its proof that it knows its part of the key is wrong")
	}
	return points, nil
}

func randomScalar() *edwards25519.Scalar {
	var random [64]byte
	_, _ = rand.Read(random[:]) // never fails
	s, _ := new(edwards25519.Scalar).SetUniformBytes(random[:])
	clear(random[:])
	return s
}

// prove is the proof of possession of figure 1, round 1, step 2: R and μ, 64
// bytes, a Schnorr signature with the secret over who proves, in which session,
// and what.
func (g *generation) prove(p mpc.PartyID, secret *edwards25519.Scalar, public []byte) []byte {
	k := randomScalar()
	r := new(edwards25519.Point).ScalarBaseMult(k).Bytes()
	mu := new(edwards25519.Scalar).MultiplyAdd(secret, g.proofChallenge(p, public, r), k)
	return append(r, mu.Bytes()...)
}

func (g *generation) verifyProof(p mpc.PartyID, public *edwards25519.Point, encoded, proof []byte) bool {
	r, err := decodeElement(proof[:32])
	if err != nil {
		return false
	}
	mu, err := decodeScalar(proof[32:])
	if err != nil {
		return false
	}
	c := g.proofChallenge(p, encoded, proof[:32])
	want := new(edwards25519.Point).VarTimeDoubleScalarBaseMult(c.Negate(c), public, mu)
	return want.Equal(r) == 1
}

func (g *generation) proofChallenge(p mpc.PartyID, public, r []byte) *edwards25519.Scalar {
	x, _ := g.group.X(p)
	id := identifier(x)
	return hashScalar(tagProof, g.session[:], id[:], public, r)
}

// exchangeShares is round 2 of figure 1: each gives each the values of its
// polynomials at the other's point, which are checked against the commitments.
// Their sums are this party's shares of the keys.
func (g *generation) exchangeShares(ctx context.Context) error {
	self := g.net.Self()
	x, _ := g.group.X(self)
	for i, p := range g.group.Parties {
		if p == self {
			continue
		}
		var values []byte
		for _, f := range g.own {
			values = append(values, evaluate(f, uint32(i+1)).Bytes()...)
		}
		err := g.net.Send(ctx, p, "key/share", values)
		clear(values)
		if err != nil {
			return err
		}
	}
	got, err := mpc.Gather(ctx, g.net, "key/share", nil)
	if err != nil {
		return err
	}
	for i := range g.labels {
		k, err := g.sum(i)
		if err != nil {
			return err
		}
		k.Share = evaluate(g.own[i], x)
		g.keys = append(g.keys, k)
	}
	for j, p := range g.group.Parties {
		if p == self {
			continue
		}
		defer clear(got[p])
		if len(got[p]) != 32*len(g.labels) {
			return cheated(p, fmt.Sprintf("shares of the key of %d bytes, want %d", len(got[p]), 32*len(g.labels)))
		}
		for i, k := range g.keys {
			value, err := decodeScalar(got[p][32*i : 32*i+32])
			if err != nil {
				return cheated(p, "share of the key: "+err.Error())
			}
			want := evaluatePoints(g.commitments[i][j], x)
			if new(edwards25519.Point).ScalarBaseMult(value).Equal(want) != 1 && !g.holes.noShareCheck {
				return cheated(p, "its share of the key does not fit its commitments")
			}
			k.Share.Add(k.Share, value)
		}
	}
	return nil
}

// evaluate is the polynomial's value at x, in time that does not depend on its
// coefficients.
func evaluate(coefficients []*edwards25519.Scalar, x uint32) *edwards25519.Scalar {
	v, at := new(edwards25519.Scalar), smallScalar(x)
	for _, c := range slices.Backward(coefficients) {
		v.MultiplyAdd(v, at, c)
	}
	return v
}

// evaluatePoints is evaluate in the exponent, on public values.
func evaluatePoints(commitments []*edwards25519.Point, x uint32) *edwards25519.Point {
	powers, at := []*edwards25519.Scalar{one()}, smallScalar(x)
	for i := range len(commitments) - 1 {
		powers = append(powers, new(edwards25519.Scalar).Multiply(powers[i], at))
	}
	return new(edwards25519.Point).VarTimeMultiScalarMult(powers, commitments)
}

// sum adds up what all committed to for key i: the public key is the sum of the
// constant terms, and a party's public share that of the values at its point.
func (g *generation) sum(i int) (*KeyShare, error) {
	k := &KeyShare{Group: g.group, Self: g.net.Self()}
	sums := make([]*edwards25519.Point, g.group.T+1)
	for l := range sums {
		sums[l] = edwards25519.NewIdentityPoint()
		for _, c := range g.commitments[i] {
			sums[l].Add(sums[l], c[l])
		}
	}
	k.Public = sums[0]
	for j := range g.group.Parties {
		k.PublicShares = append(k.PublicShares, evaluatePoints(sums, uint32(j+1)))
	}
	for _, p := range append(k.PublicShares[:len(k.PublicShares):len(k.PublicShares)], k.Public) {
		if isIdentity(p) {
			return nil, fmt.Errorf("public key or share: %w", errIdentity)
		}
	}
	return k, nil
}

// testSignatures makes one tuple of each key for all n operators and signs a
// string that no zone contains, through the code that signs zones.
func (g *generation) testSignatures(ctx context.Context) ([]mpc.Signature, error) {
	if g.holes.noTestSign {
		return make([]mpc.Signature, len(g.keys)), nil
	}
	all := mpc.NewSignerSet(g.group.Parties...)
	shares := make([]*edwards25519.Scalar, len(g.keys))
	for i, k := range g.keys {
		shares[i] = k.Share
	}
	t, err := makeTuples(ctx, g.net, "test/commit", g.group.Parties, shares)
	if err != nil {
		return nil, err
	}
	defer t.erase()
	view := mpc.Digest("zonesigner frost test chunk v1", g.session[:], t.commitments)
	if err := mpc.ConfirmView(ctx, g.net, "test/view", view, differentViews); err != nil {
		return nil, err
	}
	parts := make([]spent, len(g.keys))
	for i, k := range g.keys {
		q, err := k.newQuorum(all, g.holes)
		if err != nil {
			return nil, err
		}
		message := k.testMessage()
		parts[i] = spent{quorum: q, share: k.Share, own: t.slice(i, 1), messages: [][]byte{message[:]}}
	}
	return openRun(ctx, g.net, "test", parts)
}

// testMessage is what a key signs before it exists, and no zone contains.
func (k *KeyShare) testMessage() [32]byte {
	public := k.PublicKey()
	return mpc.Digest("zonesigner frost test signature v1", public[:])
}

// transcript is the digest of all that is public about key i and its making.
func (g *generation) transcript(i int, test mpc.Signature) [32]byte {
	k, bound := g.keys[i], g.binding(g.labels[i])
	fields := [][]byte{bound[:], g.session[:], g.view[:], binary.BigEndian.AppendUint32(nil, uint32(i)), k.Public.Bytes()}
	for _, p := range k.PublicShares {
		fields = append(fields, p.Bytes())
	}
	return mpc.Digest("zonesigner frost key transcript v1", append(fields, test[:])...)
}

func cheated(p mpc.PartyID, what string) error {
	return &mpc.CheatError{Parties: []mpc.PartyID{p}, What: what}
}
