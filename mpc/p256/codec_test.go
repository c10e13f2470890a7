package p256

import (
	"bytes"
	"crypto/ecdh"
	"crypto/elliptic"
	"math"
	"math/big"
	"testing"

	"pgregory.net/rapid"
)

func TestScalarFromBytes(t *testing.T) {
	for _, x := range edges {
		b := bytes32(x)
		s, err := ScalarFromBytes(b)
		if good := x.Cmp(bigN) < 0; (err == nil) != good {
			t.Errorf("%x: error %v, expected to be read: %v", x, err, good)
		} else if got := s.Bytes(); good && !bytes.Equal(got[:], b) {
			t.Errorf("%x comes back as %x", x, got)
		} else if !good && s != (Scalar{}) {
			t.Errorf("%x: refused, yet a value came with the error", x)
		}
	}
	for _, length := range []int{0, 1, 31, 33, 64} {
		if _, err := ScalarFromBytes(make([]byte, length)); err == nil {
			t.Errorf("a scalar of %d bytes was read", length)
		}
	}
}

func TestScalarFromWide(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SliceOfN(rapid.OneOf(rapid.Byte(), rapid.Just(byte(0xff))), 0, 56).Draw(t, "b")
		want := new(big.Int).SetBytes(b)
		if got := ScalarFromWide(b); got != fromBig(t, want) {
			t.Fatalf("%x, expected %x mod n", toBig(got), want)
		}
	})
	ones := bytes.Repeat([]byte{0xff}, 56)
	if got, want := ScalarFromWide(ones), fromBig(t, new(big.Int).SetBytes(ones)); got != want {
		t.Errorf("2⁴⁴⁸-1 gives %x, expected %x", toBig(got), toBig(want))
	}
	defer func() {
		if recover() == nil {
			t.Error("57 bytes were reduced")
		}
	}()
	ScalarFromWide(make([]byte, 57))
}

func TestScalarFromDigest(t *testing.T) {
	for _, x := range edges {
		if got := ScalarFromDigest(bytes32(x)); got != fromBig(t, x) {
			t.Errorf("%x gives %x", x, toBig(got))
		}
		if ScalarFromDigest(append(bytes32(x), 1, 2, 3)) != ScalarFromDigest(bytes32(x)) {
			t.Errorf("%x: more than the leftmost 256 bits count", x)
		}
	}
}

func TestScalarVectors(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		xs := rapid.SliceOfN(anyScalar(), 0, 5).Draw(t, "xs")
		prefix := []byte("prefix")
		b := AppendScalars(prefix, xs)
		if !bytes.HasPrefix(b, prefix) || len(b) != len(prefix)+ScalarSize*len(xs) {
			t.Fatalf("%d scalars took %d bytes", len(xs), len(b))
		}
		b = b[len(prefix):]
		back, err := DecodeScalars(b, len(xs))
		if err != nil {
			t.Fatal(err)
		}
		for i := range xs {
			if back[i] != xs[i] {
				t.Fatalf("scalar %d of %d changed", i, len(xs))
			}
		}
	})
}

func TestVectorLengths(t *testing.T) {
	const wrap = math.MaxInt/16 + 1 // times 32 it is 0 as an int
	for _, c := range []struct{ length, n int }{
		{0, 1}, {32, 0}, {31, 1}, {33, 1}, {64, 1}, {96, 2}, {0, -1}, {32, -1},
		{0, wrap}, {32, wrap + 1}, {0, wrap / 2}, {0, math.MaxInt}, // must not allocate
	} {
		if _, err := DecodeScalars(make([]byte, c.length), c.n); err == nil {
			t.Errorf("%d bytes were read as %d scalars", c.length, c.n)
		}
		if _, err := DecodePoints(make([]byte, 2*c.length), c.n); err == nil {
			t.Errorf("%d bytes were read as %d points", 2*c.length, c.n)
		}
	}
	bad := append(make([]byte, 32), bytes32(bigN)...)
	if _, err := DecodeScalars(bad, 2); err == nil {
		t.Error("n was read as a scalar")
	}
}

func TestPointFromBytes(t *testing.T) {
	g, err := Generator().Bytes()
	if err != nil {
		t.Fatal(err)
	}
	if p, err := PointFromBytes(g[:]); err != nil || !p.Equal(Generator()) {
		t.Errorf("G is not read back: %v", err)
	}
	params := elliptic.P256().Params()
	twisted := func() []byte { // x on the twist: x³-3x+b is no square; y² is that of another curve
		for x := int64(1); ; x++ {
			bx := big.NewInt(x)
			rhs := new(big.Int).Exp(bx, big.NewInt(3), params.P)
			rhs.Sub(rhs, new(big.Int).Mul(big.NewInt(3), bx)).Add(rhs, params.B).Mod(rhs, params.P)
			if big.Jacobi(rhs, params.P) == -1 {
				return append(bytes32(bx), bytes32(new(big.Int).ModSqrt(new(big.Int).Sub(params.P, rhs), params.P))...)
			}
		}
	}
	// (0, √b) is on the curve, and so is its only other encoding of x: p.
	rootB := new(big.Int).ModSqrt(params.B, params.P)
	if _, err := PointFromBytes(append(make([]byte, 32), bytes32(rootB)...)); err != nil {
		t.Errorf("(0, √b) is on the curve: %v", err)
	}
	five := smallestPointAbove(t, params, 5)
	for name, b := range map[string][]byte{
		"nothing":               {},
		"63 bytes":              g[:63],
		"65 bytes, SEC 1":       append([]byte{4}, g[:]...),
		"33 bytes, compressed":  append([]byte{2}, g[:32]...),
		"zeros":                 make([]byte, 64),
		"all ones":              bytes.Repeat([]byte{0xff}, 64),
		"x = p for 0":           append(bytes32(params.P), bytes32(rootB)...),
		"x + p for x":           append(bytes32(new(big.Int).Add(five.x, params.P)), bytes32(five.y)...),
		"y = p":                 append(g[:32:32], bytes32(params.P)...),
		"y + 1":                 append(g[:32:32], bytes32(new(big.Int).Add(params.Gy, big.NewInt(1)))...),
		"x and y swapped":       append(g[32:64:64], g[:32]...),
		"on the twist":          twisted(),
		"on a curve of other b": append(bytes32(big.NewInt(1)), bytes32(big.NewInt(1))...),
	} {
		if p, err := PointFromBytes(b); err == nil {
			t.Errorf("%s was read as a point", name)
		} else if !p.IsIdentity() {
			t.Errorf("%s: refused, yet a point came with the error", name)
		}
	}
}

type bigPoint struct{ x, y *big.Int }

// smallestPointAbove finds a point with a small x, whose x + p still fits 32
// bytes.
func smallestPointAbove(t *testing.T, params *elliptic.CurveParams, from int64) bigPoint {
	t.Helper()
	for x := from; ; x++ {
		bx := big.NewInt(x)
		rhs := new(big.Int).Exp(bx, big.NewInt(3), params.P)
		rhs.Sub(rhs, new(big.Int).Mul(big.NewInt(3), bx)).Add(rhs, params.B).Mod(rhs, params.P)
		if y := new(big.Int).ModSqrt(rhs, params.P); y != nil {
			if _, err := PointFromBytes(append(bytes32(bx), bytes32(y)...)); err != nil {
				t.Fatal(err)
			}
			return bigPoint{bx, y}
		}
	}
}

func TestPointVectors(t *testing.T) {
	ps := []Point{Generator(), Generator().Double(), BaseMult(NewScalar(7)).Add(Generator()), Generator().Neg()}
	b, err := AppendPoints([]byte("prefix"), ps)
	if err != nil || len(b) != 6+len(ps)*PointSize {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	back, err := DecodePoints(b[6:], len(ps))
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range ps {
		one, err := p.Bytes()
		if err != nil || !bytes.Equal(one[:], b[6+i*PointSize:6+(i+1)*PointSize]) || !back[i].Equal(p) {
			t.Errorf("point %d: %v", i, err)
		}
	}
	withIdentity := append(ps, Generator().Sub(Generator()))
	if got, err := AppendPoints([]byte("prefix"), withIdentity); err == nil || string(got) != "prefix" {
		t.Errorf("the identity was encoded: %d bytes, %v", len(got), err)
	}
	b[6+PointSize*2] ^= 1
	if _, err := DecodePoints(b[6:], len(ps)); err == nil {
		t.Error("a point off the curve was read")
	}
	for _, p := range []Point{{}, Generator().Sub(Generator()), BaseMult(Scalar{}), Generator().Mult(Scalar{})} {
		if _, err := p.Bytes(); err == nil {
			t.Error("the identity was encoded")
		}
		if _, err := p.X(); err == nil {
			t.Error("the identity has an x")
		}
		if _, err := p.PublicKey(); err == nil {
			t.Error("the identity is a public key")
		}
	}
}

func FuzzDecodeScalars(f *testing.F) {
	for _, x := range edges {
		f.Add(bytes32(x), 1)
	}
	f.Add([]byte{}, 0)
	f.Add(make([]byte, 96), 3)
	f.Add(make([]byte, 95), 3)
	f.Add([]byte{}, math.MaxInt/16+1)
	f.Fuzz(func(t *testing.T, b []byte, n int) {
		xs, err := DecodeScalars(b, n)
		if err != nil {
			return
		}
		if len(xs) != n || !bytes.Equal(AppendScalars(nil, xs), b) {
			t.Fatalf("%x has two encodings", b)
		}
	})
}

func FuzzDecodePoints(f *testing.F) {
	g, _ := Generator().Bytes()
	f.Add(g[:], 1)
	f.Add(append(g[:], g[:]...), 2)
	f.Add(make([]byte, 64), 1)
	f.Add([]byte{}, 0)
	f.Add([]byte{}, math.MaxInt/32+1)
	f.Fuzz(func(t *testing.T, b []byte, n int) {
		ps, err := DecodePoints(b, n)
		if err != nil {
			return
		}
		back, err := AppendPoints(nil, ps)
		if err != nil || len(ps) != n || !bytes.Equal(back, b) {
			t.Fatalf("%x has two encodings, or none: %v", b, err)
		}
		for _, p := range ps {
			if _, err := ecdh.P256().NewPublicKey(append([]byte{4}, b[:64]...)); err != nil || p.IsIdentity() {
				t.Fatalf("%x is not on the curve", b)
			}
			b = b[64:]
		}
	})
}
