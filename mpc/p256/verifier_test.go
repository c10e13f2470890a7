package p256

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"testing"
)

// signAll signs n digests with the key d.
func signAll(t testing.TB, d Scalar, n int) (pk Point, digests [][32]byte, sigs [][64]byte) {
	t.Helper()
	pk = BaseMult(d)
	for i := range n {
		digest := sha256.Sum256(binary.BigEndian.AppendUint32(nil, uint32(i)))
		k := ScalarFromDigest(append([]byte("nonce"), digest[:27]...))
		r, err := BaseMult(k).X()
		if err != nil {
			t.Fatal(err)
		}
		s := k.Inverse().Mul(ScalarFromDigest(digest[:]).Add(r.Mul(d)))
		rb, sb := r.Bytes(), s.Bytes()
		digests, sigs = append(digests, digest), append(sigs, [64]byte(append(rb[:], sb[:]...)))
	}
	return pk, digests, sigs
}

// Verifier says of each signature what crypto/ecdsa says.
func TestVerifier(t *testing.T) {
	pk, digests, sigs := signAll(t, NewScalar(7), 300)
	v, err := NewVerifier(pk)
	if err != nil {
		t.Fatal(err)
	}
	if bad := v.Verify(digests, sigs); bad != nil {
		t.Errorf("good signatures: %v are bad", bad)
	}
	if bad := v.Verify(nil, nil); bad != nil {
		t.Errorf("no signatures: %v are bad", bad)
	}
	n := encodedOrder(t)
	for i := range sigs {
		switch i % 10 {
		case 1:
			sigs[i][i%64] ^= 1 << (i % 8)
		case 2:
			digests[i][i%32] ^= 0x80
		case 3:
			clear(sigs[i][:32])
		case 4:
			clear(sigs[i][32:])
		case 5: // not below n
			copy(sigs[i][32:], n)
		case 6: // the other form is as good
			s, err := ScalarFromBytes(sigs[i][32:])
			if err != nil {
				t.Fatal(err)
			}
			neg := s.Neg().Bytes()
			copy(sigs[i][32:], neg[:])
		case 7:
			sigs[i], sigs[i-1] = sigs[i-1], sigs[i]
		}
	}
	var want []int
	for i := range sigs {
		if !VerifySignature(pk, digests[i], sigs[i]) {
			want = append(want, i)
		}
	}
	if got := v.Verify(digests, sigs); !slices.Equal(got, want) || len(want) < 150 {
		t.Errorf("bad are %v, expected %v", got, want)
	}
}

// encodedOrder is n, which is no scalar.
func encodedOrder(t testing.TB) []byte {
	t.Helper()
	return elliptic.P256().Params().N.FillBytes(make([]byte, 32))
}

// Keys and scalars at the edges: sums that pass through the identity, meet
// themselves or cancel out.
func TestVerifierEdges(t *testing.T) {
	for _, d := range []Scalar{One(), One().Neg(), NewScalar(2), NewScalar(1 << 9), NewScalar(1 << 10), NewScalar(1<<10 + 1)} {
		pk := BaseMult(d)
		v, err := NewVerifier(pk)
		if err != nil {
			t.Fatal(err)
		}
		// With s = r, u₂ = 1 and u₁ = m/r; the digests are chosen for u₁.
		r, err := BaseMult(NewScalar(5)).X()
		if err != nil {
			t.Fatal(err)
		}
		var digests [][32]byte
		var sigs [][64]byte
		rb := r.Bytes()
		for _, u1 := range []Scalar{{}, One(), One().Neg(), d, d.Neg(), NewScalar(4), NewScalar(5).Sub(d), NewScalar(1 << 9), NewScalar(1<<20 - 1)} {
			digests = append(digests, u1.Mul(r).Bytes())
			sigs = append(sigs, [64]byte(append(rb[:], rb[:]...)))
		}
		var want []int
		for i := range sigs {
			if !VerifySignature(pk, digests[i], sigs[i]) {
				want = append(want, i)
			}
		}
		if got := v.Verify(digests, sigs); !slices.Equal(got, want) || len(want) == len(sigs) {
			t.Errorf("bad are %v, expected %v", got, want)
		}
	}
	if _, err := NewVerifier(Point{}); err == nil {
		t.Error("the identity is taken for a key")
	}
}

// The table is right in every place.
func TestMultiples(t *testing.T) {
	k := NewScalar(12345)
	m := newMultiples(BaseMult(k))
	step := k
	for w := range m {
		if len(m[w]) != 1<<(multiplesWidth-1) {
			t.Fatalf("window %d has %d multiples", w, len(m[w]))
		}
		for _, d := range []int{1, 2, 3, 5, 511, 512} {
			a := m[w][d-1]
			if !(Point{a.x, a.y, fieldOne}).Equal(BaseMult(step.Mul(NewScalar(uint64(d))))) {
				t.Errorf("window %d: wrong multiple for %d", w, d)
			}
		}
		step = step.Mul(NewScalar(1 << multiplesWidth))
	}
}

func BenchmarkVerifier(b *testing.B) {
	pk, digests, sigs := signAll(b, NewScalar(99), 1024)
	v, err := NewVerifier(pk)
	if err != nil {
		b.Fatal(err)
	}
	v.Verify(digests, sigs)
	b.ResetTimer()
	for range b.N {
		if v.Verify(digests, sigs) != nil {
			b.Fatal("a good signature is bad")
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(sigs)), "ns/signature")
}

func BenchmarkNewVerifier(b *testing.B) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	pk := pointOf(b, &key.PublicKey)
	for range b.N {
		if _, err := NewVerifier(pk); err != nil {
			b.Fatal(err)
		}
	}
}
