package p256

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"math/big"
	"slices"
	"testing"
)

// RFC 6979, appendix A.2.5, P-256 with SHA-256.
const (
	rfcKey = "C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721"
	rfcUx  = "60FED4BA255A9D31C961EB74C6356D68C049B8923B61FA6CE669622E60F29FB6"
	rfcUy  = "7903FE1008B8BC99A41AE9E95628BC64F2F1B20C2D7E9F5177A3C294D4462299"
)

var rfcSignatures = []struct{ message, k, r, s string }{
	{
		"sample",
		"A6E3C57DD01ABE90086538398355DD4C3B17AA873382B0F24D6129493D8AAD60",
		"EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716",
		"F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8",
	},
	{
		"test",
		"D16B6AE827F17175E040871A1C7EC3500192C4C92677336EC2537ACAEE0008E0",
		"F1ABB023518351CD71D881567B1EA663ED3EFCF6C5132B354F28D3B0B7D38367",
		"019F4113742A2B14BD25926B49C649155F267E60D3814B4C0CC84250E46F0083",
	},
}

func fromHex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func scalarFromHex(t *testing.T, s string) Scalar {
	t.Helper()
	x, err := ScalarFromBytes(fromHex(t, s))
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func TestRFC6979(t *testing.T) {
	key := scalarFromHex(t, rfcKey)
	pk, err := PointFromBytes(fromHex(t, rfcUx+rfcUy))
	if err != nil {
		t.Fatal(err)
	}
	if !BaseMult(key).Equal(pk) {
		t.Error("the public key differs")
	}
	for _, v := range rfcSignatures {
		digest := sha256.Sum256([]byte(v.message))
		k, r, s := scalarFromHex(t, v.k), scalarFromHex(t, v.r), scalarFromHex(t, v.s)
		R := BaseMult(k)
		if got, err := R.X(); err != nil || got != r {
			t.Errorf("%s: r differs, %v", v.message, err)
		}
		if k.Inverse().Mul(ScalarFromDigest(digest[:]).Add(r.Mul(key))) != s {
			t.Errorf("%s: s differs", v.message)
		}
		sig := [64]byte(fromHex(t, v.r+v.s))
		if !VerifySignature(pk, digest, sig) {
			t.Errorf("%s: the signature is refused", v.message)
		}
		bad, err := VerifyBatch([]Point{pk}, [][32]byte{digest}, []Scalar{r}, []Scalar{s}, []Point{R}, rand.Reader)
		if bad != nil || err != nil {
			t.Errorf("%s: batch of one: bad %v, %v", v.message, bad, err)
		}
		for i := range sig {
			flipped := sig
			flipped[i] ^= 1
			if VerifySignature(pk, digest, flipped) {
				t.Errorf("%s: taken with byte %d changed", v.message, i)
			}
		}
		digest[31] ^= 1
		if VerifySignature(pk, digest, sig) {
			t.Errorf("%s: taken for another digest", v.message)
		}
	}
}

func TestVerifySignatureRefuses(t *testing.T) {
	b := newBatch(t, 1)
	good := b.signature(0)
	n := bytes32(bigN)
	sPlusN := new(big.Int).Add(toBig(b.ss[0]), bigN)
	with := func(r, s []byte) (sig [64]byte) {
		copy(sig[:32], r)
		copy(sig[32:], s)
		return sig
	}
	zero := make([]byte, 32)
	for name, sig := range map[string][64]byte{
		"zeros": {}, "r = 0": with(zero, good[32:]), "s = 0": with(good[:32], zero),
		"r = n": with(n, good[32:]), "s = n": with(good[:32], n), "r and s swapped": with(good[32:], good[:32]),
	} {
		if VerifySignature(b.pk, b.digests[0], sig) {
			t.Errorf("%s was taken", name)
		}
	}
	if sPlusN.BitLen() <= 256 && VerifySignature(b.pk, b.digests[0], with(good[:32], bytes32(sPlusN))) {
		t.Error("s + n was taken for s")
	}
	if !VerifySignature(b.pk, b.digests[0], good) || VerifySignature(Point{}, b.digests[0], good) {
		t.Error("the good signature is refused, or taken under the identity")
	}
}

// batch is a set of good signatures under one key.
type batch struct {
	key     Scalar
	pk      Point
	pks     []Point // pk for each; others in some tests
	digests [][32]byte
	rs, ss  []Scalar
	Rs      []Point
}

func newBatch(t testing.TB, n int) *batch {
	t.Helper()
	b := &batch{key: randomScalars(t, 1)[0], digests: make([][32]byte, n), rs: make([]Scalar, n), ss: make([]Scalar, n)}
	b.pk = BaseMult(b.key)
	b.pks = slices.Repeat([]Point{b.pk}, n)
	ks := randomScalars(t, n)
	b.Rs = BaseMultBatch(ks)
	for i, k := range ks {
		b.digests[i] = sha256.Sum256([]byte{byte(i), byte(i >> 8)})
		r, err := b.Rs[i].X()
		if err != nil {
			t.Fatal(err)
		}
		b.rs[i] = r
		b.ss[i] = k.Inverse().Mul(ScalarFromDigest(b.digests[i][:]).Add(r.Mul(b.key)))
	}
	return b
}

func (b *batch) signature(i int) (sig [64]byte) {
	AppendScalars(sig[:0], []Scalar{b.rs[i], b.ss[i]})
	return sig
}

func (b *batch) verify(coins io.Reader) ([]int, error) {
	return VerifyBatch(b.pks, b.digests, b.rs, b.ss, b.Rs, coins)
}

func TestVerifyBatch(t *testing.T) {
	for _, n := range []int{0, 1, 2, 3, 50, 300} {
		b := newBatch(t, n)
		if bad, err := b.verify(rand.Reader); bad != nil || err != nil {
			t.Errorf("%d good signatures: bad %v, %v", n, bad, err)
		}
		for i := range b.Rs { // other representations of the same points
			b.Rs[i] = b.Rs[i].Add(Generator()).Sub(Generator())
		}
		if bad, err := b.verify(rand.Reader); bad != nil || err != nil {
			t.Errorf("%d good signatures, not normalized: bad %v, %v", n, bad, err)
		}
	}
}

func TestVerifyBatchOfManyKeys(t *testing.T) {
	var all batch
	var starts []int
	for _, n := range []int{3, 1, 20, 1, 7} {
		b := newBatch(t, n)
		starts = append(starts, len(all.pks))
		all.pks, all.digests, all.Rs = append(all.pks, b.pks...), append(all.digests, b.digests...), append(all.Rs, b.Rs...)
		all.rs, all.ss = append(all.rs, b.rs...), append(all.ss, b.ss...)
	}
	if bad, err := all.verify(rand.Reader); bad != nil || err != nil {
		t.Fatalf("good signatures of five keys: bad %v, %v", bad, err)
	}
	for _, i := range starts[1:] { // a signature counted to the key before
		pk := all.pks[i]
		all.pks[i] = all.pks[i-1]
		if bad, err := all.verify(rand.Reader); !slices.Equal(bad, []int{i}) || err != nil {
			t.Errorf("signature %d under its neighbour's key: bad %v, %v", i, bad, err)
		}
		all.pks[i] = pk
	}
}

func TestVerifyBatchFindsBad(t *testing.T) {
	const n = 40
	for name, c := range map[string]struct {
		spoil func(b *batch)
		bad   []int
	}{
		"one digest":        {func(b *batch) { b.digests[7][3] ^= 4 }, []int{7}},
		"the first s":       {func(b *batch) { b.ss[0] = b.ss[0].Add(One()) }, []int{0}},
		"-s for s":          {func(b *batch) { b.ss[9] = b.ss[9].Neg() }, []int{9}},
		"-R for R":          {func(b *batch) { b.Rs[9] = b.Rs[9].Neg() }, []int{9}},
		"the last R":        {func(b *batch) { b.Rs[n-1] = b.Rs[n-1].Double() }, []int{n - 1}},
		"r":                 {func(b *batch) { b.rs[5] = b.rs[5].Add(One()) }, []int{5}},
		"R swapped":         {func(b *batch) { b.Rs[3], b.Rs[30] = b.Rs[30], b.Rs[3] }, []int{3, 30}},
		"R and r swapped":   {func(b *batch) { b.Rs[3], b.Rs[30], b.rs[3], b.rs[30] = b.Rs[30], b.Rs[3], b.rs[30], b.rs[3] }, []int{3, 30}},
		"s swapped":         {func(b *batch) { b.ss[3], b.ss[30] = b.ss[30], b.ss[3] }, []int{3, 30}},
		"digests swapped":   {func(b *batch) { b.digests[3], b.digests[30] = b.digests[30], b.digests[3] }, []int{3, 30}},
		"r = 0":             {func(b *batch) { b.rs[4] = Scalar{} }, []int{4}},
		"s = 0":             {func(b *batch) { b.ss[4] = Scalar{} }, []int{4}},
		"R the identity":    {func(b *batch) { b.Rs[4] = Point{} }, []int{4}},
		"of both kinds":     {func(b *batch) { b.ss[20] = Scalar{}; b.ss[10] = One(); b.Rs[30] = Point{} }, []int{10, 20, 30}},
		"malformed only":    {func(b *batch) { b.ss[20] = Scalar{} }, []int{20}},
		"under another key": {func(b *batch) { b.pks[6] = b.pk.Double() }, []int{6}},
		"all under another": {func(b *batch) { b.pks = slices.Repeat([]Point{b.pk.Double()}, n) }, sequence(n)},
	} {
		b := newBatch(t, n)
		c.spoil(b)
		bad, err := b.verify(rand.Reader)
		if err != nil || !slices.Equal(bad, c.bad) {
			t.Errorf("%s: bad %v, expected %v, %v", name, bad, c.bad, err)
		}
	}
}

func sequence(n int) []int {
	s := make([]int, n)
	for i := range s {
		s[i] = i
	}
	return s
}

func TestVerifyBatchArguments(t *testing.T) {
	b := newBatch(t, 2)
	for name, err := range map[string]error{
		"digests": second(VerifyBatch(b.pks, b.digests[:1], b.rs, b.ss, b.Rs, rand.Reader)),
		"rs":      second(VerifyBatch(b.pks, b.digests, b.rs[:1], b.ss, b.Rs, rand.Reader)),
		"ss":      second(VerifyBatch(b.pks, b.digests, b.rs, b.ss[:1], b.Rs, rand.Reader)),
		"Rs":      second(VerifyBatch(b.pks, b.digests, b.rs, b.ss, b.Rs[:1], rand.Reader)),
		"pks":     second(VerifyBatch(b.pks[:1], b.digests, b.rs, b.ss, b.Rs, rand.Reader)),
		"pk":      second(VerifyBatch([]Point{b.pk, {}}, b.digests, b.rs, b.ss, b.Rs, rand.Reader)),
	} {
		if err == nil {
			t.Errorf("a batch with a bad %s was verified", name)
		}
	}
	broken := errors.New("no entropy")
	if bad, err := b.verify(errReader{broken}); !errors.Is(err, broken) || bad != nil {
		t.Errorf("without randomness: bad %v, %v", bad, err)
	}
}

func second(_ []int, err error) error { return err }

// withForgedPair makes the first two of a batch "signatures" on chosen digests
// that take no key. Each fails, but their errors cancel in a sum with equal
// coefficients.
func withForgedPair(t *testing.T, n int) *batch {
	t.Helper()
	b := newBatch(t, n)
	ks := randomScalars(t, 2)
	for i, k := range ks {
		b.Rs[i] = BaseMult(k)
		b.digests[i] = sha256.Sum256([]byte{'e', 'v', 'i', 'l', byte(i)})
		b.rs[i], _ = b.Rs[i].X()
	}
	// r₁/s₁ + r₂/s₂ = 0 takes the key out; (m₁/s₁ + m₂/s₂)·G = R₁ + R₂.
	m1, m2 := ScalarFromDigest(b.digests[0][:]), ScalarFromDigest(b.digests[1][:])
	ratio := b.rs[0].Mul(b.rs[1].Inverse())
	b.ss[0] = m1.Sub(m2.Mul(ratio)).Mul(ks[0].Add(ks[1]).Inverse())
	b.ss[1] = b.ss[0].Mul(b.rs[1]).Mul(b.rs[0].Inverse()).Neg()
	return b
}

// The defence is that the coefficients are random: with coins that are all the
// same the attack passes.
func TestAttackErrorsThatCancel(t *testing.T) {
	const n = 10
	forged := withForgedPair(t, n)
	sameCoins := bytes.NewReader(bytes.Repeat([]byte{7}, coinSize*n))
	if bad, err := forged.verify(sameCoins); bad != nil || err != nil {
		t.Fatalf("the attack is no attack: bad %v, %v", bad, err)
	}
	if bad, err := forged.verify(rand.Reader); err != nil || !slices.Equal(bad, []int{0, 1}) {
		t.Errorf("forged signatures passed: bad %v, %v", bad, err)
	}
	for i := range 2 {
		if VerifySignature(forged.pk, forged.digests[i], forged.signature(i)) {
			t.Error("a forged signature is good, so the test tests nothing")
		}
	}
}

// The defence is that r is compared with x(R). Without it, which is to say in
// the equation alone, any r and s have an R that fits.
func TestAttackRThatFollowsFromS(t *testing.T) {
	b := newBatch(t, 20)
	b.digests[6] = sha256.Sum256([]byte("evil"))
	b.rs[6], b.ss[6] = NewScalar(3), NewScalar(5)
	e := equation{pk: b.pk, m: ScalarFromDigest(b.digests[6][:]), r: b.rs[6], sInv: b.ss[6].Inverse(), rho: One()}
	e.R = BaseMult(e.m.Mul(e.sInv)).Add(b.pk.Mult(e.r.Mul(e.sInv)))
	b.Rs[6] = e.R
	if !sumHolds([]equation{e}) {
		t.Fatal("the attack is no attack: the equation does not hold")
	}
	if bad, err := b.verify(rand.Reader); err != nil || !slices.Equal(bad, []int{6}) {
		t.Errorf("a forged signature passed: bad %v, %v", bad, err)
	}
}
