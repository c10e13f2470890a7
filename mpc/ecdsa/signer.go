package ecdsa

import (
	"context"
	"errors"

	"zonesigner/mpc"
)

// Defaults of Config.
const (
	DefaultChunkSize = 1024
	DefaultWindow    = 4
)

// Config is what a Signer is made of.
type Config struct {
	Identity  mpc.Identity
	Store     mpc.TupleStore
	Protocols []Protocol                         // the engines of the keys that may be used
	Keys      func(mpc.KeyID) (*KeyShare, error) // this party's share of a key
	ChunkSize int                                // tuples a chunk; 0: DefaultChunkSize. All parties must agree
	Window    int                                // chunks in flight; 0: DefaultWindow
	// Signed, which may be nil, is given the signed statements of every run,
	// one of each member of the signer set, before any share of it is
	// released: the evidence of who took part, to be kept and relayed.
	Signed func(session mpc.SessionID, statements [][]byte) error
}

// Signer makes tuples and signatures with ECDSA over P-256 and SHA-256
// (DNSSEC algorithm 13). It implements mpc.Signer and may be used by several
// sessions at once.
type Signer struct {
	cfg       Config
	protocols map[string]Protocol
}

var _ mpc.Signer = (*Signer)(nil)

var errStub = errors.New("not built yet")

// NewSigner checks cfg and fills in its defaults.
func NewSigner(cfg Config) (*Signer, error) {
	return nil, errStub
}

// Prepare makes n bound tuples or more for key and set, and stores them.
func (s *Signer) Prepare(ctx context.Context, net mpc.Network, key mpc.KeyID, set mpc.SignerSet, stripe mpc.PartyID, n int, progress func(int)) error {
	return errStub
}

// Sign signs req.Messages together with the other members of req.Set.
func (s *Signer) Sign(ctx context.Context, net mpc.Network, req mpc.SignRequest, progress func(int)) ([]mpc.Signature, error) {
	return nil, errStub
}
