package frost

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"

	"filippo.io/edwards25519"

	"zonesigner/mpc"
)

// unhex is a JSON string of hexadecimal digits.
type unhex []byte

func (u *unhex) UnmarshalText(text []byte) (err error) {
	*u, err = hex.DecodeString(string(text))
	return err
}

func scalarOf(t *testing.T, b []byte) *edwards25519.Scalar {
	t.Helper()
	s, err := decodeScalar(b)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func same(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("%s is %x, want %x", what, got, want)
	}
}

// TestRFC9591 computes everything in appendix E.1 of RFC 9591 anew.
func TestRFC9591(t *testing.T) {
	var v struct {
		Secret      unhex `json:"group_secret_key"`
		Public      unhex `json:"group_public_key"`
		Message     unhex
		Coefficient unhex   `json:"share_polynomial_coefficient"`
		Shares      []unhex `json:"participant_shares"`
		Signers     []struct {
			Identifier        uint32
			HidingRandomness  unhex `json:"hiding_nonce_randomness"`
			BindingRandomness unhex `json:"binding_nonce_randomness"`
			Hiding            unhex `json:"hiding_nonce"`
			Binding           unhex `json:"binding_nonce"`
			HidingCommitment  unhex `json:"hiding_nonce_commitment"`
			BindingCommitment unhex `json:"binding_nonce_commitment"`
			Factor            unhex `json:"binding_factor"`
			Share             unhex `json:"sig_share"`
		}
		Signature unhex `json:"sig"`
	}
	b, err := os.ReadFile("testdata/rfc9591-e1.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}

	f := []*edwards25519.Scalar{scalarOf(t, v.Secret), scalarOf(t, v.Coefficient)}
	public := new(edwards25519.Point).ScalarBaseMult(f[0])
	same(t, "the public key", public.Bytes(), v.Public)
	k := &KeyShare{Group: mpc.Group{Parties: []mpc.PartyID{"p1", "p2", "p3"}, T: 1}, Self: "p1", Public: public}
	for i, want := range v.Shares {
		share := evaluate(f, uint32(i+1))
		same(t, "a share", share.Bytes(), want)
		k.PublicShares = append(k.PublicShares, new(edwards25519.Point).ScalarBaseMult(share))
	}
	set := mpc.NewSignerSet("p1", "p3")
	q, err := k.newQuorum(set, holes{})
	if err != nil {
		t.Fatal(err)
	}
	var secrets []nonces
	var commitments []byte
	for _, s := range v.Signers {
		random := [64]byte(append(bytes.Clone(s.HidingRandomness), s.BindingRandomness...))
		n, c := makeNonces(&random, scalarOf(t, v.Shares[s.Identifier-1]))
		same(t, "a hiding nonce", n.hiding.Bytes(), s.Hiding)
		same(t, "a binding nonce", n.binding.Bytes(), s.Binding)
		same(t, "a hiding commitment", c[:32], s.HidingCommitment)
		same(t, "a binding commitment", c[32:], s.BindingCommitment)
		secrets = append(secrets, n)
		commitments = append(commitments, c[:]...)
	}
	g, err := q.prepare(v.Message, commitments)
	if err != nil {
		t.Fatal(err)
	}
	shares := make([]*edwards25519.Scalar, len(v.Signers))
	for i, s := range v.Signers {
		same(t, "a binding factor", g.rho[i].Bytes(), s.Factor)
		q.self = i
		shares[i] = q.share(g, secrets[i], scalarOf(t, v.Shares[s.Identifier-1]))
		same(t, "a share of the signature", shares[i].Bytes(), s.Share)
		if !q.verifyShare(g, i, shares[i]) || q.verifyShare(g, i, one()) {
			t.Errorf("share %d does not verify, or another one does", i)
		}
	}
	sig := g.aggregate(shares)
	if err := q.verify(g, v.Message, sig, shares); err != nil {
		t.Fatal(err)
	}
	same(t, "the signature", sig[:], v.Signature)
	if !ed25519.Verify(ed25519.PublicKey(v.Public), v.Message, sig[:]) {
		t.Error("the signature does not verify")
	}

	// In a batch, where one that is wrong is found however many are right.
	var right, wrong batch
	for i := range 5 {
		right.add(q, g)
		other := *g
		if i == 3 {
			other.z = new(edwards25519.Scalar).Add(g.z, one())
		}
		wrong.add(q, &other)
	}
	if !right.verify() || wrong.verify() {
		t.Error("a batch of right signatures does not verify, or one with a wrong one does")
	}
}

// TestElements refuses what DeserializeElement of RFC 9591, section 6.1, and
// RFC 8032, section 5.1.3, refuse.
func TestElements(t *testing.T) {
	p, err := hex.DecodeString("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f") // 2²⁵⁵-19
	if err != nil {
		t.Fatal(err)
	}
	at := func(d byte) []byte { // y = 2²⁵⁵-19+d, and 2²⁵⁵-20 for 255
		b := bytes.Clone(p)
		b[0] += d
		return b
	}
	small := func(y byte) []byte { return append([]byte{y}, make([]byte, 31)...) }
	signed := func(b []byte) []byte {
		b = bytes.Clone(b)
		b[31] |= 0x80
		return b
	}
	// A point of order 8, which with others is of composite order.
	eight, err := hex.DecodeString("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05")
	if err != nil {
		t.Fatal(err)
	}
	torsion, err := new(edwards25519.Point).SetBytes(eight)
	if err != nil {
		t.Fatal(err)
	}
	mixed := new(edwards25519.Point).Add(edwards25519.NewGeneratorPoint(), torsion).Bytes()
	for _, c := range []struct {
		name string
		b    []byte
	}{
		{"nothing", nil},
		{"short", p[:31]},
		{"long", append(edwards25519.NewGeneratorPoint().Bytes(), 0)},
		{"no point", small(2)},
		{"the identity", small(1)},
		{"the identity with a sign", signed(small(1))},
		{"the identity, not reduced", at(1)},
		{"of order 2", at(255)},
		{"of order 4", small(0)},
		{"of order 4, not reduced", p},
		{"of order 8", eight},
		{"of composite order", mixed},
		{"not reduced", at(3)},
	} {
		if _, err := decodeElement(c.b); err == nil {
			t.Errorf("%s: %x is taken", c.name, c.b)
		}
		if len(c.b) != 32 {
			continue
		}
		// Among many, wherever it stands.
		for _, at := range []int{0, 50, 99} {
			many := bytes.Repeat(times(7).Bytes(), 100)
			copy(many[32*at:], c.b)
			if found, err := checkElements(many); err == nil || found != at {
				t.Errorf("%s: %x is taken at %d of many, or element %d is refused: %v", c.name, c.b, at, found, err)
			}
		}
	}
	if _, err := checkElements(bytes.Repeat(times(7).Bytes(), 100)); err != nil {
		t.Errorf("many that are right: %v", err)
	}
	for i := range uint32(20) {
		want := new(edwards25519.Point).ScalarBaseMult(smallScalar(i + 1))
		if got, err := decodeElement(want.Bytes()); err != nil || got.Equal(want) != 1 {
			t.Errorf("%d times the base point is refused: %v", i+1, err)
		}
	}
}

func TestScalars(t *testing.T) {
	order := minusOne.Bytes()
	if _, err := decodeScalar(order); err != nil {
		t.Errorf("the order less one is refused: %v", err)
	}
	order[0]++
	for _, b := range [][]byte{nil, order, bytes.Repeat([]byte{0xff}, 32), make([]byte, 31), make([]byte, 33)} {
		if _, err := decodeScalar(b); err == nil {
			t.Errorf("%x is taken", b)
		}
	}
}

// TestLagrange recovers a secret from every set of t+1 of its shares.
func TestLagrange(t *testing.T) {
	f := []*edwards25519.Scalar{randomScalar(), randomScalar(), randomScalar()}
	for a := uint32(1); a <= 5; a++ {
		for b := a + 1; b <= 5; b++ {
			for c := b + 1; c <= 5; c++ {
				sum, xs := new(edwards25519.Scalar), []uint32{c, a, b}
				for i, x := range xs {
					sum.MultiplyAdd(lagrange(xs, i), evaluate(f, x), sum)
				}
				if sum.Equal(f[0]) != 1 {
					t.Errorf("shares at %v give another secret", xs)
				}
			}
		}
	}
}
