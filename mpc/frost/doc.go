// Package frost is FROST(Ed25519, SHA-512) of RFC 9591: threshold Schnorr
// signatures that are ordinary Ed25519 (DNSSEC algorithm 15, RFC 8080), among n
// operators of whom any t+1 sign and t learn nothing.
//
// GenerateKey makes a key among all operators of a group, without a dealer. A
// Signer makes nonces and publishes commitments to them ahead of time
// (Prepare; such a pair is the tuple of this protocol) and turns one tuple and
// one message into one signature (Sign). docs/protocol.md says why each step is
// there, in its section 11; comments cite RFC 9591 by section and by the
// names of its functions.
package frost
