package ecdsa

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"sync"

	"zonesigner/mpc"
	"zonesigner/mpc/p256"
)

// Prepare makes n tuples bound to key for set, in chunks, and stores this
// party's part where it is a member. All parties of net (2t+1 or more of the
// group, with all of set among them) call it with the same arguments. Chunks
// that were stored before a failure stay stored.
func (s *Signer) Prepare(ctx context.Context, net mpc.Network, key mpc.KeyID, set mpc.SignerSet, stripe mpc.PartyID, n int, progress func(done int)) error {
	ks, protocol, err := s.key(key, set)
	if err != nil {
		return err
	}
	if n < 1 {
		return &mpc.ArgumentError{Msg: fmt.Sprintf("ecdsa: prepare %d tuples", n)}
	}
	for _, p := range set {
		if !slices.Contains(net.Parties(), p) {
			return &mpc.ArgumentError{Msg: fmt.Sprintf("ecdsa: signer %s is not in the session", p)}
		}
	}
	pool := mpc.PoolID{Key: key, Set: set.String(), Stripe: stripe}
	binding := mpc.Digest("zonesigner prepare v1", []byte(key), uint64Bytes(ks.Epoch), []byte(pool.Set), []byte(stripe),
		uint64Bytes(uint64(n)), uint64Bytes(uint64(s.cfg.ChunkSize)))
	shop, err := protocol.start(ctx, net, ks.Group, binding)
	if err != nil {
		return fmt.Errorf("ecdsa: prepare: %w", err)
	}
	defer shop.close()

	var mu sync.Mutex
	done := 0
	chunks := (n + s.cfg.ChunkSize - 1) / s.cfg.ChunkSize
	return pipeline(ctx, chunks, s.cfg.Window, nil, func(ctx context.Context, i int) error {
		count := min(s.cfg.ChunkSize, n-i*s.cfg.ChunkSize)
		chunk, err := s.prepareChunk(ctx, net, shop, ks, pool, set, i, count)
		if err != nil {
			return fmt.Errorf("ecdsa: prepare chunk %d: %w", i, err)
		}
		if set.Contains(net.Self()) {
			if err := s.cfg.Store.Add(pool, *chunk); err != nil {
				return fmt.Errorf("ecdsa: store chunk %d: %w", i, err)
			}
			clear(chunk.Blob)
		}
		mu.Lock()
		defer mu.Unlock()
		done += count
		if progress != nil {
			progress(done)
		}
		return nil
	})
}

// prepareChunk makes one chunk and returns when all parties hold the same view
// of it (section 4).
func (s *Signer) prepareChunk(ctx context.Context, net mpc.Network, shop workshop, ks *KeyShare, pool mpc.PoolID, set mpc.SignerSet, index, count int) (*mpc.Chunk, error) {
	label := "chunk" + strconv.Itoa(index)
	t, err := shop.tuples(ctx, label, ks.Share, count)
	if err != nil {
		return nil, err
	}
	defer t.erase()
	own, commitments, err := commitToR(ctx, net, ks.Group, set, label, t)
	if err != nil {
		return nil, err
	}
	id := mpc.Digest("zonesigner chunk v1", append([][]byte{t.view[:], []byte(ks.ID), uint64Bytes(ks.Epoch), []byte(pool.Set),
		[]byte(pool.Stripe), uint64Bytes(uint64(index)), uint64Bytes(uint64(count))}, commitments...)...)
	if s.holes.noView {
		id = mpc.Digest("label", []byte(label))
	}
	if err := confirmView(ctx, net, label, id); err != nil {
		return nil, err
	}
	if !set.Contains(net.Self()) {
		return nil, nil // its shares are erased here
	}
	return &mpc.Chunk{ID: id, Count: count, Blob: encodeChunk(t, own, commitments)}, nil
}

// confirmView returns when all parties hold the same view of a chunk.
func confirmView(ctx context.Context, net mpc.Network, label string, view [32]byte) error {
	views, err := mpc.Exchange(ctx, net, label+"/view", view[:])
	if err != nil {
		return err
	}
	for _, p := range net.Parties() {
		if !bytes.Equal(views[p], view[:]) {
			return dispute(without(net.Parties(), net.Self()), "operators hold different views of a chunk")
		}
	}
	return nil
}

// commitToR computes this party's shares of R and exchanges the commitments to
// them. own is nil for a party that does not sign.
func commitToR(ctx context.Context, net mpc.Network, g mpc.Group, set mpc.SignerSet, label string, t *tuples) (own []byte, commitments [][]byte, err error) {
	n := len(t.k)
	commitments = make([][]byte, len(set))
	round := label + "/commit"
	if j := slices.Index(set, net.Self()); j >= 0 {
		opening, err := mpc.NewOpening(g, set, net.Self(), g.T)
		if err != nil {
			return nil, nil, err
		}
		scale := opening.Scale()
		for i := range t.k {
			t.k[i] = t.k[i].Mul(scale)
		}
		if own, err = p256.AppendPoints(make([]byte, 0, 64*n), p256.BaseMultBatch(t.k)); err != nil {
			return nil, nil, fmt.Errorf("share of R: %w", err)
		}
		c := newCommitter(t.view, net.Self())
		commitments[j] = make([]byte, 0, 32*n)
		for i := range n {
			h := c.commitment(i, own[64*i:64*i+64])
			commitments[j] = append(commitments[j], h[:]...)
		}
		for _, p := range net.Parties() {
			if p == net.Self() {
				continue
			}
			if err := net.Send(ctx, p, round, commitments[j]); err != nil {
				return nil, nil, err
			}
		}
	}
	for j, p := range set {
		if p == net.Self() {
			continue
		}
		if commitments[j], err = net.Recv(ctx, p, round); err != nil {
			return nil, nil, err
		}
		if len(commitments[j]) != 32*n {
			return nil, nil, &mpc.CheatError{Parties: []mpc.PartyID{p}, What: fmt.Sprintf("commitments of %d bytes, want %d", len(commitments[j]), 32*n)}
		}
	}
	return own, commitments, nil
}

// dispute blames suspects: at least one of them cheated.
func dispute(suspects []mpc.PartyID, what string) error {
	return &mpc.CheatError{Parties: suspects, Disputed: len(suspects) > 1, What: what}
}

func without(parties []mpc.PartyID, self mpc.PartyID) []mpc.PartyID {
	return slices.DeleteFunc(slices.Clone(parties), func(p mpc.PartyID) bool { return p == self })
}

func uint64Bytes(u uint64) []byte { return binary.BigEndian.AppendUint64(nil, u) }
