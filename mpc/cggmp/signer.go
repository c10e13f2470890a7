package cggmp

import (
	"fmt"

	"github.com/taurusgroup/multi-party-sig/protocols/cmp"

	"zonesigner/mpc"
)

// Defaults and bounds of Config. A chunk is small, because what is left of one
// after a lost message is burned, and each tuple cost seconds.
const (
	DefaultChunkSize = 4 // and signatures a run
	MaxChunkSize     = 256
)

// Config is what a Signer is made of.
type Config struct {
	Identity  mpc.Identity
	Store     mpc.TupleStore
	Keys      func(mpc.KeyID) (*KeyShare, error) // this party's share of a key
	ChunkSize int                                // tuples a chunk; 0: DefaultChunkSize. All parties must agree
	// Signed is that of mpc.Spender.
	Signed func(session mpc.SessionID, statements []mpc.SignedStatement) error
}

// Signer makes presignatures, which are its tuples, and signatures with ECDSA
// over P-256 and SHA-256 (DNSSEC algorithm 13). It implements mpc.Signer and
// may be used by several sessions at once.
type Signer struct {
	cfg     Config
	runSize int       // DefaultChunkSize, but in tests
	presign presigner // the library's, but in tests
	holes   holes     // tests only
}

var _ mpc.Signer = (*Signer)(nil)

// holes takes defences out, so that tests can show what each is for.
type holes struct {
	noShapes      bool // of messages, before the library reads them
	noGuard       bool // against panics in the library
	noStop        bool // when the library wants to publish nonces
	noEcho        bool // of what was broadcast last, and of chunks
	noView        bool // of a chunk in its id
	noStatements  bool // need to be the same for all
	noRequest     bool // needs to be the same for all, before spending
	noNonceCheck  bool // against what members committed to
	noRandomising bool // of presignatures after agreement
	noFinalCheck  bool // of signatures

	noDealt bool // check of a dealt key, and of the own share of it
	noSame  bool // dealing needed by all
	noProof bool // that others know their shares of a dealt key

	// parameters is in the place of the library's key generation, which takes
	// its time.
	parameters func(self mpc.PartyID) *cmp.Config
}

// NewSigner checks cfg and fills in its defaults.
func NewSigner(cfg Config) (*Signer, error) {
	if cfg.Identity == nil || cfg.Store == nil || cfg.Keys == nil {
		return nil, &mpc.ArgumentError{Msg: "cggmp: a signer needs an identity, a store and keys"}
	}
	if cfg.ChunkSize == 0 {
		cfg.ChunkSize = DefaultChunkSize
	}
	if cfg.ChunkSize < 1 || cfg.ChunkSize > MaxChunkSize {
		return nil, &mpc.ArgumentError{Msg: fmt.Sprintf("cggmp: chunk size %d is out of range, 1 to %d", cfg.ChunkSize, MaxChunkSize)}
	}
	return &Signer{cfg: cfg, runSize: DefaultChunkSize, presign: (*session).presign}, nil
}

// key finds this party's share and checks the signer set.
func (s *Signer) key(id mpc.KeyID, set mpc.SignerSet) (*KeyShare, error) {
	ks, err := s.cfg.Keys(id)
	if err != nil {
		return nil, fmt.Errorf("cggmp: key %s: %w", id, err)
	}
	return ks, Signers(ks.Group, set)
}
