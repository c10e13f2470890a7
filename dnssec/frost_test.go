package dnssec

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"zonesigner/mpc"
	"zonesigner/mpc/frost"
	"zonesigner/mpc/memnet"
)

// signer is one operator: its identity, and tuples in memory that are spent
// in order.
type signer struct {
	self   mpc.PartyID
	secret ed25519.PrivateKey
	public map[mpc.PartyID]ed25519.PublicKey
	chunks map[mpc.ChunkID]mpc.PoolChunk
	order  []mpc.TupleRange
}

func (s *signer) Self() mpc.PartyID      { return s.self }
func (s *signer) Sign(msg []byte) []byte { return ed25519.Sign(s.secret, msg) }
func (s *signer) Verify(from mpc.PartyID, msg, sig []byte) bool {
	return ed25519.Verify(s.public[from], msg, sig)
}

func (s *signer) Add(chunks []mpc.PoolChunk) error {
	for _, c := range chunks {
		c.Blob = append([]byte(nil), c.Blob...)
		s.chunks[c.ID] = c
		s.order = append(s.order, mpc.TupleRange{Chunk: c.ID, Count: c.Count})
	}
	return nil
}

func (s *signer) Spend(ranges []mpc.PoolRange, _ [32]byte) (blobs [][]byte, mark mpc.Mark, err error) {
	for _, r := range ranges {
		c, ok := s.chunks[r.Chunk]
		if !ok {
			return nil, mark, errors.New("spent")
		}
		delete(s.chunks, r.Chunk)
		blobs = append(blobs, c.Blob)
	}
	return blobs, mark, nil
}

// A zone that three operators sign with one shared key is one of algorithm 15
// to everybody else.
func TestFrostSignsAlgorithm15(t *testing.T) {
	group := mpc.Group{Parties: []mpc.PartyID{"a", "b", "c"}, T: 1, Digest: sha256.Sum256([]byte("group"))}
	hub := memnet.New(group.Parties...)
	defer hub.Close()
	signers, public := map[mpc.PartyID]*signer{}, map[mpc.PartyID]ed25519.PublicKey{}
	for _, p := range group.Parties {
		pk, sk, err := ed25519.GenerateKey(nil)
		if err != nil {
			t.Fatal(err)
		}
		public[p] = pk
		signers[p] = &signer{self: p, secret: sk, public: public, chunks: map[mpc.ChunkID]mpc.PoolChunk{}}
	}
	sessions := byte(0)
	among := func(parties mpc.SignerSet, f func(ctx context.Context, net mpc.Network) error) {
		t.Helper()
		sessions++
		ends, err := hub.Open(mpc.SessionID{sessions}, parties...)
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for _, end := range ends {
			wg.Go(func() {
				defer end.Close()
				if err := f(t.Context(), end); err != nil {
					t.Errorf("%s: %v", end.Self(), err)
				}
			})
		}
		wg.Wait()
		if t.Failed() {
			t.FailNow()
		}
	}
	var mu sync.Mutex
	shares := map[mpc.PartyID]*frost.KeyShare{}
	all := mpc.NewSignerSet(group.Parties...)
	among(all, func(ctx context.Context, net mpc.Network) error {
		k, err := frost.GenerateKey(ctx, net, signers[net.Self()], group, []byte("example. csk"))
		mu.Lock()
		defer mu.Unlock()
		shares[net.Self()] = k
		return err
	})

	pk := shares["a"].PublicKey()
	key := Key{ID: "csk", Flags: 257, CSK: true, Algorithm: ED25519, PublicKey: pk[:], State: Active}
	z := readZone(t, "features.zone")
	p := testParams()
	p.Keys, p.Denial.NSEC3, p.Time = []Key{key}, true, uint32(time.Now().Unix())
	plan := mustPlan(t, z, p)
	messages := make([][]byte, plan.Len())
	for i := range messages {
		messages[i] = plan.Message(i)
	}
	set := mpc.NewSignerSet("a", "c")
	engine := func(p mpc.PartyID) *frost.Signer {
		s, err := frost.NewSigner(frost.Config{Identity: signers[p], Store: signers[p], ChunkSize: len(messages),
			Keys: func(mpc.KeyID) (*frost.KeyShare, error) { return shares[p], nil }})
		if err != nil {
			t.Error(err)
		}
		return s
	}
	among(all, func(ctx context.Context, net mpc.Network) error {
		return engine(net.Self()).Prepare(ctx, net, shares["a"].ID, set, "a", len(messages), nil)
	})
	session := mpc.SignSession{ID: mpc.SessionID{9}, Set: set, Stripe: "a", Requests: []mpc.SignRequest{
		{Key: shares["a"].ID, Manifest: sha256.Sum256(plan.Manifest()), Tuples: signers["a"].order, Messages: messages}}}
	signatures := map[mpc.PartyID][]mpc.Signature{}
	among(set, func(ctx context.Context, net mpc.Network) error {
		sigs, err := engine(net.Self()).Sign(ctx, net, session, nil)
		if err == nil {
			mu.Lock()
			signatures[net.Self()] = sigs[0]
			mu.Unlock()
		}
		return err
	})
	sigs := make([][64]byte, len(messages))
	for i, s := range signatures["c"] {
		sigs[i] = s
	}
	sz, err := plan.Assemble(sigs)
	if err != nil {
		t.Fatal(err)
	}
	wantNoFaults(t, Verify(sz, VerifyOptions{Keys: p.Keys, At: p.Time}))

	// As miekg/dns sees it, record by record.
	records, signed := map[string][]dns.RR{}, []*dns.RRSIG{}
	var dnskey *dns.DNSKEY
	zp := dns.NewZoneParser(strings.NewReader(zoneText(t, sz)), ".", "")
	for rr, ok := zp.Next(); ok; rr, ok = zp.Next() {
		switch rr := rr.(type) {
		case *dns.RRSIG:
			signed = append(signed, rr)
			continue
		case *dns.DNSKEY:
			dnskey = rr
		}
		id := fmt.Sprint(rr.Header().Name, rr.Header().Rrtype)
		records[id] = append(records[id], rr)
	}
	if err := zp.Err(); err != nil {
		t.Fatal(err)
	}
	if len(signed) != len(messages) || dnskey == nil || dnskey.Algorithm != dns.ED25519 {
		t.Fatalf("%d signatures of %d, key %v", len(signed), len(messages), dnskey)
	}
	for _, s := range signed {
		if err := s.Verify(dnskey, records[fmt.Sprint(s.Hdr.Name, s.TypeCovered)]); err != nil || s.Algorithm != dns.ED25519 {
			t.Errorf("%s %s: %v", s.Hdr.Name, dns.TypeToString[s.TypeCovered], err)
		}
	}
	dir := t.TempDir()
	writeFile(t, dir, "signed", zoneText(t, sz))
	run(t, dir, "dnssec-verify", "-z", "-o", z.Apex().String(), "signed")
	run(t, dir, "kzonecheck", "-d", "on", "-t", fmt.Sprint(p.Time), "-o", z.Apex().String(), "signed")
}
