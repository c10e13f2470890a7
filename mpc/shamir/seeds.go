package shamir

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"slices"
	"strings"

	"zonesigner/mpc"
	"zonesigner/mpc/p256"
)

// maxSeeds bounds the replicated seeds: n = 7 with t = 3.
const maxSeeds = 35

// seed is known to exactly its holders: m-t of a session's m parties.
type seed struct {
	holders []mpc.PartyID // sorted
	name    string        // the holders' names, joined
	key     [32]byte      // secret
	f       p256.Scalar   // f_A at this party's point: 1 at 0, 0 at the points of all others
	zeros   []p256.Scalar // xˡ·f_A at this party's point, l = 1 … t
}

// makeSeeds agrees on the session's id and makes the seeds (section 2).
func (s *session) makeSeeds(ctx context.Context, g mpc.Group, binding []byte) error {
	// Session id: a fresh nonce of each, and the same binding at all.
	bound := mpc.Digest("zonesigner shamir binding v1", []byte(s.engine.Name()), g.Digest[:], partyList(g.Parties),
		[]byte{byte(g.T)}, partyList(s.parties), binding)
	hello := make([]byte, 64)
	_, _ = rand.Read(hello[:32]) // never fails
	copy(hello[32:], bound[:])
	hellos, err := mpc.Exchange(ctx, s.net, "seeds/hello", hello)
	if err != nil {
		return err
	}
	nonces := map[mpc.PartyID][]byte{}
	for _, p := range s.parties {
		h := hellos[p]
		if len(h) != 64 {
			return &mpc.CheatError{Parties: []mpc.PartyID{p}, What: fmt.Sprintf("hello of %d bytes, want 64", len(h))}
		}
		if !bytes.Equal(h[32:], bound[:]) {
			return &mpc.ArgumentError{Msg: fmt.Sprintf("operator %s came for something else (another group, key, signer set or size)", p)}
		}
		nonces[p] = h[:32]
	}
	s.id = mpc.NewSessionID(string(bound[:]), nonces)
	// One that greeted others differently must not make them look like liars
	// to each other below, where everything is bound to the id.
	ids, err := mpc.Exchange(ctx, s.net, "seeds/session", s.id[:])
	if err != nil {
		return err
	}
	for _, p := range s.parties {
		if !bytes.Equal(ids[p], s.id[:]) {
			return s.dispute("operators were greeted differently")
		}
	}

	// Commit to a contribution for each seed, then reveal it.
	s.seeds = holdersOf(s.parties, s.self, len(s.parties)-g.T)
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
		for i, p := range s.seeds[a].holders {
			if p == s.self {
				contributions = append(contributions, own[a])
				continue
			}
			if subtle.ConstantTimeCompare(s.commitment(a, p, parts[a][i]), commitments[a][i]) != 1 {
				return &mpc.CheatError{Parties: []mpc.PartyID{p}, What: "its contribution to a seed is not the one it committed to"}
			}
			contributions = append(contributions, parts[a][i])
		}
		s.seeds[a].key = mpc.Digest("zonesigner shamir seed v1", contributions...)
		s.seeds[a].coefficients(g, s.parties, s.self)
	}

	// All holders confirm that they have the same, before any use.
	confirm := func(a int) []byte {
		d := mpc.Digest("zonesigner shamir confirm v1", s.id[:], []byte(s.seeds[a].name), s.seeds[a].key[:])
		return d[:]
	}
	confirmations, err := s.exchangePerSeed(ctx, "seeds/confirm", confirm)
	if err != nil {
		return err
	}
	for a := range s.seeds {
		want := confirm(a)
		for i, p := range s.seeds[a].holders {
			if p != s.self && !bytes.Equal(confirmations[a][i], want) && !s.engine.holes.noConfirm {
				suspects := slices.DeleteFunc(slices.Clone(s.seeds[a].holders), func(p mpc.PartyID) bool { return p == s.self })
				return &mpc.CheatError{Parties: suspects, Disputed: len(suspects) > 1, What: "the holders of a seed do not hold the same"}
			}
		}
	}
	return nil
}

func (s *session) commitment(a int, from mpc.PartyID, contribution []byte) []byte {
	d := mpc.Digest("zonesigner shamir commit v1", s.id[:], []byte(s.seeds[a].name), []byte(from), contribution)
	return d[:]
}

// exchangePerSeed sends 32 bytes for each seed to each of its other holders,
// and returns what they sent: got[a][i] from holder i of seed a.
func (s *session) exchangePerSeed(ctx context.Context, round string, own func(a int) []byte) (got [][][]byte, err error) {
	for _, p := range s.parties {
		if p == s.self {
			continue
		}
		var msg []byte
		for a := range s.seeds {
			if slices.Contains(s.seeds[a].holders, p) {
				msg = append(msg, own(a)...)
			}
		}
		if err := s.net.Send(ctx, p, round, msg); err != nil {
			return nil, err
		}
	}
	msgs, err := mpc.Gather(ctx, s.net, round, nil)
	if err != nil {
		return nil, err
	}
	got = make([][][]byte, len(s.seeds))
	for a := range s.seeds {
		got[a] = make([][]byte, len(s.seeds[a].holders))
		for i, p := range s.seeds[a].holders {
			if p == s.self {
				continue
			}
			if len(msgs[p]) < 32 {
				return nil, &mpc.CheatError{Parties: []mpc.PartyID{p}, What: "message of round " + round + " is too short"}
			}
			got[a][i], msgs[p] = msgs[p][:32], msgs[p][32:]
		}
	}
	for _, p := range s.parties {
		if len(msgs[p]) > 0 {
			return nil, &mpc.CheatError{Parties: []mpc.PartyID{p}, What: "message of round " + round + " is too long"}
		}
	}
	return got, nil
}

// holdersOf lists the seeds that self holds: every choice of size parties
// that has self in it, in one order for all.
func holdersOf(parties []mpc.PartyID, self mpc.PartyID, size int) []seed {
	var seeds []seed
	var choose func(from int, chosen []mpc.PartyID)
	choose = func(from int, chosen []mpc.PartyID) {
		if len(chosen) == size {
			if slices.Contains(chosen, self) {
				holders := slices.Clone(chosen)
				seeds = append(seeds, seed{holders: holders, name: string(partyList(holders))})
			}
			return
		}
		for i := from; i < len(parties); i++ {
			choose(i+1, append(chosen, parties[i]))
		}
	}
	choose(0, make([]mpc.PartyID, 0, size))
	return seeds
}

// coefficients computes f and zeros.
func (a *seed) coefficients(g mpc.Group, parties []mpc.PartyID, self mpc.PartyID) {
	scalar := func(p mpc.PartyID) p256.Scalar {
		x, _ := g.X(p)
		return p256.NewScalar(uint64(x))
	}
	x := scalar(self)
	num, den := p256.One(), p256.One()
	for _, p := range parties {
		if !slices.Contains(a.holders, p) {
			num = num.Mul(scalar(p).Sub(x))
			den = den.Mul(scalar(p))
		}
	}
	a.f = num.Mul(den.Inverse())
	power := a.f
	for range g.T {
		power = power.Mul(x)
		a.zeros = append(a.zeros, power)
	}
}

func partyList(ids []mpc.PartyID) []byte {
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
