package frost

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"

	"filippo.io/edwards25519"

	"zonesigner/mpc"
)

// differentViews is what mpc.ConfirmView says of a chunk.
const differentViews = "operators hold different commitments to nonces"

// Prepare makes n tuples of key for set, in chunks, and stores them: the
// commitment phase of RFC 9591, section 5.1, ahead of time. All members of set
// are in net and call it with the same arguments; for others in net there is
// nothing to do. Chunks that were stored before a failure stay stored.
func (s *Signer) Prepare(ctx context.Context, net mpc.Network, key mpc.KeyID, set mpc.SignerSet, stripe mpc.PartyID, n int, progress func(done int)) error {
	k, err := s.key(key, set)
	if err != nil {
		return err
	}
	if n < 1 {
		return &mpc.ArgumentError{Msg: fmt.Sprintf("frost: prepare %d tuples", n)}
	}
	for _, p := range set {
		if !slices.Contains(net.Parties(), p) {
			return &mpc.ArgumentError{Msg: fmt.Sprintf("frost: signer %s is not in the session", p)}
		}
	}
	if !set.Contains(net.Self()) {
		return nil
	}
	m := &making{signer: s, net: mpc.Among(net, set), key: k, pool: mpc.PoolID{Key: key, Set: set.String(), Stripe: stripe}}
	if m.quorum, err = k.newQuorum(set, s.holes); err != nil {
		return err
	}
	binding := m.digest("zonesigner frost prepare v1", uint64(n), uint64(s.cfg.ChunkSize))
	if m.session, err = mpc.Greet(ctx, m.net, binding); err != nil {
		return fmt.Errorf("frost: prepare: %w", err)
	}
	done := mpc.NewProgress(progress)
	chunks := (n + s.cfg.ChunkSize - 1) / s.cfg.ChunkSize
	return mpc.Pipeline(ctx, chunks, s.cfg.Window, nil, func(ctx context.Context, i int) error {
		count := min(s.cfg.ChunkSize, n-i*s.cfg.ChunkSize)
		if err := m.chunk(ctx, i, count); err != nil {
			return fmt.Errorf("frost: prepare chunk %d: %w", i, err)
		}
		done.Add(count)
		return nil
	})
}

// making is one session of Prepare.
type making struct {
	signer  *Signer
	net     mpc.Network // among the members
	key     *KeyShare
	pool    mpc.PoolID
	quorum  *quorum
	session mpc.SessionID
}

// digest is over what the tuples are for, and two numbers.
func (m *making) digest(domain string, a, b uint64, more ...[]byte) [32]byte {
	group := m.key.Group.Digest
	return mpc.Digest(domain, append([][]byte{group[:], []byte(m.pool.Key), binary.BigEndian.AppendUint64(nil, m.key.Epoch),
		[]byte(m.pool.Set), []byte(m.pool.Stripe), binary.BigEndian.AppendUint64(nil, a), binary.BigEndian.AppendUint64(nil, b)}, more...)...)
}

// chunk makes one chunk, and stores it when all members hold the same view of
// it.
func (m *making) chunk(ctx context.Context, index, count int) error {
	label := "chunk" + strconv.Itoa(index)
	t, err := makeTuples(ctx, m.net, label+"/commit", m.quorum.parties, slices.Repeat([]*edwards25519.Scalar{m.key.Share}, count))
	if err != nil {
		return err
	}
	defer t.erase()
	id := m.digest("zonesigner frost chunk v1", uint64(index), uint64(count), m.session[:], t.commitments)
	if m.signer.holes.noView {
		id = mpc.Digest("label", []byte(label))
	}
	if err := mpc.ConfirmView(ctx, m.net, label+"/view", id, differentViews); err != nil {
		return err
	}
	blob := t.encode()
	defer clear(blob)
	if err := m.signer.cfg.Store.Add([]mpc.PoolChunk{{Pool: m.pool, Chunk: mpc.Chunk{ID: id, Count: count, Blob: blob}}}); err != nil {
		return fmt.Errorf("store it: %w", err)
	}
	return nil
}
