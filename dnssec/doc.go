// Package dnssec turns an unsigned zone into what is to be signed, and the
// signatures into a signed zone: content (Zone), then denial of existence,
// keys and validity times (Plan), then the text that operators agree on
// (Manifest), then all records together (SignedZone), and the check of all of
// it (Verify).
//
// Start at ParseZone or Builder, go on with NewPlan, sign each Plan.Message,
// and finish with Plan.Assemble and Verify.
//
// The package is pure: it opens no connection, reads no clock and draws no
// randomness, so the same content, parameters and base give the same bytes
// everywhere. All types are safe for concurrent reading once made; a Builder
// belongs to one goroutine.
//
// Algorithms are 13 (ECDSA P-256 with SHA-256, RFC 6605) and 15 (Ed25519, RFC
// 8080), whose signatures are both 64 bytes, and, for keys that no group
// shares, 8 (RSA with SHA-256, RFC 5702) and 14 (ECDSA P-384, RFC 6605). The rules that are ours to choose
// (TTLs, jitter, what becomes of DNSSEC records in the unsigned input) stand
// in docs/zones.md.
package dnssec
