package p256

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"math"
	"math/big"
	"runtime"
	"slices"
	"testing"

	"filippo.io/nistec"
	"pgregory.net/rapid"
)

var bigP = elliptic.P256().Params().P

// anyPoint draws points in representations of all kinds, often the identity
// or a small multiple of G.
func anyPoint() *rapid.Generator[Point] {
	return rapid.Custom(func(t *rapid.T) Point {
		p := BaseMult(rapid.OneOf(anyScalar(), rapid.Map(rapid.Uint64Range(0, 4), NewScalar)).Draw(t, "log"))
		switch rapid.IntRange(0, 2).Draw(t, "form") {
		case 0:
			one := []Point{p}
			Normalize(one)
			return one[0]
		case 1:
			return p.Add(Generator()).Sub(Generator())
		}
		return p
	})
}

// reference is p in the type of nistec, by way of its encoding.
func reference(t interface{ Fatal(...any) }, p Point) *nistec.P256Point {
	if p.IsIdentity() {
		return nistec.NewP256Point()
	}
	b, err := p.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	q, err := nistec.NewP256Point().SetBytes(append([]byte{4}, b[:]...))
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func TestPointArithmetic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, q := anyPoint().Draw(t, "p"), anyPoint().Draw(t, "q")
		if rapid.Bool().Draw(t, "related") {
			q = rapid.SampledFrom([]Point{p, p.Neg(), p.Add(p), {}}).Draw(t, "to p")
		}
		k := anyScalar().Draw(t, "k")
		kBytes := k.Bytes()
		a, b := reference(t, p), reference(t, q)
		expect := func(what string, got Point, want *nistec.P256Point) {
			if !bytes.Equal(reference(t, got).Bytes(), want.Bytes()) {
				t.Fatalf("%s differs from nistec's", what)
			}
		}
		minusB := nistec.NewP256Point().Negate(b)
		expect("sum", p.Add(q), nistec.NewP256Point().Add(a, b))
		expect("difference", p.Sub(q), nistec.NewP256Point().Add(a, minusB))
		expect("double", p.Double(), nistec.NewP256Point().Double(a))
		expect("negative", q.Neg(), minusB)
		multiple, err := nistec.NewP256Point().ScalarMult(a, kBytes[:])
		if err != nil {
			t.Fatal(err)
		}
		expect("multiple", p.Mult(k), multiple)
		base, err := nistec.NewP256Point().ScalarBaseMult(kBytes[:])
		if err != nil {
			t.Fatal(err)
		}
		expect("multiple of G", BaseMult(k), base)
		if same := a.Equal(b) == 1; p.Equal(q) != same {
			t.Fatalf("Equal is %v, expected %v", p.Equal(q), same)
		}
		if p.IsIdentity() != (a.IsInfinity() == 1) {
			t.Fatal("IsIdentity is wrong")
		}
		if !p.Sub(q).Equal(Point{}) != !p.Equal(q) {
			t.Fatal("p - q is the identity and p = q do not agree")
		}
	})
}

func TestFieldArithmetic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := new(big.Int).Mod(anyNumber().Draw(t, "x"), bigP)
		y := new(big.Int).Mod(anyNumber().Draw(t, "y"), bigP)
		a, _ := fieldFromBytes((*[32]byte)(bytes32(x)))
		b, _ := fieldFromBytes((*[32]byte)(bytes32(y)))
		expect := func(what string, got field, want *big.Int) {
			if !bytes.Equal(toBytes(got.canonical()), bytes32(want.Mod(want, bigP))) {
				t.Fatalf("%s of %x and %x is %x", what, x, y, got.canonical())
			}
			if u256(got).less(prime) == 0 {
				t.Fatalf("%s of %x and %x is not reduced", what, x, y)
			}
		}
		expect("sum", a.add(b), new(big.Int).Add(x, y))
		expect("difference", a.sub(b), new(big.Int).Sub(x, y))
		expect("product", a.mul(b), new(big.Int).Mul(x, y))
		expect("square", a.square(), new(big.Int).Mul(x, x))
		expect("inverse", a.inverse(), new(big.Int).Exp(x, new(big.Int).Sub(bigP, big.NewInt(2)), bigP))
	})
}

func TestMontgomeryOnRawWords(t *testing.T) {
	// The reductions see products of Montgomery forms, whose words the tests
	// above do not choose. Here they are chosen.
	rapid.Check(t, func(t *rapid.T) {
		x, y := anyNumber().Draw(t, "x"), anyNumber().Draw(t, "y")
		u := u256FromBytes((*[32]byte)(bytes32(x)))
		for name, m := range map[string]*big.Int{"n": bigN, "p": bigP} {
			below := new(big.Int).Mod(y, m)
			v := u256FromBytes((*[32]byte)(bytes32(below)))
			got := mulN(u, v)
			if name == "p" {
				got = u256(field(u).mul(field(v)))
			}
			want := new(big.Int).Mul(x, below)
			want.Mul(want, new(big.Int).ModInverse(new(big.Int).Lsh(big.NewInt(1), 256), m)).Mod(want, m)
			if !bytes.Equal(toBytes(got), bytes32(want)) {
				t.Fatalf("mod %s: %x·%x/2²⁵⁶ is %x, expected %x", name, x, below, toBytes(got), want)
			}
		}
	})
}

func TestPointMultiplesAtEdges(t *testing.T) {
	var ks []Scalar
	for _, x := range edges {
		ks = append(ks, fromBig(t, x))
	}
	batch := BaseMultBatch(ks)
	p := BaseMult(NewScalar(0xabcdef))
	for i, k := range ks {
		b := k.Bytes()
		want, err := nistec.NewP256Point().ScalarBaseMult(b[:])
		if err != nil {
			t.Fatal(err)
		}
		for name, got := range map[string]Point{"alone": BaseMult(k), "in a batch": batch[i], "of G": Generator().Mult(k)} {
			if !bytes.Equal(reference(t, got).Bytes(), want.Bytes()) {
				t.Errorf("%x·G %s is wrong", toBig(k), name)
			}
		}
		if !batch[i].IsIdentity() && batch[i].z != fieldOne {
			t.Errorf("%x·G in a batch is not normalized", toBig(k))
		}
		if !p.Mult(k).Equal(BaseMult(k.Mul(NewScalar(0xabcdef)))) {
			t.Errorf("%x·p is wrong", toBig(k))
		}
	}
}

func TestMultSmall(t *testing.T) {
	for _, p := range []Point{Generator(), BaseMult(NewScalar(99)), {}} {
		for _, k := range []int64{0, 1, -1, 2, -2, 3, 7, -8, 1000, math.MaxInt64, math.MinInt64, math.MinInt64 + 1} {
			want := p.Mult(fromBig(t, big.NewInt(k)))
			if got := p.MultSmall(k); !got.Equal(want) {
				t.Errorf("%d·p is wrong", k)
			}
		}
	}
}

// Both ways out of nistec's type must agree; where it has assembly (and the
// build is not tagged purego) the fast one must be in use, or the figures of this package's doc are not true.
func TestFromNistec(t *testing.T) {
	assembly := slices.Contains([]string{"amd64", "arm64", "ppc64le", "s390x"}, runtime.GOARCH)
	if jacobian() != assembly {
		t.Errorf("nistec's coordinates can be read: %v, expected %v on %s", jacobian(), assembly, runtime.GOARCH)
	}
	for _, x := range edges {
		p, err := nistec.NewP256Point().ScalarBaseMult(bytes32(x))
		if err != nil {
			t.Fatal(err)
		}
		if !fromNistec(p).Equal(fromEncoding(p)) {
			t.Errorf("%x·G is taken over wrongly", x)
		}
	}
}

func TestNormalize(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ps := rapid.SliceOfN(anyPoint(), 0, 6).Draw(t, "ps")
		out := normalized(ps)
		for i, p := range out {
			if !p.Equal(ps[i]) {
				t.Fatalf("point %d of %d changed", i, len(ps))
			}
			if !p.IsIdentity() && p.z != fieldOne {
				t.Fatalf("point %d of %d is not normalized", i, len(ps))
			}
		}
	})
}

func TestX(t *testing.T) {
	params := elliptic.P256().Params()
	// A point whose x lies between n and p: r is x - n.
	for x := new(big.Int).Set(params.N); ; x.Add(x, big.NewInt(1)) {
		rhs := new(big.Int).Exp(x, big.NewInt(3), params.P)
		rhs.Sub(rhs, new(big.Int).Mul(big.NewInt(3), x)).Add(rhs, params.B).Mod(rhs, params.P)
		y := new(big.Int).ModSqrt(rhs, params.P)
		if y == nil {
			continue
		}
		p, err := PointFromBytes(append(bytes32(x), bytes32(y)...))
		if err != nil {
			t.Fatal(err)
		}
		r, err := p.Double().Sub(p).X()
		if err != nil || toBig(r).Cmp(new(big.Int).Sub(x, params.N)) != 0 {
			t.Errorf("x = n + %d gives r = %x, %v", new(big.Int).Sub(x, params.N), toBig(r), err)
		}
		return
	}
}

func TestPublicKey(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	back, err := pointOf(t, &key.PublicKey).PublicKey()
	if err != nil || !back.Equal(&key.PublicKey) {
		t.Errorf("the key changed: %v", err)
	}
	if _, err := (Point{}).PublicKey(); err == nil {
		t.Error("the identity was taken for a key")
	}
}

// pointOf is the point of a key.
func pointOf(t testing.TB, pk *ecdsa.PublicKey) Point {
	t.Helper()
	b, err := pk.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	p, err := PointFromBytes(b[1:])
	if err != nil {
		t.Fatal(err)
	}
	return p
}
