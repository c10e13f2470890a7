package cggmp

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/taurusgroup/multi-party-sig/pkg/ecdsa"
	"github.com/taurusgroup/multi-party-sig/protocols/cmp"

	"zonesigner/mpc"
)

// Prepare makes n presignatures of key for set, in chunks, and stores this
// party's part. The members of set alone talk; for any other party it returns
// at once. Chunks that were stored before a failure stay stored.
//
// A presignature costs each member seconds of computing on one core; ctx is
// looked at between rounds.
func (s *Signer) Prepare(ctx context.Context, net mpc.Network, key mpc.KeyID, set mpc.SignerSet, stripe mpc.PartyID, n int, progress func(done int)) error {
	ks, err := s.key(key, set)
	if err != nil {
		return err
	}
	if n < 1 {
		return &mpc.ArgumentError{Msg: fmt.Sprintf("cggmp: prepare %d tuples", n)}
	}
	for _, p := range set {
		if !slices.Contains(net.Parties(), p) {
			return &mpc.ArgumentError{Msg: fmt.Sprintf("cggmp: signer %s is not in the session", p)}
		}
	}
	if !set.Contains(net.Self()) {
		if progress != nil {
			progress(n)
		}
		return nil
	}
	pool := mpc.PoolID{Key: key, Set: set.String(), Stripe: stripe}
	binding := mpc.Digest("zonesigner cggmp prepare v2", []byte(key), uint64Bytes(ks.Epoch), []byte(pool.Set), []byte(stripe),
		uint64Bytes(uint64(n)), uint64Bytes(uint64(s.cfg.ChunkSize)))
	session, err := newSession(ctx, mpc.Among(net, set), ks.Group, binding, s.holes)
	if err != nil {
		return fmt.Errorf("cggmp: prepare: %w", err)
	}
	for done, index := 0, 0; done < n; index++ {
		count := min(s.cfg.ChunkSize, n-done)
		chunk, err := session.prepareChunk(ctx, s.presign, ks, pool, set, index, count)
		if err != nil {
			return fmt.Errorf("cggmp: prepare chunk %d: %w", index, err)
		}
		err = s.cfg.Store.Add([]mpc.PoolChunk{{Pool: pool, Chunk: *chunk}})
		clear(chunk.Blob)
		if err != nil {
			return fmt.Errorf("cggmp: store chunk %d: %w", index, err)
		}
		if done += count; progress != nil {
			progress(done)
		}
	}
	return nil
}

// presigner makes one presignature among a session's parties, who are set. It
// returns the digest of what was broadcast, too.
type presigner func(s *session, ctx context.Context, ks *KeyShare, set mpc.SignerSet, label string) (*tuple, [32]byte, error)

// prepareChunk makes one chunk. Its id is the digest of what all members saw
// and hold alike, compared before it is stored.
func (s *session) prepareChunk(ctx context.Context, presign presigner, ks *KeyShare, pool mpc.PoolID, set mpc.SignerSet, index, count int) (*mpc.Chunk, error) {
	label := "chunk" + strconv.Itoa(index)
	tuples := make([]*tuple, 0, count)
	defer func() { erase(tuples) }()
	fields := [][]byte{s.id[:], []byte(ks.ID), uint64Bytes(ks.Epoch), []byte(pool.Set), []byte(pool.Stripe),
		uint64Bytes(uint64(index)), uint64Bytes(uint64(count))}
	for i := range count {
		t, view, err := presign(s, ctx, ks, set, label+"/"+strconv.Itoa(i))
		if err != nil {
			return nil, err
		}
		tuples = append(tuples, t)
		fields = append(fields, view[:])
	}
	if err := s.commitNonces(ctx, label+"/nonces", set, tuples); err != nil {
		return nil, err
	}
	for _, t := range tuples {
		public, err := t.public()
		if err != nil {
			return nil, err
		}
		fields = append(fields, public)
	}
	id := mpc.Digest("zonesigner cggmp chunk v2", fields...)
	if s.holes.noView {
		id = mpc.Digest("label", []byte(label))
	}
	if !s.holes.noEcho {
		if err := mpc.ConfirmView(ctx, s.net, label+"/view", id, "operators hold different views of a chunk"); err != nil {
			return nil, err
		}
	}
	blob, err := encodeChunk(tuples, len(set))
	if err != nil {
		return nil, err
	}
	return &mpc.Chunk{ID: id, Count: count, Blob: blob}, nil
}

// commitNonces draws this party's nonces of tuples, which set made, and
// exchanges the commitments of all members.
func (s *session) commitNonces(ctx context.Context, round string, set mpc.SignerSet, tuples []*tuple) error {
	var own []byte
	for _, t := range tuples {
		_, _ = rand.Read(t.nonce[:]) // never fails
		c, err := t.commitment(s.net.Self(), t.nonce[:])
		if err != nil {
			return err
		}
		own = append(own, c[:]...)
	}
	got, err := mpc.Exchange(ctx, s.net, round, own)
	if err != nil {
		return err
	}
	for _, p := range set {
		if len(got[p]) != len(own) {
			return &mpc.CheatError{Parties: []mpc.PartyID{p}, What: fmt.Sprintf("commitments to nonces of %d bytes, want %d", len(got[p]), len(own))}
		}
		for i, t := range tuples {
			t.commitments = append(t.commitments, [sizeCommitment]byte(got[p][sizeCommitment*i:]))
		}
	}
	return nil
}

// presign makes one presignature among the session's parties, who are set.
func (s *session) presign(ctx context.Context, ks *KeyShare, set mpc.SignerSet, label string) (*tuple, [32]byte, error) {
	start := cmp.Presign(ks.config, s.libraryIDs(""), nil)
	result, view, err := s.run(ctx, label, start, func(p mpc.PartyID) []stage { return presignStages(s.libraryIDs(p)) })
	if err != nil {
		return nil, view, err
	}
	made, ok := result.(*ecdsa.PreSignature)
	if !ok {
		return nil, view, errors.New("the library made no presignature")
	}
	t, err := newTuple(ks, set, made)
	if err != nil {
		return nil, view, s.dispute(err.Error())
	}
	return t, view, nil
}

func uint64Bytes(u uint64) []byte { return binary.BigEndian.AppendUint64(nil, u) }
