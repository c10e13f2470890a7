package frost

import (
	"fmt"

	"zonesigner/mpc"
)

// Config is what a Signer is made of. Window does not follow the round trip, as
// it does in package ecdsa: a chunk of mpc.DefaultChunkSize keeps a processor
// busy for a tenth of a second, so that a few in flight fill what it waits for,
// two round trips.
type Config struct {
	Identity  mpc.Identity
	Store     mpc.TupleStore
	Keys      func(mpc.KeyID) (*KeyShare, error) // this party's share of a key
	ChunkSize int                                // tuples a chunk; 0: mpc.DefaultChunkSize. All parties must agree
	Window    int                                // chunks in flight; 0: mpc.DefaultWindow
	// Signed is that of mpc.Spender.
	Signed func(session mpc.SessionID, statements []mpc.SignedStatement) error
}

// Signer makes tuples and Ed25519 signatures (DNSSEC algorithm 15). It
// implements mpc.Signer and may be used by several sessions at once.
type Signer struct {
	cfg     Config
	runSize int   // mpc.RunSize, but in tests
	holes   holes // tests only
}

var _ mpc.Signer = (*Signer)(nil)

// holes takes defences out, so that tests can show what each is for.
type holes struct {
	noBinding    bool // of nonces to what is signed: every binding factor is 1
	noFinalCheck bool // of signatures
	noRequest    bool // needs to be the same for all, before spending
	noStatements bool // need to be the same for all
	noView       bool // need to be the same for all: a chunk is a label, not a hash
	noKeyCommit  bool // to polynomials
	noKeyView    bool // needs to be the same for all
	noProof      bool // of possession
	noShareCheck bool // of shares of the key against the commitments
	noTestSign   bool // after key generation
	noTranscript bool // of key generation, equal and signed
	noDealt      bool // check of the own share of a dealt key
}

// NewSigner checks cfg and fills in its defaults.
func NewSigner(cfg Config) (*Signer, error) {
	if cfg.Identity == nil || cfg.Store == nil || cfg.Keys == nil {
		return nil, &mpc.ArgumentError{Msg: "frost: a signer needs an identity, a store and keys"}
	}
	if cfg.ChunkSize == 0 {
		cfg.ChunkSize = mpc.DefaultChunkSize
	}
	if cfg.Window == 0 {
		cfg.Window = mpc.DefaultWindow
	}
	if cfg.ChunkSize < 1 || cfg.ChunkSize > mpc.MaxChunkSize || cfg.Window < 1 {
		return nil, &mpc.ArgumentError{Msg: fmt.Sprintf("frost: chunk size %d (1 to %d) or window %d (1 or more) is out of range", cfg.ChunkSize, mpc.MaxChunkSize, cfg.Window)}
	}
	return &Signer{cfg: cfg, runSize: mpc.RunSize}, nil
}

// key finds this party's share, and checks the signer set.
func (s *Signer) key(id mpc.KeyID, set mpc.SignerSet) (*KeyShare, error) {
	k, err := s.cfg.Keys(id)
	if err != nil {
		return nil, fmt.Errorf("frost: key %s: %w", id, err)
	}
	return k, Signers(k.Group, set)
}
