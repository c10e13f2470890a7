// Package proof verifies the many signatures that a zone has of each of its
// keys faster than one by one: it is what dnssec.VerifyOptions.Batch takes.
package proof

import (
	"crypto/sha256"
	"sync"

	"zonesigner/dnssec"
	"zonesigner/mpc/p256"
)

// Batches verifies signatures of algorithm 13. It keeps the tables of the keys
// that it has met, a megabyte each, and is safe for concurrent use.
type Batches struct {
	mu   sync.Mutex
	keys map[string]*key
}

// NewBatches makes one without tables.
func NewBatches() *Batches { return &Batches{keys: map[string]*key{}} }

type key struct {
	once     sync.Once
	verifier *p256.Verifier // nil: the key is malformed
}

const (
	// fewest signatures that are worth the making of a table.
	fewest = 128
	// mostKeys bounds the tables that are kept; a zone has a handful of keys.
	mostKeys = 8
)

// Verify is a dnssec.VerifyOptions.Batch.
func (b *Batches) Verify(dnskey []byte, messages [][]byte, sigs []string) (bad []int, ok bool) {
	if len(dnskey) != 4+64 || dnskey[3] != dnssec.ECDSAP256SHA256 {
		return nil, false
	}
	k := b.key(string(dnskey[4:]), len(sigs) >= fewest)
	if k == nil {
		return nil, false
	}
	k.once.Do(func() {
		if point, err := p256.PointFromBytes(dnskey[4:]); err == nil {
			k.verifier, _ = p256.NewVerifier(point)
		}
	})
	if k.verifier == nil {
		return nil, false
	}
	digests, rs := make([][32]byte, 0, len(sigs)), make([][64]byte, 0, len(sigs))
	at := make([]int, 0, len(sigs))
	for i, sig := range sigs {
		if len(sig) != 64 {
			bad = append(bad, i)
			continue
		}
		digests, rs, at = append(digests, sha256.Sum256(messages[i])), append(rs, [64]byte([]byte(sig))), append(at, i)
	}
	for _, i := range k.verifier.Verify(digests, rs) {
		bad = append(bad, at[i])
	}
	return bad, true
}

// key is the one with that public key; it is made where that is worth it.
func (b *Batches) key(public string, worth bool) *key {
	b.mu.Lock()
	defer b.mu.Unlock()
	if k := b.keys[public]; k != nil || !worth || len(b.keys) >= mostKeys {
		return k
	}
	k := &key{}
	b.keys[public] = k
	return k
}
