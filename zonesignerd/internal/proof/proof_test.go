package proof

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"slices"
	"sync"
	"testing"
)

// signed is a key's DNSKEY and n messages with their signatures.
func signed(t *testing.T, n int) (dnskey []byte, messages [][]byte, sigs []string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		message := fmt.Appendf(nil, "message %d", i)
		digest := sha256.Sum256(message)
		r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
		if err != nil {
			t.Fatal(err)
		}
		sig := make([]byte, 64)
		r.FillBytes(sig[:32])
		s.FillBytes(sig[32:])
		messages, sigs = append(messages, message), append(sigs, string(sig))
	}
	return append([]byte{1, 0, 3, 13}, public[1:]...), messages, sigs
}

// A batch tells which signatures are false, in several goroutines at once.
func TestBatches(t *testing.T) {
	dnskey, messages, sigs := signed(t, fewest+50)
	b := NewBatches()
	if _, ok := b.Verify(dnskey, messages[:fewest-1], sigs[:fewest-1]); ok {
		t.Error("a table is made for a few signatures")
	}
	bad := slices.Clone(sigs)
	bad[3] = bad[4]
	bad[7] = bad[7][:63]
	bad[fewest] = ""
	want := []int{3, 7, fewest}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if got, ok := b.Verify(dnskey, messages, sigs); !ok || len(got) != 0 {
				t.Errorf("good signatures: %v, %v", got, ok)
			}
			got, ok := b.Verify(dnskey, messages, bad)
			slices.Sort(got)
			if !ok || !slices.Equal(got, want) {
				t.Errorf("false are %v, %v, expected %v", got, ok, want)
			}
		})
	}
	wg.Wait()
	if got, ok := b.Verify(dnskey, messages[:1], sigs[:1]); !ok || len(got) != 0 {
		t.Errorf("with the table made already: %v, %v", got, ok)
	}
}

// Keys that it does not serve are left to the caller, and tables are bounded.
func TestBatchesRefuse(t *testing.T) {
	dnskey, messages, sigs := signed(t, fewest)
	b := NewBatches()
	off := slices.Clone(dnskey)
	off[10] ^= 1
	other := slices.Clone(dnskey)
	other[3] = 14
	for _, key := range [][]byte{nil, dnskey[:67], off, other, make([]byte, 68)} {
		if _, ok := b.Verify(key, messages, sigs); ok {
			t.Errorf("key %x is served", key)
		}
	}
	for range 2 * mostKeys {
		k, m, s := signed(t, fewest)
		b.Verify(k, m, s)
	}
	if len(b.keys) > mostKeys {
		t.Errorf("%d tables are kept", len(b.keys))
	}
}
