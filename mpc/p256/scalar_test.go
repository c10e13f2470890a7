package p256

import (
	"bytes"
	"crypto/elliptic"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"filippo.io/bigmod"
	"pgregory.net/rapid"
)

var bigN = elliptic.P256().Params().N

// edges are numbers below 2²⁵⁶ at which arithmetic goes wrong first.
var edges = func() []*big.Int {
	two := func(k uint) *big.Int { return new(big.Int).Lsh(big.NewInt(1), k) }
	all := []*big.Int{big.NewInt(0), big.NewInt(1), big.NewInt(2)}
	for _, b := range []*big.Int{bigN, elliptic.P256().Params().P, two(64), two(128), two(192), two(224), two(255), two(256)} {
		for d := int64(-2); d <= 2; d++ {
			all = append(all, new(big.Int).Add(b, big.NewInt(d)))
		}
	}
	half := new(big.Int).Rsh(bigN, 1)
	all = append(all, half, new(big.Int).Add(half, big.NewInt(1)))
	kept := all[:0]
	for _, x := range all {
		if x.BitLen() <= 256 {
			kept = append(kept, x)
		}
	}
	return kept
}()

func bytes32(x *big.Int) []byte { return x.FillBytes(make([]byte, 32)) }

func toBig(x Scalar) *big.Int {
	b := x.Bytes()
	return new(big.Int).SetBytes(b[:])
}

// fromBig reduces x mod n.
func fromBig(t interface{ Fatal(...any) }, x *big.Int) Scalar {
	s, err := ScalarFromBytes(bytes32(new(big.Int).Mod(x, bigN)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// anyNumber draws numbers below 2²⁵⁶, often an edge and often with words of
// zeros or ones.
func anyNumber() *rapid.Generator[*big.Int] {
	word := rapid.OneOf(rapid.Uint64(), rapid.SampledFrom([]uint64{0, 1, 1<<64 - 1, 1<<64 - 2, 1 << 63, 1 << 32, 1<<32 - 1}))
	words := rapid.Custom(func(t *rapid.T) *big.Int {
		return new(big.Int).SetBytes(toBytes(u256{word.Draw(t, "l0"), word.Draw(t, "l1"), word.Draw(t, "l2"), word.Draw(t, "l3")}))
	})
	return rapid.OneOf(words, rapid.SampledFrom(edges))
}

func toBytes(x u256) []byte {
	b := x.bytes()
	return b[:]
}

func anyScalar() *rapid.Generator[Scalar] {
	return rapid.Custom(func(t *rapid.T) Scalar { return fromBig(t, anyNumber().Draw(t, "number")) })
}

// checkArithmetic holds every operation on x and y against math/big, and the
// product against bigmod too.
func checkArithmetic(t interface {
	Fatal(...any)
	Fatalf(string, ...any)
}, x, y *big.Int) {
	a, b := fromBig(t, x), fromBig(t, y)
	x, y = new(big.Int).Mod(x, bigN), new(big.Int).Mod(y, bigN)
	mod := func(z *big.Int) *big.Int { return z.Mod(z, bigN) }
	expect := func(what string, got Scalar, want *big.Int) {
		if toBig(got).Cmp(want) != 0 {
			t.Fatalf("%s of %x and %x is %x, expected %x", what, x, y, toBig(got), want)
		}
		if u := got.m; u.less(order) == 0 {
			t.Fatalf("%s of %x and %x is not reduced", what, x, y)
		}
	}
	expect("sum", a.Add(b), mod(new(big.Int).Add(x, y)))
	expect("difference", a.Sub(b), mod(new(big.Int).Sub(x, y)))
	expect("product", a.Mul(b), mod(new(big.Int).Mul(x, y)))
	expect("square", a.Square(), mod(new(big.Int).Mul(x, x)))
	expect("negative", a.Neg(), mod(new(big.Int).Neg(x)))
	inverse := new(big.Int)
	if x.Sign() != 0 {
		inverse.ModInverse(x, bigN)
	}
	expect("inverse", a.Inverse(), inverse)
	if same := x.Cmp(y) == 0; a.Equal(b) != same || (a == b) != same {
		t.Fatalf("%x and %x: Equal is %v, == is %v", x, y, a.Equal(b), a == b)
	}
	if a.IsZero() != (x.Sign() == 0) {
		t.Fatalf("%x: IsZero is %v", x, a.IsZero())
	}

	m, err := bigmod.NewModulus(bytes32(bigN))
	if err != nil {
		t.Fatal(err)
	}
	p, _ := bigmod.NewNat().SetBytes(bytes32(x), m)
	q, _ := bigmod.NewNat().SetBytes(bytes32(y), m)
	if got := a.Mul(b).Bytes(); !bytes.Equal(got[:], p.Mul(q, m).Bytes(m)) {
		t.Fatalf("product of %x and %x differs from bigmod's", x, y)
	}
}

func TestScalarEdges(t *testing.T) {
	for _, x := range edges {
		for _, y := range edges {
			checkArithmetic(t, x, y)
		}
	}
}

func TestScalarArithmetic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		checkArithmetic(t, anyNumber().Draw(t, "x"), anyNumber().Draw(t, "y"))
	})
}

// The constants are written out in the code; here they are computed.
func TestConstants(t *testing.T) {
	p := elliptic.P256().Params()
	power := func(k uint, mod *big.Int) []byte {
		x := new(big.Int).Lsh(big.NewInt(1), k)
		return bytes32(x.Mod(x, mod))
	}
	in := func(x *big.Int) []byte { // Montgomery's form mod p
		x = new(big.Int).Lsh(x, 256)
		return bytes32(x.Mod(x, p.P))
	}
	for _, c := range []struct {
		name string
		got  u256
		want []byte
	}{
		{"n", order, bytes32(p.N)},
		{"2²⁵⁶ mod n", scalarOne, power(256, p.N)},
		{"2⁵¹² mod n", scalarR2, power(512, p.N)},
		{"2⁷⁶⁸ mod n", scalarR3, power(768, p.N)},
		{"p", prime, bytes32(p.P)},
		{"2²⁵⁶ mod p", u256(fieldOne), power(256, p.P)},
		{"2⁵¹² mod p", u256(fieldR2), power(512, p.P)},
		{"b", u256(curveB), in(p.B)},
		{"x of G", u256(genX), in(p.Gx)},
		{"y of G", u256(genY), in(p.Gy)},
	} {
		if !bytes.Equal(toBytes(c.got), c.want) {
			t.Errorf("%s is %x, expected %x", c.name, toBytes(c.got), c.want)
		}
	}
	minusInverse := uint64(nInv)
	if minusInverse*n0 != 1<<64-1 {
		t.Error("nInv is not -1/n mod 2⁶⁴")
	}
}

func TestNewScalar(t *testing.T) {
	for _, u := range []uint64{0, 1, 2, 1 << 32, 1<<64 - 1} {
		if got := toBig(NewScalar(u)); got.Cmp(new(big.Int).SetUint64(u)) != 0 {
			t.Errorf("NewScalar(%d) is %x", u, got)
		}
	}
	if NewScalar(1) != One() || NewScalar(0) != (Scalar{}) {
		t.Error("0 and 1 have two forms")
	}
}

func TestInverseOf(t *testing.T) {
	for _, k := range []uint64{1, 2, 3, 63, 64, 65, 1<<64 - 1} {
		if InverseOf(k).Mul(NewScalar(k)) != One() {
			t.Errorf("1/%d is wrong", k)
		}
	}
}

func TestInvertBatch(t *testing.T)  { testInvert(t, InvertBatch) }
func TestInvertPublic(t *testing.T) { testInvert(t, InvertPublic) }

func testInvert(t *testing.T, invert func([]Scalar) error) {
	rapid.Check(t, func(t *rapid.T) {
		xs := rapid.SliceOfN(anyScalar(), 0, 9).Draw(t, "xs")
		before := append([]Scalar(nil), xs...)
		err := invert(xs)
		for i, x := range before {
			if x.IsZero() {
				if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("index %d", i)) {
					t.Fatalf("zero at %d: error %v", i, err)
				}
				for j := range xs {
					if xs[j] != before[j] {
						t.Fatal("changed in spite of the error")
					}
				}
				return
			}
		}
		for i, x := range before {
			if xs[i] != x.Inverse() {
				t.Fatalf("inverse %d of %d is wrong", i, len(xs))
			}
		}
	})
}

func TestInnerProduct(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		xs := rapid.SliceOfN(anyScalar(), 0, 9).Draw(t, "xs")
		ys := rapid.SliceOfN(anyScalar(), len(xs), len(xs)).Draw(t, "ys")
		want := new(big.Int)
		for i := range xs {
			want.Add(want, new(big.Int).Mul(toBig(xs[i]), toBig(ys[i])))
		}
		if got := InnerProduct(xs, ys); got != fromBig(t, want) {
			t.Fatalf("%x, expected %x", toBig(got), want)
		}
	})
	defer func() {
		if recover() == nil {
			t.Error("vectors of two lengths were multiplied")
		}
	}()
	InnerProduct(make([]Scalar, 2), make([]Scalar, 3))
}

func TestRandomScalar(t *testing.T) {
	source := bytes.Repeat([]byte{0xff}, 48)
	want := new(big.Int).SetBytes(source)
	x, err := RandomScalar(bytes.NewReader(source))
	if err != nil || toBig(x).Cmp(want.Mod(want, bigN)) != 0 {
		t.Errorf("%x, %v", toBig(x), err)
	}
	broken := errors.New("no entropy")
	if _, err := RandomScalar(errReader{broken}); !errors.Is(err, broken) {
		t.Errorf("error %v, expected %v", err, broken)
	}
	if _, err := RandomScalar(bytes.NewReader(source[:47])); err == nil {
		t.Error("47 random bytes were enough")
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

func TestSecretsPrintNothing(t *testing.T) {
	x := fromBig(t, new(big.Int).Lsh(big.NewInt(0xdeadbeef), 200))
	hidden := []string{fmt.Sprintf("%x", toBig(x)), "deadbeef", fmt.Sprint(x.m.l0), fmt.Sprintf("%x", x.m.l0)}
	text, err := x.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	asJSON, err := json.Marshal(map[string]any{"x": x, "p": BaseMult(x)})
	if err != nil {
		t.Fatal(err)
	}
	p := BaseMult(x)
	hidden = append(hidden, fmt.Sprint(p.x.l0), fmt.Sprint(p.z.l0), fmt.Sprintf("%x", p.z.l0))
	out := []string{x.String(), x.GoString(), string(text), string(asJSON)}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%X", "%d", "%q", "%b", "%o", "%T %v"} {
		out = append(out, fmt.Sprintf(verb, x), fmt.Sprintf(verb, &x), fmt.Sprintf(verb, []Scalar{x}),
			fmt.Sprintf(verb, struct{ X Scalar }{x}), fmt.Sprintf(verb, p), fmt.Sprintf(verb, []Point{p}))
	}
	for _, s := range out {
		for _, h := range hidden {
			if strings.Contains(strings.ToLower(s), h) {
				t.Errorf("%q gives away %s", s, h)
			}
		}
	}
	if new(Scalar).UnmarshalText(text) == nil {
		t.Error("the placeholder was read as a number")
	}
}

func TestIsHigh(t *testing.T) {
	half, _ := ScalarFromBytes(new(big.Int).Rsh(elliptic.P256().Params().N, 1).FillBytes(make([]byte, 32)))
	for _, c := range []struct {
		x    Scalar
		want bool
	}{{Scalar{}, false}, {One(), false}, {One().Neg(), true}, {half, false}, {half.Add(One()), true}} {
		if got := c.x.IsHigh(); got != c.want {
			t.Errorf("%x is high: %v, expected %v", c.x.Bytes(), got, c.want)
		}
	}
}
