package node

import (
	"bytes"
	"context"
	"encoding"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"filippo.io/edwards25519"

	"zonesigner/dnssec"
	"zonesigner/mpc"
	"zonesigner/mpc/cggmp"
	"zonesigner/mpc/ecdsa"
	"zonesigner/mpc/frost"
	"zonesigner/zonesignerd/config"
	"zonesigner/zonesignerd/internal/engines"
	"zonesigner/zonesignerd/internal/keyfile"
	"zonesigner/zonesignerd/internal/sharefile"
)

// engine is how keys of one protocol are made and used.
type engine interface {
	// generate makes one key for each label, with all operators.
	generate(ctx context.Context, net mpc.Network, id mpc.Identity, group mpc.Group, labels [][]byte) ([]newKey, error)
	// signer signs with its keys.
	signer(s *signers) mpc.Signer
	// binds reports whether there are unbound tuples, which serve all keys.
	binds() bool
	// deal splits a private key, which algorithm it has to be of being
	// checked: the public shares, and the share of each party in the group's
	// order, encoded.
	deal(group mpc.Group, key *keyfile.Key) (public []byte, shares [][]byte, err error)
	// checkDealt reports a dealing that is no sharing of its public key, or of
	// which share is not self's.
	checkDealt(group mpc.Group, self mpc.PartyID, d *sharefile.Dealing, share []byte) error
	// take makes keys of dealings, one for each label, with all operators.
	take(ctx context.Context, net mpc.Network, id mpc.Identity, group mpc.Group, labels [][]byte, dealt []dealtShare) ([]newKey, error)
	// pace is how fast it is.
	pace() pace
}

// dealtShare is a dealing and this operator's share of it, which is secret.
type dealtShare struct {
	*sharefile.Dealing
	share []byte
}

// keyEngines are those of package engines that keys can be made with, by name.
func keyEngines() map[string]engine {
	all := map[string]engine{config.Frost: frostEngine{}, config.CGGMP: cggmpEngine{}}
	for _, p := range engines.Protocols() {
		all[p.Name()] = ecdsaEngine{p}
	}
	return all
}

// pace is what an engine asks of those who wait for it. The zero pace is that
// of engines whose work is short.
type pace struct {
	silence time.Duration // for which it may compute between two messages, beside sessions.timeout
	keys    int           // that one session makes at most, 2 or more; 0: mostWanted
	filling int           // tuples that one session makes at most; 0: as many as are lacking
	kept    int           // tuples that are kept bound to a key for a signer set at most; 0: as many as are due
}

// patience is how long a session of the engine may stand still.
func (n *Node) patience(engine string) time.Duration {
	limit := time.Duration(n.cfg.Sessions.Timeout)
	if e := n.engines[engine]; e != nil {
		limit += e.pace().silence
	}
	return limit
}

// keysAtOnce is how many keys of the engine one session makes at most.
func (n *Node) keysAtOnce(engine string) int {
	if e := n.engines[engine]; e != nil && e.pace().keys > 0 {
		return e.pace().keys
	}
	return mostWanted
}

// binds reports whether the engine is known and has unbound tuples.
func (n *Node) binds(name string) bool {
	e := n.engines[name]
	return e != nil && e.binds()
}

// lively is a session that tells when a message has come: somebody is alive
// there, however long the work takes.
type lively struct {
	mpc.Network
	alive func()
}

func (l lively) Recv(ctx context.Context, from mpc.PartyID, round string) ([]byte, error) {
	b, err := l.Network.Recv(ctx, from, round)
	if err == nil {
		l.alive()
	}
	return b, err
}

// newKey is this operator's part of a key that was just made.
type newKey struct {
	id     mpc.KeyID
	public []byte // as in a DNSKEY
	secret []byte // the share, encoded
}

// encodeKeys encodes the shares that a protocol made, unless it failed with
// err; key is the id and the public key of one.
func encodeKeys[S encoding.BinaryMarshaler](shares []S, err error, key func(S) (mpc.KeyID, []byte)) ([]newKey, error) {
	if err != nil {
		return nil, err
	}
	out := make([]newKey, len(shares))
	for i, s := range shares {
		out[i].id, out[i].public = key(s)
		if out[i].secret, err = s.MarshalBinary(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// ecdsaEngine is ECDSA, algorithm 13, over an engine of package mpc.
type ecdsaEngine struct{ ecdsa.Protocol }

func (ecdsaEngine) binds() bool                  { return true }
func (ecdsaEngine) pace() pace                   { return pace{} }
func (ecdsaEngine) signer(s *signers) mpc.Signer { return s.Signer }

func (e ecdsaEngine) generate(ctx context.Context, net mpc.Network, id mpc.Identity, group mpc.Group, labels [][]byte) ([]newKey, error) {
	shares, err := ecdsa.GenerateKeys(ctx, net, id, group, e.Protocol, labels)
	return encodeKeys(shares, err, ecdsaKey)
}

func ecdsaKey(s *ecdsa.KeyShare) (mpc.KeyID, []byte) {
	public := s.PublicKey()
	return s.ID, public[:]
}

func (e ecdsaEngine) deal(group mpc.Group, key *keyfile.Key) (public []byte, shares [][]byte, err error) {
	dealer, err := ecdsa.Dealer(e.Protocol)
	if err != nil {
		return nil, nil, err
	}
	return dealP256(group, dealer, key)
}

func (e ecdsaEngine) checkDealt(group mpc.Group, self mpc.PartyID, d *sharefile.Dealing, share []byte) error {
	dealer, err := ecdsa.Dealer(e.Protocol)
	if err != nil {
		return err
	}
	return checkP256(group, dealer, self, d, share)
}

func (e ecdsaEngine) take(ctx context.Context, net mpc.Network, id mpc.Identity, group mpc.Group, labels [][]byte, dealt []dealtShare) ([]newKey, error) {
	dealer, err := ecdsa.Dealer(e.Protocol)
	if err != nil {
		return nil, err
	}
	keys, err := dealtP256(group, dealer, dealt)
	defer eraseP256(keys)
	if err != nil {
		return nil, err
	}
	shares, err := ecdsa.ImportKeys(ctx, net, id, group, e.Protocol, labels, keys)
	return encodeKeys(shares, err, ecdsaKey)
}

// frostEngine is FROST with Ed25519, algorithm 15.
type frostEngine struct{}

func (frostEngine) binds() bool                  { return false }
func (frostEngine) pace() pace                   { return pace{} }
func (frostEngine) signer(s *signers) mpc.Signer { return s.frost }

func (frostEngine) generate(ctx context.Context, net mpc.Network, id mpc.Identity, group mpc.Group, labels [][]byte) ([]newKey, error) {
	shares, err := frost.GenerateKeys(ctx, net, id, group, labels)
	return encodeKeys(shares, err, frostKey)
}

func frostKey(s *frost.KeyShare) (mpc.KeyID, []byte) {
	public := s.PublicKey()
	return s.ID, public[:]
}

func (frostEngine) deal(group mpc.Group, key *keyfile.Key) (public []byte, shares [][]byte, err error) {
	if key.Algorithm != dnssec.ED25519 {
		return nil, nil, fmt.Errorf("a key of algorithm %d cannot be shared by engine %s, which signs with algorithm %d", key.Algorithm, frost.Engine, dnssec.ED25519)
	}
	d, scalars, err := frost.Deal(group, key.Private)
	if err != nil {
		return nil, nil, err
	}
	for _, s := range scalars {
		shares = append(shares, s.Bytes())
		s.Set(new(edwards25519.Scalar))
	}
	public, err = d.AppendBinary(nil)
	return public, shares, err
}

// dealt decodes a dealing and a share of it.
func (frostEngine) dealt(group mpc.Group, d *sharefile.Dealing, share []byte) (frost.Dealt, error) {
	dealing, err := frost.DecodeDealing(group, d.Shares)
	if err != nil {
		return frost.Dealt{}, err
	}
	if public := dealing.PublicKey(); !bytes.Equal(public[:], d.Public) {
		return frost.Dealt{}, errors.New("dealt key: the shares are those of another key")
	}
	scalar, err := frost.DecodeShare(share)
	return frost.Dealt{Dealing: dealing, Share: scalar}, err
}

func (e frostEngine) checkDealt(group mpc.Group, self mpc.PartyID, d *sharefile.Dealing, share []byte) error {
	dealt, err := e.dealt(group, d, share)
	if err != nil {
		return err
	}
	defer dealt.Share.Set(new(edwards25519.Scalar))
	return dealt.Fits(group, self, dealt.Share)
}

func (e frostEngine) take(ctx context.Context, net mpc.Network, id mpc.Identity, group mpc.Group, labels [][]byte, dealt []dealtShare) ([]newKey, error) {
	keys := make([]frost.Dealt, len(dealt))
	for i, d := range dealt {
		var err error
		if keys[i], err = e.dealt(group, d.Dealing, d.share); err != nil {
			return nil, err
		}
		defer keys[i].Share.Set(new(edwards25519.Scalar))
	}
	shares, err := frost.ImportKeys(ctx, net, id, group, labels, keys)
	return encodeKeys(shares, err, frostKey)
}

// cggmpEngine is ECDSA by package cggmp.
type cggmpEngine struct{}

func (cggmpEngine) binds() bool                  { return false }
func (cggmpEngine) signer(s *signers) mpc.Signer { return s.cggmp }

// pace of cggmp: a key takes each operator the search for safe primes, ten
// seconds in the mean and several times that now and then, in which nothing is
// sent; a presignature takes seconds. So one session makes a chunk of them and
// leaves room for others, and few are kept.
func (cggmpEngine) pace() pace {
	return pace{silence: 3 * time.Minute, keys: 8, filling: cggmp.DefaultChunkSize, kept: 16}
}

func (cggmpEngine) generate(ctx context.Context, net mpc.Network, id mpc.Identity, group mpc.Group, labels [][]byte) ([]newKey, error) {
	shares, err := cggmp.GenerateKeys(ctx, net, id, group, labels)
	return encodeKeys(shares, err, cggmpKey)
}

func cggmpKey(s *cggmp.KeyShare) (mpc.KeyID, []byte) {
	public := s.PublicKey()
	return s.ID, public[:]
}

func (cggmpEngine) deal(group mpc.Group, key *keyfile.Key) (public []byte, shares [][]byte, err error) {
	return dealP256(group, cggmp.Dealer{}, key)
}

func (cggmpEngine) checkDealt(group mpc.Group, self mpc.PartyID, d *sharefile.Dealing, share []byte) error {
	return checkP256(group, cggmp.Dealer{}, self, d, share)
}

func (cggmpEngine) take(ctx context.Context, net mpc.Network, id mpc.Identity, group mpc.Group, labels [][]byte, dealt []dealtShare) ([]newKey, error) {
	keys, err := dealtP256(group, cggmp.Dealer{}, dealt)
	defer eraseP256(keys)
	if err != nil {
		return nil, err
	}
	shares, err := cggmp.ImportKeys(ctx, net, id, group, labels, keys)
	return encodeKeys(shares, err, cggmpKey)
}

// signers is mpc.Signer for keys of all engines. Binding is ECDSA's alone.
type signers struct {
	*ecdsa.Signer
	frost *frost.Signer
	cggmp *cggmp.Signer
	n     *Node
}

// engine is that of a key.
func (s *signers) engine(key mpc.KeyID) (string, mpc.Signer, error) {
	if name, unbound := strings.CutPrefix(string(key), string(mpc.Unbound(""))); unbound {
		return name, s.Signer, nil
	}
	k, ok := s.n.keys.find(string(key))
	e := s.n.engines[k.Engine]
	if !ok || e == nil {
		return "", nil, &mpc.ArgumentError{Msg: fmt.Sprintf("key %s is not known here, or its engine %q is not", key, k.Engine)}
	}
	return k.Engine, e.signer(s), nil
}

func (s *signers) Prepare(ctx context.Context, net mpc.Network, key mpc.KeyID, set mpc.SignerSet, stripe mpc.PartyID, n int, progress func(done int)) error {
	_, signer, err := s.engine(key)
	if err != nil {
		return err
	}
	return signer.Prepare(ctx, net, key, set, stripe, n, progress)
}

// Sign signs for keys of any engines. Those of one sign in the session that was
// agreed on; of several, each engine has a session of its own among the same
// members, one after the other in the order of the requests. Its id is derived
// from the agreed one, which all members hold, and the engine's name: no
// statement of one is good in another.
func (s *signers) Sign(ctx context.Context, net mpc.Network, session mpc.SignSession, progress func(done int)) ([][]mpc.Signature, error) {
	parts, err := s.parts(session)
	if err != nil {
		return nil, err
	}
	if len(parts) == 1 {
		return s.signPart(ctx, net, parts[0], progress)
	}
	out := make([][]mpc.Signature, len(session.Requests))
	done := 0
	for _, p := range parts {
		p.session.ID = mpc.Digest("zonesigner session of an engine v1", session.ID[:], []byte(p.engine))
		own, err := s.n.transport.Open(p.session.ID, session.Set)
		if err != nil {
			return nil, err
		}
		signatures, err := s.signPart(ctx, own, p, func(n int) { progress(done + n) })
		own.Close()
		if err != nil {
			return nil, err
		}
		for i, at := range p.requests {
			out[at] = signatures[i]
			done += len(signatures[i])
		}
	}
	return out, nil
}

// signPart is what one engine signs of a session.
type signPart struct {
	engine   string
	signer   mpc.Signer
	session  mpc.SignSession
	requests []int // of the whole session
}

// parts are the engines' parts of a session, in the order of its requests.
func (s *signers) parts(session mpc.SignSession) ([]*signPart, error) {
	if len(session.Requests) == 0 {
		return nil, &mpc.ArgumentError{Msg: "a session without requests"}
	}
	var parts []*signPart
	for i, r := range session.Requests {
		engine, signer, err := s.engine(r.Key)
		if err != nil {
			return nil, err
		}
		j := slices.IndexFunc(parts, func(p *signPart) bool { return p.engine == engine })
		if j < 0 {
			p := &signPart{engine: engine, signer: signer, session: session}
			p.session.Requests = nil
			j, parts = len(parts), append(parts, p)
		}
		parts[j].session.Requests = append(parts[j].session.Requests, r)
		parts[j].requests = append(parts[j].requests, i)
	}
	return parts, nil
}

// signPart signs with one engine's keys, of which none is suspended, and
// suspends one whose signature does not verify, where the engine wants that.
func (s *signers) signPart(ctx context.Context, net mpc.Network, p *signPart, progress func(done int)) ([][]mpc.Signature, error) {
	for _, r := range p.session.Requests {
		if err := s.n.keys.suspended(r.Key); err != nil {
			return nil, err
		}
	}
	out, err := p.signer.Sign(ctx, net, p.session, progress)
	var unverified *ecdsa.UnverifiedError
	if p.engine == config.MascotMinus && errors.As(err, &unverified) {
		s.n.keys.suspend(unverified.Keys, err)
	}
	return out, err
}

// shareOf returns this operator's share of a key in the form of its protocol.
func shareOf[K any, P interface {
	*K
	encoding.BinaryUnmarshaler
}](k *keyring, id mpc.KeyID) (*K, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if s, ok := k.shares[id].(*K); ok {
		return s, nil
	}
	r, err := k.n.store.Key(string(id))
	if err != nil {
		return nil, err
	}
	s := new(K)
	if err := P(s).UnmarshalBinary(r.Secret); err != nil {
		return nil, fmt.Errorf("key %s: %w", id, err)
	}
	k.shares[id] = s
	return s, nil
}
