package mpc

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"iter"
	"slices"
	"strings"

	"zonesigner/mpc/p256"
)

// MaxSeeds bounds the replicated seeds of one session.
const MaxSeeds = 35

// SeedSetup says for what replicated seeds are made.
type SeedSetup struct {
	Engine  string
	Group   Group
	Binding []byte // of the session, the same at all parties
	Size    int    // holders of each seed

	holes seedHoles // tests only
}

// seedHoles takes defences out, so that tests can show what each is for.
type seedHoles struct {
	noConfirm bool // of seeds by all their holders
}

// Seed is known to exactly its holders.
type Seed struct {
	Holders []PartyID // sorted
	session SessionID
	name    string   // the holders' names, joined
	key     [32]byte // secret
}

// NewSeeds agrees on the id of a session among net's parties and makes one
// seed for every choice of Size of them (docs/protocol.md, section 2). It
// returns those that this party holds, in one order at all parties. Seeds are
// fresh where one holder is honest, and all honest holders have the same.
//
// It fails with an ArgumentError when the parties came for different things,
// and with a CheatError when one does not keep to what it said.
func NewSeeds(ctx context.Context, net Network, setup SeedSetup) (SessionID, []Seed, error) {
	s := seedSession{SeedSetup: setup, net: net, self: net.Self(), parties: net.Parties()}
	if err := s.greet(ctx); err != nil {
		return SessionID{}, nil, err
	}
	s.choose()
	if err := s.contribute(ctx); err != nil {
		return SessionID{}, nil, err
	}
	if err := s.confirm(ctx); err != nil {
		return SessionID{}, nil, err
	}
	return s.id, s.seeds, nil
}

// Erase forgets the seed; streams that were begun go on.
func (a *Seed) Erase() { clear(a.key[:]) }

// seedSession is the making of seeds.
type seedSession struct {
	SeedSetup
	net     Network
	self    PartyID
	parties []PartyID // sorted
	id      SessionID
	seeds   []Seed // those that self holds
}

// greet agrees on the session's id: a fresh nonce of each party, and the same
// binding at all.
func (s *seedSession) greet(ctx context.Context) error {
	bound := Digest("zonesigner binding v1", []byte(s.Engine), s.Group.Digest[:], partyList(s.Group.Parties),
		[]byte{byte(s.Group.T)}, partyList(s.parties), s.Binding)
	hello := make([]byte, 64)
	_, _ = rand.Read(hello[:32]) // never fails
	copy(hello[32:], bound[:])
	hellos, err := Exchange(ctx, s.net, "seeds/hello", hello)
	if err != nil {
		return err
	}
	nonces := map[PartyID][]byte{}
	for _, p := range s.parties {
		h := hellos[p]
		if len(h) != 64 {
			return &CheatError{Parties: []PartyID{p}, What: fmt.Sprintf("hello of %d bytes, want 64", len(h))}
		}
		if !bytes.Equal(h[32:], bound[:]) {
			return &ArgumentError{Msg: fmt.Sprintf("operator %s came for something else (another group, key, signer set or size)", p)}
		}
		nonces[p] = h[:32]
	}
	s.id = NewSessionID(string(bound[:]), nonces)
	// One that greeted others differently must not make them look like liars
	// to each other below, where everything is bound to the id.
	ids, err := Exchange(ctx, s.net, "seeds/session", s.id[:])
	if err != nil {
		return err
	}
	for _, p := range s.parties {
		if !bytes.Equal(ids[p], s.id[:]) {
			return s.dispute(s.parties, "operators were greeted differently")
		}
	}
	return nil
}

// choose lists the seeds that self holds: every choice of Size parties that
// has self in it, in one order for all.
func (s *seedSession) choose() {
	for choice := range subsets(len(s.parties), s.Size) {
		a := Seed{session: s.id}
		for _, i := range choice {
			a.Holders = append(a.Holders, s.parties[i])
		}
		if slices.Contains(a.Holders, s.self) {
			a.name = string(partyList(a.Holders))
			s.seeds = append(s.seeds, a)
		}
	}
}

// contribute makes the seeds: each holder commits to a contribution, then
// reveals it.
func (s *seedSession) contribute(ctx context.Context) error {
	own := make([][]byte, len(s.seeds))
	for a := range own {
		own[a] = make([]byte, 32)
		_, _ = rand.Read(own[a])
	}
	defer erase(own)
	commitments, err := s.exchangePerSeed(ctx, "seeds/commit", func(a int) []byte {
		return s.commitment(a, s.self, own[a])
	})
	if err != nil {
		return err
	}
	parts, err := s.exchangePerSeed(ctx, "seeds/reveal", func(a int) []byte { return own[a] })
	if err != nil {
		return err
	}
	defer erase(parts...)
	for a := range s.seeds {
		contributions := [][]byte{s.id[:], []byte(s.seeds[a].name)}
		for i, p := range s.seeds[a].Holders {
			if p == s.self {
				contributions = append(contributions, own[a])
				continue
			}
			if subtle.ConstantTimeCompare(s.commitment(a, p, parts[a][i]), commitments[a][i]) != 1 {
				return &CheatError{Parties: []PartyID{p}, What: "its contribution to a seed is not the one it committed to"}
			}
			contributions = append(contributions, parts[a][i])
		}
		s.seeds[a].key = Digest("zonesigner seed v1", contributions...)
	}
	return nil
}

func (s *seedSession) commitment(a int, from PartyID, contribution []byte) []byte {
	d := Digest("zonesigner seed commit v1", s.id[:], []byte(s.seeds[a].name), []byte(from), contribution)
	return d[:]
}

// confirm returns when all holders of each seed have said that they hold the
// same.
func (s *seedSession) confirm(ctx context.Context) error {
	confirmation := func(a int) []byte {
		d := Digest("zonesigner seed confirm v1", s.id[:], []byte(s.seeds[a].name), s.seeds[a].key[:])
		return d[:]
	}
	got, err := s.exchangePerSeed(ctx, "seeds/confirm", confirmation)
	if err != nil {
		return err
	}
	for a := range s.seeds {
		want := confirmation(a)
		for i, p := range s.seeds[a].Holders {
			if p != s.self && !bytes.Equal(got[a][i], want) && !s.holes.noConfirm {
				return s.dispute(s.seeds[a].Holders, "the holders of a seed do not hold the same")
			}
		}
	}
	return nil
}

// dispute blames all of parties but self: at least one of them cheated.
func (s *seedSession) dispute(parties []PartyID, what string) error {
	suspects := slices.DeleteFunc(slices.Clone(parties), func(p PartyID) bool { return p == s.self })
	return &CheatError{Parties: suspects, Disputed: len(suspects) > 1, What: what}
}

// exchangePerSeed sends 32 bytes for each seed to each of its other holders,
// and returns what they sent: got[a][i] from holder i of seed a.
func (s *seedSession) exchangePerSeed(ctx context.Context, round string, own func(a int) []byte) (got [][][]byte, err error) {
	for _, p := range s.parties {
		if p == s.self {
			continue
		}
		var msg []byte
		for a := range s.seeds {
			if slices.Contains(s.seeds[a].Holders, p) {
				msg = append(msg, own(a)...)
			}
		}
		if err := s.net.Send(ctx, p, round, msg); err != nil {
			return nil, err
		}
	}
	msgs, err := Gather(ctx, s.net, round, nil)
	if err != nil {
		return nil, err
	}
	got = make([][][]byte, len(s.seeds))
	for a := range s.seeds {
		got[a] = make([][]byte, len(s.seeds[a].Holders))
		for i, p := range s.seeds[a].Holders {
			if p == s.self {
				continue
			}
			if len(msgs[p]) < 32 {
				return nil, &CheatError{Parties: []PartyID{p}, What: "message of round " + round + " is too short"}
			}
			got[a][i], msgs[p] = msgs[p][:32], msgs[p][32:]
		}
	}
	for _, p := range s.parties {
		if len(msgs[p]) > 0 {
			return nil, &CheatError{Parties: []PartyID{p}, What: "message of round " + round + " is too long"}
		}
	}
	return got, nil
}

func partyList(ids []PartyID) []byte {
	var b strings.Builder
	for _, p := range ids {
		b.WriteString(string(p))
		b.WriteByte('\n')
	}
	return []byte(b.String())
}

func erase(lists ...[][]byte) {
	for _, l := range lists {
		for _, b := range l {
			clear(b)
		}
	}
}

// wide is how many bytes of the stream make one scalar: reduced modulo the
// group's order their bias is below 2^-128.
const wide = 48

// SeedStream is a seed's pseudo-random stream for one purpose: AES-256 in
// counter mode. All holders must read the same amounts in the same order.
type SeedStream struct {
	bytes  cipher.Stream
	buffer []byte // of whole scalars, zero between calls
}

// Stream begins the stream of the purpose that label names.
func (a *Seed) Stream(label string) *SeedStream {
	info := "zonesigner stream v1\x00" + label + "\x00" + a.name
	key, err := hkdf.Key(sha256.New, a.key[:], a.session[:], info, 32)
	if err != nil {
		panic("mpc: " + err.Error()) // 32 bytes are always within HKDF's bounds
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		panic("mpc: " + err.Error()) // 32 bytes are always a key
	}
	clear(key)
	return &SeedStream{cipher.NewCTR(block, make([]byte, aes.BlockSize)), make([]byte, 64*wide)}
}

// Scalars yields the next n uniform scalars and their indices. They count as
// read also when the loop is left early.
func (s *SeedStream) Scalars(n int) iter.Seq2[int, p256.Scalar] {
	return func(yield func(int, p256.Scalar) bool) {
		more := true
		for i := 0; i < n; {
			buffer := s.buffer[:min(len(s.buffer), wide*(n-i))]
			s.bytes.XORKeyStream(buffer, buffer)
			for k := 0; k < len(buffer); k += wide {
				if more {
					more = yield(i, p256.ScalarFromWide(buffer[k:k+wide]))
				}
				i++
			}
			clear(buffer)
		}
	}
}
