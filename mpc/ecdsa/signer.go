package ecdsa

import (
	"fmt"
	"time"

	"zonesigner/mpc"
)

const (
	// usualSize is about what a party holds of a tuple in flight, in bytes:
	// its own shares and the others' messages.
	usualSize = 1 << 10
	// maxInFlight bounds what a session holds of the chunks in flight beyond
	// mpc.DefaultWindow, in bytes.
	maxInFlight = 64 << 20
	// chunkTime is how long an operator's processor is busy with a chunk of
	// mpc.DefaultChunkSize, about. A chunk waits for some three round trips.
	chunkTime = 12 * time.Millisecond
)

// Config is what a Signer is made of.
type Config struct {
	Identity  mpc.Identity
	Store     mpc.TupleStore
	Protocols []Protocol                         // the engines of the keys that may be used
	Keys      func(mpc.KeyID) (*KeyShare, error) // this party's share of a key
	Group     func() mpc.Group                   // the one in force, for tuples that no key is bound to
	ChunkSize int                                // tuples a chunk; 0: mpc.DefaultChunkSize. All parties must agree
	Window    int                                // chunks in flight; 0: as many as RoundTrip needs
	// RoundTrip, which may be nil, is the longest one among the parties, as a
	// session begins.
	RoundTrip func() time.Duration
	// Signed, which may be nil, is given the signed statements of every run,
	// one of each member of the signer set, before this party releases any
	// share of a signature for it: the evidence of who took part, to be kept
	// and relayed. An error from it aborts the session. It is called from
	// several goroutines.
	Signed func(session mpc.SessionID, statements []mpc.SignedStatement) error
}

// Signer makes tuples and signatures with ECDSA over P-256 and SHA-256
// (DNSSEC algorithm 13). It implements mpc.Signer and may be used by several
// sessions at once.
type Signer struct {
	cfg       Config
	protocols map[string]Protocol
	runSize   int   // mpc.RunSize, but in tests
	holes     holes // tests only
}

var _ mpc.Signer = (*Signer)(nil)

// holes takes defences out, so that tests can show what each is for.
type holes struct {
	noCommitments bool // to shares of R
	noMACs        bool // of R
	noStatements  bool // need to be the same for all
	noRequest     bool // needs to be the same for all, before spending
	noHash        bool // of messages of 32 bytes, which are digests that somebody chose
	noDegree      bool // check of openings
	noFinalCheck  bool // of signatures
	anyForm       bool // of s
	noView        bool // need to be the same for all: a chunk is a label, not a hash
	noKeyCommit   bool // to shares of the public key
	noTestSign    bool // after key generation
	noTranscript  bool // of key generation, equal and signed
	noDealt       bool // check of a dealt key, and of the own share of it
	noSame        bool // dealing needed by all
	noProof       bool // that others know their shares of a dealt key
}

// NewSigner checks cfg and fills in its defaults.
func NewSigner(cfg Config) (*Signer, error) {
	if cfg.Identity == nil || cfg.Store == nil || cfg.Keys == nil || cfg.Group == nil || len(cfg.Protocols) == 0 {
		return nil, &mpc.ArgumentError{Msg: "ecdsa: a signer needs an identity, a store, keys, a group and protocols"}
	}
	if cfg.ChunkSize == 0 {
		cfg.ChunkSize = mpc.DefaultChunkSize
	}
	if cfg.ChunkSize < 1 || cfg.ChunkSize > mpc.MaxChunkSize || cfg.Window < 0 {
		return nil, &mpc.ArgumentError{Msg: fmt.Sprintf("ecdsa: chunk size %d (1 to %d) or window %d (0 or more) is out of range", cfg.ChunkSize, mpc.MaxChunkSize, cfg.Window)}
	}
	s := &Signer{cfg: cfg, protocols: map[string]Protocol{}, runSize: mpc.RunSize}
	for _, p := range cfg.Protocols {
		s.protocols[p.Name()] = p
	}
	return s, nil
}

// window is how many chunks of a session are in flight here. On a long way most
// of a chunk's time is waiting, so that others fill it with work; what an abort
// burns, and what is held in memory, grows with it. Parties need not choose
// alike: the lowest chunk that is not done is in flight everywhere. A chunk, or a
// run, has so many tuples, of which each takes size bytes.
func (s *Signer) window(size, tuples int) int {
	if s.cfg.Window > 0 {
		return s.cfg.Window
	}
	window := mpc.DefaultWindow
	if s.cfg.RoundTrip != nil {
		chunk := chunkTime * time.Duration(tuples) / mpc.DefaultChunkSize
		window += int(min(3*s.cfg.RoundTrip()/max(chunk, 1), maxInFlight))
	}
	return max(mpc.DefaultWindow, min(window, maxInFlight/(size*tuples)))
}

// key finds this party's share and its protocol, and checks the signer set.
func (s *Signer) key(id mpc.KeyID, set mpc.SignerSet) (*KeyShare, Protocol, error) {
	ks, err := s.cfg.Keys(id)
	if err != nil {
		return nil, nil, fmt.Errorf("ecdsa: key %s: %w", id, err)
	}
	p, err := s.protocol(ks.Engine, ks.Group, set)
	if err != nil {
		return nil, nil, fmt.Errorf("ecdsa: key %s: %w", id, err)
	}
	return ks, p, nil
}

// protocol finds an engine and checks that set may sign with it.
func (s *Signer) protocol(engine string, g mpc.Group, set mpc.SignerSet) (Protocol, error) {
	p := s.protocols[engine]
	if p == nil {
		return nil, &mpc.ArgumentError{Msg: fmt.Sprintf("engine %q is none that this signer has", engine)}
	}
	return p, p.Signers(g, set)
}
