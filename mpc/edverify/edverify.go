// Package edverify verifies Ed25519 signatures of keys that sign often, such
// as those of the operators of a group: with a table of the key's multiples,
// which leaves less than half of the work of crypto/ed25519. All is public.
package edverify

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha512"
	"fmt"

	"filippo.io/edwards25519"
)

// Key verifies signatures of one public key. It takes 130 kB, and as long to
// make as some seven verifications. It is safe for concurrent use.
type Key struct {
	encoded [ed25519.PublicKeySize]byte
	// minus has -d·2^(width·i)·A at [i][d-1], for the digits d from 1 to
	// 2^(width-1), where A is the key.
	minus [windows][1 << (width - 1)]edwards25519.Point
}

const (
	width   = 5  // of a digit in bits: a wider one saves additions and takes memory
	windows = 51 // digits of a number below 2^253, the last of which has room for a carry
)

// NewKey makes the table of a key. It takes the encodings of points that
// crypto/ed25519 takes; others are an error.
func NewKey(public ed25519.PublicKey) (*Key, error) {
	if len(public) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("Ed25519 public key has %d bytes, expected %d", len(public), ed25519.PublicKeySize)
	}
	first, err := new(edwards25519.Point).SetBytes(public)
	if err != nil {
		return nil, fmt.Errorf("Ed25519 public key: %w", err)
	}
	first.Negate(first)
	k := &Key{encoded: [ed25519.PublicKeySize]byte(public)}
	for i := range k.minus {
		m := &k.minus[i]
		m[0].Set(first)
		for d := 1; d < len(m); d++ {
			m[d].Add(&m[d-1], first)
		}
		first.Double(&m[len(m)-1]) // 2^(width-1) twice
	}
	return k, nil
}

// Verify reports whether sig, which is R and S, is the key's signature on msg
// (RFC 8032, section 5.1.7, without the cofactor): whether S is below the
// group's order and the encoding of S·B - k·A is R. That is the equation of
// crypto/ed25519, so it takes and refuses the same, also where keys or R have a
// part of low order or are not encoded canonically.
func (k *Key) Verify(msg, sig []byte) bool {
	if len(sig) != ed25519.SignatureSize {
		return false
	}
	s, err := new(edwards25519.Scalar).SetCanonicalBytes(sig[32:])
	if err != nil {
		return false
	}
	h := sha512.New()
	h.Write(sig[:32])
	h.Write(k.encoded[:])
	h.Write(msg)
	challenge, err := new(edwards25519.Scalar).SetUniformBytes(h.Sum(make([]byte, 0, sha512.Size)))
	if err != nil {
		return false // not reached: it has 64 bytes
	}
	sum := new(edwards25519.Point).ScalarBaseMult(s)
	for i, d := range digits(challenge.Bytes()) {
		switch {
		case d > 0:
			sum.Add(sum, &k.minus[i][d-1])
		case d < 0:
			sum.Subtract(sum, &k.minus[i][-d-1])
		}
	}
	return bytes.Equal(sum.Bytes(), sig[:32])
}

// digits takes apart a number below 2^253, little-endian: it is the sum of the
// digits, from 1-2^(width-1) to 2^(width-1), the i-th times 2^(width·i).
func digits(number []byte) (out [windows]int) {
	var rest, have uint // bits that are in no digit yet, and a carry; how many
	for i := range out {
		if have < width && len(number) > 0 {
			rest += uint(number[0]) << have
			have += 8
			number = number[1:]
		}
		out[i] = int(rest % (1 << width))
		rest >>= width
		have -= min(have, width)
		if out[i] > 1<<(width-1) {
			out[i] -= 1 << width
			rest++
		}
	}
	return out
}
