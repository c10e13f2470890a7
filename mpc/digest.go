package mpc

import "crypto/sha256"

// Digest is SHA-256 over a domain string and fields, each preceded by its
// length in four bytes, so that no two lists of fields give the same input.
func Digest(domain string, fields ...[]byte) [32]byte {
	h := sha256.New()
	writeField(h, []byte(domain))
	for _, f := range fields {
		writeField(h, f)
	}
	return [32]byte(h.Sum(nil))
}
