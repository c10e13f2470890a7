package edverify

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"math/big"
	"slices"
	"testing"

	"filippo.io/edwards25519"
)

func newKey(t testing.TB, public ed25519.PublicKey) *Key {
	t.Helper()
	k, err := NewKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestVerify changes each byte of signatures and messages.
func TestVerify(t *testing.T) {
	for _, size := range []int{0, 1, 64, 300} {
		public, private, _ := ed25519.GenerateKey(nil)
		k := newKey(t, public)
		msg := make([]byte, size)
		_, _ = rand.Read(msg)
		sig := ed25519.Sign(private, msg)
		if !k.Verify(msg, sig) {
			t.Fatalf("a signature on %d bytes is refused", size)
		}
		for i := range sig {
			bad := slices.Clone(sig)
			bad[i] ^= 1 << (i % 8)
			if k.Verify(msg, bad) {
				t.Errorf("byte %d of a signature does not count", i)
			}
		}
		for i := range msg {
			bad := slices.Clone(msg)
			bad[i] ^= 1 << (i % 8)
			if k.Verify(bad, sig) {
				t.Errorf("byte %d of a message of %d does not count", i, size)
			}
		}
		for _, bad := range [][]byte{nil, sig[:63], append(slices.Clone(sig), 0)} {
			if k.Verify(msg, bad) {
				t.Errorf("a signature of %d bytes is taken", len(bad))
			}
		}
		other, _, _ := ed25519.GenerateKey(nil)
		if newKey(t, other).Verify(msg, sig) {
			t.Error("a signature of another key is taken")
		}
	}
}

// TestRFC8032 has the first three vectors of RFC 8032, section 7.1.
func TestRFC8032(t *testing.T) {
	for i, v := range []struct{ public, msg, sig string }{
		{"d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
			"e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"},
		{"3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
			"92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"},
		{"fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
			"6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"},
	} {
		public, _ := hex.DecodeString(v.public)
		msg, _ := hex.DecodeString(v.msg)
		sig, _ := hex.DecodeString(v.sig)
		if !newKey(t, public).Verify(msg, sig) {
			t.Errorf("vector %d is refused", i+1)
		}
	}
}

// order is that of the group of prime order (RFC 8032, section 5.1).
var order, _ = new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)

// lowOrder are encodings of the eight points whose order divides the cofactor,
// canonical and not, and of one that is none.
func lowOrder(t *testing.T) [][]byte {
	t.Helper()
	var all [][]byte
	for _, s := range []string{
		"0100000000000000000000000000000000000000000000000000000000000000",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"0000000000000000000000000000000000000000000000000000000000000080",
		"0000000000000000000000000000000000000000000000000000000000000000",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
		"0100000000000000000000000000000000000000000000000000000000000080",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
		"0200000000000000000000000000000000000000000000000000000000000000",
	} {
		b, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b)
	}
	return all
}

// TestSameAsStandard holds Verify to what crypto/ed25519 takes: signatures by
// keys of low order, with R of low order, with parts of low order in both, and
// with an S that is not reduced.
func TestSameAsStandard(t *testing.T) {
	public, private, _ := ed25519.GenerateKey(nil)
	honest, err := new(edwards25519.Point).SetBytes(public)
	if err != nil {
		t.Fatal(err)
	}
	points := append(lowOrder(t), public)
	for _, p := range lowOrder(t) {
		if q, err := new(edwards25519.Point).SetBytes(p); err == nil {
			points = append(points, q.Add(q, honest).Bytes())
		}
	}
	keys := map[string]*Key{} // nil: none
	for _, a := range points {
		if k, err := NewKey(a); err == nil {
			keys[string(a)] = k
		}
	}
	taken := 0
	check := func(a, msg, sig []byte) {
		want, k := ed25519.Verify(a, msg, sig), keys[string(a)]
		if got := k != nil && k.Verify(msg, sig); got != want {
			t.Errorf("key %x, message %q, signature %x: %v, want %v", a, msg, sig, got, want)
		}
		if want {
			taken++
		}
	}
	for _, msg := range [][]byte{[]byte("one"), []byte("two"), []byte("three")} {
		sig := ed25519.Sign(private, msg)
		number := slices.Clone(sig[32:])
		slices.Reverse(number)
		s := new(big.Int).SetBytes(number)
		for range 15 { // S, S + q, ... fill 256 bits
			b := s.FillBytes(make([]byte, 32))
			slices.Reverse(b)
			check(public, msg, append(slices.Clone(sig[:32]), b...))
			s.Add(s, order)
		}
		for _, a := range points {
			for _, r := range points {
				for _, s := range [][]byte{make([]byte, 32), sig[32:]} {
					check(a, msg, slices.Concat(r, s))
				}
			}
			check(a, msg, sig)
		}
	}
	if taken < 10 {
		t.Errorf("the standard library takes %d of these, which says little", taken)
	}
	if _, err := NewKey(public[:31]); err == nil {
		t.Error("a key of 31 bytes is one")
	}
}

// TestDigits adds digits up again.
func TestDigits(t *testing.T) {
	last := new(big.Int).Sub(order, big.NewInt(1))
	numbers := []*big.Int{new(big.Int), big.NewInt(1), big.NewInt(15), big.NewInt(16), big.NewInt(17), big.NewInt(31), big.NewInt(32), last,
		new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 253), big.NewInt(1))}
	for range 1000 {
		n, _ := rand.Int(rand.Reader, order)
		numbers = append(numbers, n)
	}
	for _, n := range numbers {
		b := n.FillBytes(make([]byte, 32))
		slices.Reverse(b)
		sum := new(big.Int)
		for i, d := range digits(b) {
			if d > 1<<(width-1) || -d >= 1<<(width-1) {
				t.Fatalf("digit %d of %v is %d", i, n, d)
			}
			sum.Add(sum, new(big.Int).Lsh(big.NewInt(int64(d)), uint(width*i)))
		}
		if sum.Cmp(n) != 0 {
			t.Fatalf("the digits of %v add up to %v", n, sum)
		}
	}
}

// FuzzVerify compares with crypto/ed25519.
func FuzzVerify(f *testing.F) {
	seed := bytes.Repeat([]byte{7}, ed25519.SeedSize)
	private := ed25519.NewKeyFromSeed(seed)
	public := private.Public().(ed25519.PublicKey)
	f.Add([]byte(public), []byte("message"), ed25519.Sign(private, []byte("message")))
	f.Add(make([]byte, 32), []byte{}, make([]byte, 64))
	f.Add([]byte{1}, []byte{}, []byte{})
	f.Fuzz(func(t *testing.T, public, msg, sig []byte) {
		want := len(public) == ed25519.PublicKeySize && ed25519.Verify(public, msg, sig)
		k, err := NewKey(public)
		if got := err == nil && k.Verify(msg, sig); got != want {
			t.Errorf("%v, crypto/ed25519 says %v", got, want)
		}
	})
}

// BenchmarkVerify compares with crypto/ed25519.
func BenchmarkVerify(b *testing.B) {
	public, private, _ := ed25519.GenerateKey(nil)
	k := newKey(b, public)
	msg := make([]byte, 300)
	sig := ed25519.Sign(private, msg)
	for name, verify := range map[string]func() bool{
		"table":    func() bool { return k.Verify(msg, sig) },
		"standard": func() bool { return ed25519.Verify(public, msg, sig) },
		"new":      func() bool { return newKey(b, public) != nil },
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if !verify() {
					b.Fatal("it is refused")
				}
			}
		})
	}
}
