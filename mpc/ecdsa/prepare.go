package ecdsa

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"zonesigner/mpc"
	"zonesigner/mpc/p256"
)

// Prepare makes n tuples for set, in chunks, and stores this party's part:
// bound to key, where it is a member; or, with mpc.Unbound(engine) for key,
// unbound, everywhere. All parties of net (2t+1 or more of the group, with all
// of set among them; for unbound tuples the whole group) call it with the same
// arguments. Chunks that were stored before a failure stay stored.
func (s *Signer) Prepare(ctx context.Context, net mpc.Network, key mpc.KeyID, set mpc.SignerSet, stripe mpc.PartyID, n int, progress func(done int)) error {
	m := &making{signer: s, net: net, pool: mpc.PoolID{Key: key, Set: set.String(), Stripe: stripe}, set: set}
	if err := m.find(key); err != nil {
		return err
	}
	if n < 1 || n > mostTuples {
		return &mpc.ArgumentError{Msg: fmt.Sprintf("ecdsa: prepare %d tuples, 1 to %d are made at once", n, mostTuples)}
	}
	for _, p := range set {
		if !slices.Contains(net.Parties(), p) {
			return &mpc.ArgumentError{Msg: fmt.Sprintf("ecdsa: signer %s is not in the session", p)}
		}
	}
	if m.key == nil && len(net.Parties()) < m.group.N() {
		return &mpc.ArgumentError{Msg: "ecdsa: unbound tuples are made by the whole group"}
	}
	binding := mpc.Digest("zonesigner prepare v2", []byte(key), uint64Bytes(m.epoch()), []byte(m.pool.Set), []byte(stripe),
		uint64Bytes(uint64(n)), uint64Bytes(uint64(s.cfg.ChunkSize)))
	shop, err := m.protocol.start(ctx, net, m.group, binding)
	if err != nil {
		return fmt.Errorf("ecdsa: prepare: %w", err)
	}
	defer shop.close()

	done := mpc.NewProgress(progress)
	chunks := (n + s.cfg.ChunkSize - 1) / s.cfg.ChunkSize
	m.users = usersOf(net, m.keepers(), chunks)
	return mpc.Pipeline(ctx, chunks, s.window(m.protocol.tupleSize(m.group), s.cfg.ChunkSize), nil, func(ctx context.Context, i int) error {
		count := min(s.cfg.ChunkSize, n-i*s.cfg.ChunkSize)
		chunk, err := m.chunk(ctx, shop, i, count)
		if err != nil {
			return fmt.Errorf("ecdsa: prepare chunk %d: %w", i, err)
		}
		if chunk != nil {
			defer clear(chunk.Blob)
			if err := s.cfg.Store.Add([]mpc.PoolChunk{{Pool: m.pool, Chunk: *chunk}}); err != nil {
				return fmt.Errorf("ecdsa: store chunk %d: %w", i, err)
			}
		}
		done.Add(count)
		return nil
	})
}

// making is one session of Prepare.
type making struct {
	signer   *Signer
	net      mpc.Network
	pool     mpc.PoolID
	set      mpc.SignerSet
	protocol Protocol
	group    mpc.Group
	key      *KeyShare     // nil: unbound
	users    []mpc.PartyID // of products
}

// keepers are those who keep a part of a chunk: the members, or, of what is not
// bound, everybody.
func (m *making) keepers() []mpc.PartyID {
	if m.key == nil {
		return m.net.Parties()
	}
	return m.set
}

// usersOf says who is sent products in a session that makes so many chunks, or
// binds so many ranges, of which keepers keep a part. Who is sent nothing waits
// for nobody, so of many everybody is: a helper is never further ahead than it
// has of them in flight.
func usersOf(net mpc.Network, keepers []mpc.PartyID, chunks int) []mpc.PartyID {
	if chunks > 1 {
		return net.Parties()
	}
	return keepers
}

// find looks up what the pool is for.
func (m *making) find(key mpc.KeyID) (err error) {
	if engine, unbound := strings.CutPrefix(string(key), string(mpc.Unbound(""))); unbound {
		m.group = m.signer.cfg.Group()
		m.protocol, err = m.signer.protocol(engine, m.group, m.set)
		return err
	}
	if m.key, m.protocol, err = m.signer.key(key, m.set); err == nil {
		m.group = m.key.Group
	}
	return err
}

func (m *making) epoch() uint64 {
	if m.key == nil {
		return 0
	}
	return m.key.Epoch
}

// chunk makes one chunk (section 4). Who keeps nothing of it helps to multiply,
// and has none.
func (m *making) chunk(ctx context.Context, shop workshop, index, count int) (*mpc.Chunk, error) {
	label := "chunk" + strconv.Itoa(index)
	var binds []binding
	if m.key != nil {
		binds = []binding{{key: m.key.Share, count: count}}
	}
	keepers := m.keepers()
	if !slices.Contains(keepers, m.net.Self()) {
		t, err := shop.nonces(ctx, label, m.users, count, binds, func(*tuples) error { return nil })
		if err != nil {
			return nil, err
		}
		t.erase()
		return nil, nil
	}
	t, own, err := commitNonces(ctx, shop, mpc.Among(m.net, keepers), m.users, m.group, m.set, label, count, binds)
	if err != nil {
		return nil, err
	}
	defer t.erase()
	id := mpc.Digest("zonesigner chunk v1", append([][]byte{t.view[:], []byte(m.pool.Key), uint64Bytes(m.epoch()), []byte(m.pool.Set),
		[]byte(m.pool.Stripe), uint64Bytes(uint64(index)), uint64Bytes(uint64(count))}, own.commitments...)...)
	if m.signer.holes.noView {
		id = mpc.Digest("label", []byte(label))
	}
	if err := confirmChunk(ctx, m.net, keepers, m.protocol, label, id); err != nil {
		return nil, err
	}
	if m.key == nil {
		return &mpc.Chunk{ID: id, Count: count, Blob: encodeUnbound(t.words, count, own)}, nil
	}
	return &mpc.Chunk{ID: id, Count: count, Blob: encodeChunk(t.kInv, t.kInvSK, own)}, nil
}

const differentViews = "operators hold different views of a chunk"

// confirmChunk returns, with an active engine, when all keepers hold the chunk
// with this id. All have opened the same, so another id is a keeper's doing. A
// passive engine compares nothing: under ids that differ nobody agrees to sign.
func confirmChunk(ctx context.Context, net mpc.Network, keepers []mpc.PartyID, engine Protocol, label string, id [32]byte) error {
	if !engine.Active() {
		return nil
	}
	return mpc.ConfirmView(ctx, mpc.Among(net, keepers), label+"/view", id, differentViews)
}

// commitNonces makes n tuples, of products for users, and exchanges commitments to
// the shares of R among net's parties, with all of set among them. A party that
// does not sign has no shares.
//
// Commitments leave before anything is multiplied, and are awaited at the end, so
// that they travel beside the products: they hide what they are to.
func commitNonces(ctx context.Context, shop workshop, net mpc.Network, users []mpc.PartyID, g mpc.Group, set mpc.SignerSet, label string, n int, binds []binding) (*tuples, committed, error) {
	out := committed{commitments: make([][]byte, len(set))}
	round := label + "/commit"
	t, err := shop.nonces(ctx, label, users, n, binds, func(t *tuples) error {
		out.view, out.macs, out.macKey = t.begun, t.macs, t.macKey
		j := slices.Index(set, net.Self())
		if j < 0 {
			return nil
		}
		if err := out.commitTo(t.k, j, g, set); err != nil {
			return err
		}
		for _, p := range net.Parties() {
			if p == net.Self() {
				continue
			}
			if err := net.Send(ctx, p, round, out.commitments[j]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, out, err
	}
	for j, p := range set {
		if p == net.Self() {
			continue
		}
		out.commitments[j], err = net.Recv(ctx, p, round)
		if err == nil && len(out.commitments[j]) != 32*n {
			err = &mpc.CheatError{Parties: []mpc.PartyID{p}, What: fmt.Sprintf("commitments of %d bytes, want %d", len(out.commitments[j]), 32*n)}
		}
		if err != nil {
			t.erase()
			return nil, out, err
		}
	}
	return t, out, nil
}

// commitTo computes shares of R of ks, which it scales, and the commitments to
// them of this party, member j of set.
func (p *committed) commitTo(ks []p256.Scalar, j int, g mpc.Group, set mpc.SignerSet) error {
	opening, err := mpc.NewOpening(g, set, set[j], g.T)
	if err != nil {
		return err
	}
	scale := opening.Scale()
	for i := range ks {
		ks[i] = ks[i].Mul(scale)
	}
	if p.rShares, err = p256.AppendPoints(make([]byte, 0, 64*len(ks)), p256.BaseMultBatch(ks)); err != nil {
		return fmt.Errorf("share of R: %w", err)
	}
	c := newCommitter(p.view, set[j])
	p.commitments[j] = make([]byte, 0, 32*len(ks))
	for i := range ks {
		h := c.commitment(i, p.rShares[64*i:64*i+64])
		p.commitments[j] = append(p.commitments[j], h[:]...)
	}
	return nil
}

func uint64Bytes(u uint64) []byte { return binary.BigEndian.AppendUint64(nil, u) }
