// Package cggmp makes keys and signatures for DNSSEC algorithm 13 (ECDSA over
// P-256 with SHA-256) by the protocol of Canetti, Gennaro, Goldfeder,
// Makriyannis and Peled, "UC Non-Interactive, Proactive, Threshold ECDSA with
// Identifiable Aborts" (CCS 2020), for n ≥ 2 operators of whom any t < n may
// cheat. docs/protocol.md, section 12, has the argument.
//
// Key generation and presigning are those of
// github.com/taurusgroup/multi-party-sig, whose README says that it is not
// meant for production; nothing here changes that. Its API stops at this
// package: session.go runs it round by round and gives it nothing that
// messages.go has not checked. Spending a presignature is code of our own,
// over mpc/p256.
//
// A presignature costs seconds of computing. The engine is for keys that sign
// little, or for groups without an honest majority.
package cggmp
