package mascot

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"sync"
	"testing"

	"zonesigner/mpc"
	"zonesigner/mpc/ecdsa"
	"zonesigner/mpc/mpctest"
	"zonesigner/mpc/p256"
)

// listener keeps what its party sends in the rounds of a test signature.
type listener struct {
	mpc.Network
	heard map[string]*collect[[]byte] // by round
}

func (l listener) Send(ctx context.Context, to mpc.PartyID, round string, b []byte) error {
	if c := l.heard[round]; c != nil {
		c.put(l.Self(), b)
	}
	return l.Network.Send(ctx, to, round, b)
}

// importing has n parties bring a key in, with the engine of attack at a.
func importing(t *testing.T, e Engine, n int, secret p256.Scalar, attack holes) (errs map[mpc.PartyID]error, keys map[mpc.PartyID][]*ecdsa.KeyShare, R, s map[mpc.PartyID][]byte) {
	t.Helper()
	g := mpctest.Group(n, n-1)
	ids := mpctest.Identities(t, g.Parties)
	dealing, shares, err := mpc.Deal(g, e, secret, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var made collect[[]*ecdsa.KeyShare]
	heard := map[string]*collect[[]byte]{"test/R": {}, "test/s": {}}
	errs = mpctest.Play(t, g.Parties, func(ctx context.Context, net mpc.Network) error {
		x, _ := g.X(net.Self())
		own := e
		if own.roots = new(roots); net.Self() == "a" {
			own.holes = attack
		}
		k, err := ecdsa.ImportKeys(ctx, listener{net, heard}, ids[net.Self()], g, ecdsa.Over(own), [][]byte{[]byte("zsk")}, []mpc.Dealt{{Dealing: dealing, Share: shares[x-1]}})
		if err == nil {
			made.put(net.Self(), k)
		}
		return err
	})
	return errs, made.all, heard["test/R"].all, heard["test/s"].all
}

// a proves that it has the addend that it was dealt, and puts in another. It
// would come to a signature of a key that is in use elsewhere, for a digest that
// is shifted by as much as it chose. With the MAC of the public key nothing is
// signed.
func TestImportAnotherShare(t *testing.T) {
	secret, off := p256.NewScalar(12345), p256.NewScalar(7)
	public := p256.BaseMult(secret)
	attack := func(e Engine, n int) (errs map[mpc.PartyID]error, R, s map[mpc.PartyID][]byte) {
		h := e.holes
		h.shift = func(what string, values []p256.Scalar) {
			if what == "import" {
				values[0] = values[0].Add(off)
			}
		}
		errs, keys, R, s := importing(t, e, n, secret, h)
		if len(keys) != 0 {
			t.Errorf("%d operators have the key", len(keys))
		}
		return errs, R, s
	}
	for _, e := range []Engine{Full(), Minus()} {
		for _, n := range []int{2, 3} {
			errs, R, s := attack(e, n)
			caught(t, errs, "does not fit its MAC")
			if len(R) != 0 || len(s) != 0 {
				t.Errorf("%s, %d operators: the test signature was begun", e.Name(), n)
			}
		}
	}

	errs, sentR, sentS := attack(Engine{holes: holes{noMACs: true}}, 2)
	caught(t, errs, "do not verify")
	R, signature := openSignature(t, sentR, sentS)
	r, err := R.X()
	if err != nil {
		t.Fatal(err)
	}
	if !signs(public, testDigest(public).Add(r.Mul(off)), r, signature, R) {
		t.Error("the attack is none: what was opened is no signature on the shifted digest")
	}
}

// openSignature is R and s of a test signature, from what both operators sent.
func openSignature(t *testing.T, sentR, sentS map[mpc.PartyID][]byte) (R p256.Point, s p256.Scalar) {
	t.Helper()
	g := mpctest.Group(2, 1)
	opening, err := mpc.NewOpening(g, g.Parties, "", g.T)
	if err != nil {
		t.Fatal(err)
	}
	var points [][]p256.Point
	var scalars [][]p256.Scalar
	for _, p := range g.Parties {
		point, err := p256.DecodePoints(sentR[p], 1)
		if err != nil {
			t.Fatal(err)
		}
		scalar, err := p256.DecodeScalars(sentS[p], 1)
		if err != nil {
			t.Fatal(err)
		}
		points, scalars = append(points, point), append(scalars, scalar)
	}
	Rs, err := opening.Points("R", points)
	if err != nil {
		t.Fatal(err)
	}
	ss, err := opening.Scalars("s", scalars)
	if err != nil {
		t.Fatal(err)
	}
	return Rs[0], ss[0]
}

// testDigest is what a test signature is on.
func testDigest(public p256.Point) p256.Scalar {
	encoded, _ := public.Bytes()
	message := mpc.Digest("zonesigner test signature v1", encoded[:])
	digest := sha256.Sum256(message[:])
	return p256.ScalarFromDigest(digest[:])
}

// signs reports whether (r, s) is a signature on digest m whose point is R.
func signs(public p256.Point, m, r, s p256.Scalar, R p256.Point) bool {
	inverse := s.Inverse()
	return p256.BaseMult(m.Mul(inverse)).Add(public.Mult(r.Mul(inverse))).Equal(R)
}

// What mascot-minus gives up: a shifts the openings by which the nonce and the
// key are multiplied, each by what it chooses, before anyone knows R. The
// signature does not verify; what was opened of it is, turned by a factor that
// is known afterwards, a signature with the shifted nonce on one other digest,
// which is known afterwards as well.
func TestShiftedNonce(t *testing.T) {
	secret, offNonce, offKey := p256.NewScalar(12345), p256.NewScalar(7), p256.NewScalar(11)
	public := p256.BaseMult(secret)
	bad := holes{lenient: true} // while a key is brought in, everything is checked
	bad.shift = func(what string, values []p256.Scalar) {
		if what == "differences" {
			values[0], values[1] = values[0].Add(offNonce), values[1].Add(offKey)
		}
	}
	errs, _, sentR, sentS := importing(t, Engine{minus: true, holes: holes{lenient: true}}, 2, secret, bad)
	caught(t, errs, "do not verify")
	R, s := openSignature(t, sentR, sentS)
	shifted := R.Add(p256.BaseMult(offNonce))
	r, err := R.X()
	if err != nil {
		t.Fatal(err)
	}
	other, err := shifted.X()
	if err != nil {
		t.Fatal(err)
	}
	turn := other.Mul(r.Inverse())
	m := testDigest(public).Add(r.Mul(offKey)).Mul(turn)
	if !signs(public, m, other, s.Mul(turn), shifted) {
		t.Error("what was opened is no signature on the related digest")
	}
}

// While a key is brought in, a shifts an opening that mascot-minus does not check
// otherwise.
func TestImportShiftedDifference(t *testing.T) {
	secret := p256.NewScalar(12345)
	attack := func(h holes) map[mpc.PartyID]error {
		var once sync.Once
		bad := h
		bad.shift = func(what string, values []p256.Scalar) {
			if what == "differences" {
				once.Do(func() { values[len(values)-1] = values[len(values)-1].Add(p256.One()) })
			}
		}
		errs, keys, _, _ := importing(t, Engine{minus: true, holes: h}, 2, secret, bad)
		if len(keys) != 0 {
			t.Errorf("%d operators have the key", len(keys))
		}
		return errs
	}
	caught(t, attack(holes{}), "does not fit its MAC")
	// It comes to a signature that does not verify, and was opened.
	caught(t, attack(holes{lenient: true}), "do not verify")
}
