package mpc

import (
	"crypto/sha256"
	"encoding/binary"
)

// Digest is SHA-256 over a domain string and fields, each preceded by its
// length in four bytes, so that no two lists of fields give the same input.
func Digest(domain string, fields ...[]byte) [32]byte {
	h := sha256.New()
	var head [4]byte
	binary.BigEndian.PutUint32(head[:], uint32(len(domain)))
	h.Write(head[:])
	h.Write([]byte(domain))
	for _, f := range fields {
		binary.BigEndian.PutUint32(head[:], uint32(len(f)))
		h.Write(head[:])
		h.Write(f)
	}
	var d [32]byte
	h.Sum(d[:0])
	return d
}
