// Package ecdsa is threshold ECDSA over P-256 with SHA-256 (DNSSEC algorithm
// 13, RFC 6605) as in Figure 4 of "Securing DNSSEC Keys via Threshold ECDSA
// From Generic MPC" (ESORICS 2020), written once over any engine.
//
// GenerateKey makes a key among all operators of a group. A Signer makes tuples
// ahead of time (Prepare) and turns one tuple and one message into one
// signature (Sign). docs/protocol.md says why each step is there; comments
// cite its sections as "section 6" and the paper's as "Figure 4".
package ecdsa
