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
	noSession bool // id needs to be the same for all
	noLists   bool // of commitments need to be the same for all holders of a seed
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
	s.choose()
	defer s.erase()
	if err := s.greet(ctx); err != nil {
		return SessionID{}, nil, err
	}
	if err := s.reveal(ctx); err != nil {
		return SessionID{}, nil, err
	}
	seeds := make([]Seed, len(s.seeds))
	for a := range seeds {
		seeds[a] = s.seeds[a].Seed
	}
	return s.id, seeds, nil
}

// Erase forgets the seed; streams that were begun go on.
func (a *Seed) Erase() { clear(a.key[:]) }

// seedSession is the making of seeds: two rounds.
type seedSession struct {
	SeedSetup
	net     Network
	self    PartyID
	parties []PartyID // sorted
	bound   [32]byte  // what the session is for
	nonces  map[PartyID][]byte
	id      SessionID
	seeds   []madeSeed // those that self holds
}

// madeSeed is a seed in the making.
type madeSeed struct {
	Seed
	own        []byte // secret; this party's contribution
	commitment []byte // to it
	// Of all holders, in their order, and a digest of them: holders that list
	// the same were committed to the same contributions.
	commitments [][]byte
	list        [32]byte
}

func (s *seedSession) erase() {
	for a := range s.seeds {
		clear(s.seeds[a].own)
		s.seeds[a].Erase()
	}
}

// choose lists the seeds that self holds: every choice of Size parties that
// has self in it, in one order for all. It draws a contribution to each.
func (s *seedSession) choose() {
	for choice := range subsets(len(s.parties), s.Size) {
		a := madeSeed{own: make([]byte, 32)}
		for _, i := range choice {
			a.Holders = append(a.Holders, s.parties[i])
		}
		if slices.Contains(a.Holders, s.self) {
			_, _ = rand.Read(a.own) // never fails
			a.name = string(partyList(a.Holders))
			s.seeds = append(s.seeds, a)
		}
	}
}

// greet is the first round: a fresh nonce of each party, the binding, which is
// the same at all, and commitments to the contributions. The nonces make the
// session's id.
func (s *seedSession) greet(ctx context.Context) error {
	s.bound = Digest("zonesigner binding v2", []byte(s.Engine), s.Group.Digest[:], partyList(s.Group.Parties),
		[]byte{byte(s.Group.T)}, partyList(s.parties), s.Binding)
	hello := make([]byte, 64)
	_, _ = rand.Read(hello[:32])
	copy(hello[32:], s.bound[:])
	s.nonces = map[PartyID][]byte{s.self: hello[:32]}
	for a := range s.seeds {
		s.seeds[a].commitment = s.commitment(a, s.self, s.seeds[a].own)
	}
	commitments, err := s.exchangePerSeed(ctx, "seeds/hello", hello, 32, func(p PartyID, head []byte) error {
		if !bytes.Equal(head[32:], s.bound[:]) {
			return &ArgumentError{Msg: fmt.Sprintf("operator %s came for something else (another group, key, signer set or size)", p)}
		}
		s.nonces[p] = head[:32]
		return nil
	}, func(msg []byte, a int) []byte { return append(msg, s.seeds[a].commitment...) })
	if err != nil {
		return err
	}
	s.id = NewSessionID(string(s.bound[:]), s.nonces)
	for a := range s.seeds {
		seed := &s.seeds[a]
		seed.commitments = commitments[a]
		seed.commitments[slices.Index(seed.Holders, s.self)] = seed.commitment
		seed.list = Digest("zonesigner seed list v1", append([][]byte{s.id[:], []byte(seed.name)}, seed.commitments...)...)
	}
	return nil
}

// reveal is the second round: the session's id, and for each seed the
// contribution and a digest of the commitments of all holders. All commitments
// are there when the first contribution leaves. It returns when all holders of
// each seed have listed the same commitments, and opened them: so they hold
// the same seed.
func (s *seedSession) reveal(ctx context.Context) error {
	var other bool
	parts, err := s.exchangePerSeed(ctx, "seeds/reveal", s.id[:], 64, func(_ PartyID, head []byte) error {
		other = other || !bytes.Equal(head, s.id[:])
		return nil
	}, func(msg []byte, a int) []byte { return append(append(msg, s.seeds[a].own...), s.seeds[a].list[:]...) })
	if err != nil {
		return err
	}
	defer erase(parts...)
	// One that greeted others differently must not make them look like liars
	// to each other in what is bound to the id.
	if other && !s.holes.noSession {
		return s.dispute(s.parties, "operators were greeted differently")
	}
	// Who can be named comes before who can only be disputed.
	for a := range s.seeds {
		if err := s.open(a, parts[a]); err != nil {
			return err
		}
	}
	for a := range s.seeds {
		seed := &s.seeds[a]
		for i, p := range seed.Holders {
			if p != s.self && !bytes.Equal(parts[a][i][32:], seed.list[:]) && !s.holes.noLists {
				return s.dispute(seed.Holders, "the holders of a seed were sent different commitments")
			}
		}
	}
	return nil
}

// open makes seed a of what its holders revealed, in the order of Holders.
func (s *seedSession) open(a int, revealed [][]byte) error {
	seed := &s.seeds[a]
	seed.session = s.id
	contributions := [][]byte{s.id[:], []byte(seed.name)}
	for i, p := range seed.Holders {
		contribution := seed.own
		if p != s.self {
			contribution = revealed[i][:32]
			if subtle.ConstantTimeCompare(s.commitment(a, p, contribution), seed.commitments[i]) != 1 {
				return &CheatError{Parties: []PartyID{p}, What: "its contribution to a seed is not the one it committed to"}
			}
		}
		contributions = append(contributions, contribution)
	}
	seed.key = Digest("zonesigner seed v1", contributions...)
	return nil
}

// commitment is to a contribution of from, whose nonce is fresh, as this
// session's.
func (s *seedSession) commitment(a int, from PartyID, contribution []byte) []byte {
	d := Digest("zonesigner seed commit v1", s.bound[:], s.nonces[from], []byte(s.seeds[a].name), []byte(from), contribution)
	return d[:]
}

// dispute blames all of parties but self: at least one of them cheated.
func (s *seedSession) dispute(parties []PartyID, what string) error {
	suspects := slices.DeleteFunc(slices.Clone(parties), func(p PartyID) bool { return p == s.self })
	return &CheatError{Parties: suspects, Disputed: len(suspects) > 1, What: what}
}

// exchangePerSeed sends head to each other party and, after it, size bytes for
// each seed that it holds too. It calls check with the head of each other party
// before it looks at the rest, and returns this: got[a][i] from holder i of
// seed a.
func (s *seedSession) exchangePerSeed(ctx context.Context, round string, head []byte, size int, check func(PartyID, []byte) error, appendOwn func(msg []byte, a int) []byte) (got [][][]byte, err error) {
	for _, p := range s.parties {
		if p == s.self {
			continue
		}
		msg := slices.Grow(slices.Clone(head), size*len(s.seeds)) // holds secrets: never moved
		for a := range s.seeds {
			if slices.Contains(s.seeds[a].Holders, p) {
				msg = appendOwn(msg, a)
			}
		}
		err := s.net.Send(ctx, p, round, msg)
		clear(msg)
		if err != nil {
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
	}
	for _, p := range s.parties {
		if p == s.self {
			continue
		}
		r := NewReader(msgs[p])
		if theirs := r.Take(len(head)); theirs != nil {
			if err := check(p, theirs); err != nil {
				return nil, err
			}
		}
		for a := range s.seeds {
			if i := slices.Index(s.seeds[a].Holders, p); i >= 0 {
				got[a][i] = r.Take(size)
			}
		}
		if !r.Done() {
			return nil, &CheatError{Parties: []PartyID{p}, What: fmt.Sprintf("message of %d bytes in round %s is too short or too long", len(msgs[p]), round)}
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

const (
	// wide is how many bytes of the stream make one scalar: reduced modulo the
	// group's order their bias is below 2^-128.
	wide = 48
	// bufferedScalars are taken from the stream at once, at most.
	bufferedScalars = 64
)

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
	return &SeedStream{bytes: cipher.NewCTR(block, make([]byte, aes.BlockSize))}
}

// Scalars yields the next n uniform scalars and their indices. They count as
// read also when the loop is left early.
func (s *SeedStream) Scalars(n int) iter.Seq2[int, p256.Scalar] {
	return func(yield func(int, p256.Scalar) bool) {
		if size := wide * min(n, bufferedScalars); len(s.buffer) < size {
			s.buffer = make([]byte, size)
		}
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
