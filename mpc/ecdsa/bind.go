package ecdsa

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"zonesigner/mpc"
)

// BindRequest says which unbound tuples become those of which keys: the
// tuples of the ranges, in order, are given to the keys, in order.
type BindRequest struct {
	Engine string
	Set    mpc.SignerSet
	Stripe mpc.PartyID
	Tuples []mpc.TupleRange // of the pool (mpc.Unbound(Engine), Set, Stripe)
	Keys   []KeyCount       // their counts add up to those of Tuples
}

// KeyCount is how many tuples a key gets.
type KeyCount struct {
	Key   mpc.KeyID `json:"key"`
	Count int       `json:"count"`
}

// Bind binds unbound tuples to keys: the user-dependent phase of Figure 4
// (section 4). All operators of the group call it with the same request. It
// consumes the unbound tuples, durably and at every operator, before anything
// is opened, so that no nonce is ever bound twice: what fails is destroyed. A
// member of the set then has the bound tuples in pools of the same set and
// stripe; what was bound before a failure stays.
func (s *Signer) Bind(ctx context.Context, net mpc.Network, req BindRequest, progress func(done int)) error {
	b, err := s.newBinder(net, req)
	if err != nil {
		return err
	}
	digest := b.digest()
	shop, err := b.protocol.start(ctx, net, b.group, digest)
	if err != nil {
		return fmt.Errorf("ecdsa: bind: %w", err)
	}
	defer shop.close()
	done := mpc.NewProgress(progress)
	blobs := make([][]byte, len(b.units))
	return mpc.Pipeline(ctx, len(b.units), s.window(b.protocol.tupleSize(b.group), s.cfg.ChunkSize), func(i int) error {
		statement := mpc.Digest("zonesigner bind unit v1", digest[:], uint64Bytes(uint64(i)))
		spent, _, err := s.cfg.Store.Spend([]mpc.PoolRange{{Pool: b.pool, TupleRange: b.units[i].tuples}}, statement)
		if err != nil {
			return fmt.Errorf("ecdsa: bind: %w", err)
		}
		blobs[i] = spent[0]
		return nil
	}, func(ctx context.Context, i int) error {
		blob := blobs[i]
		blobs[i] = nil
		defer clear(blob)
		if err := b.unit(ctx, shop, i, blob); err != nil {
			return fmt.Errorf("ecdsa: bind unit %d: %w", i, err)
		}
		done.Add(b.units[i].tuples.Count)
		return nil
	})
}

// binder is one session of Bind.
type binder struct {
	signer   *Signer
	net      mpc.Network
	req      BindRequest
	group    mpc.Group
	protocol Protocol
	pool     mpc.PoolID
	keys     []*KeyShare
	units    []bindUnit
}

// bindUnit is one range of tuples and the keys that it is for.
type bindUnit struct {
	tuples mpc.TupleRange
	parts  []bindPart
}

type bindPart struct {
	key         *KeyShare
	from, count int // within the unit
}

func (s *Signer) newBinder(net mpc.Network, req BindRequest) (*binder, error) {
	b := &binder{signer: s, net: net, req: req, group: s.cfg.Group(), pool: mpc.PoolID{Key: mpc.Unbound(req.Engine), Set: req.Set.String(), Stripe: req.Stripe}}
	var err error
	if b.protocol, err = s.protocol(req.Engine, b.group, req.Set); err != nil {
		return nil, err
	}
	if !mpc.NewSignerSet(b.group.Parties...).Equal(mpc.NewSignerSet(net.Parties()...)) {
		// That all of them consume the tuples is what a restored disk comes up against.
		return nil, &mpc.ArgumentError{Msg: fmt.Sprintf("ecdsa: binding takes all operators, the session is among %v", net.Parties())}
	}
	wanted := 0
	for _, k := range req.Keys {
		ks, _, err := s.key(k.Key, req.Set)
		if err != nil {
			return nil, err
		}
		if ks.Engine != req.Engine || ks.Group.T != b.group.T || !slices.Equal(ks.Group.Parties, b.group.Parties) || k.Count < 1 || k.Count > mostTuples {
			return nil, &mpc.ArgumentError{Msg: fmt.Sprintf("ecdsa: bind %d tuples of engine %s to key %s of engine %s", k.Count, req.Engine, k.Key, ks.Engine)}
		}
		b.keys = append(b.keys, ks)
		wanted += k.Count
	}
	left := slices.Clone(req.Keys)
	key := 0
	for _, r := range req.Tuples {
		if r.Count < 1 || r.Count > mpc.MaxChunkSize || r.From < 0 || r.From > mpc.MaxChunkSize || r.Count > wanted {
			return nil, &mpc.ArgumentError{Msg: fmt.Sprintf("ecdsa: bind tuples %d+%d, with %d wanted", r.From, r.Count, wanted)}
		}
		wanted -= r.Count
		u := bindUnit{tuples: r}
		for at := 0; at < r.Count; {
			n := min(left[key].Count, r.Count-at)
			u.parts = append(u.parts, bindPart{b.keys[key], at, n})
			at += n
			if left[key].Count -= n; left[key].Count == 0 {
				key++
			}
		}
		b.units = append(b.units, u)
	}
	if wanted != 0 || len(b.units) == 0 {
		return nil, &mpc.ArgumentError{Msg: fmt.Sprintf("ecdsa: %d tuples too few to bind", wanted)}
	}
	return b, nil
}

// mostTuples bounds what is made, or bound to one key, in one session.
const mostTuples = 1 << 24

// digest is over all that the operators must want alike.
func (b *binder) digest() [32]byte {
	fields := [][]byte{[]byte(b.req.Engine), []byte(b.pool.Set), []byte(b.req.Stripe), uint64Bytes(uint64(len(b.req.Tuples)))}
	for _, r := range b.req.Tuples {
		fields = append(fields, r.Chunk[:], uint64Bytes(uint64(r.From)), uint64Bytes(uint64(r.Count)))
	}
	for i, k := range b.req.Keys {
		fields = append(fields, []byte(k.Key), uint64Bytes(b.keys[i].Epoch), uint64Bytes(uint64(k.Count)))
	}
	return mpc.Digest("zonesigner bind v1", fields...)
}

// unit binds one range, whose tuples are consumed.
func (b *binder) unit(ctx context.Context, shop workshop, index int, blob []byte) error {
	u, members := b.units[index], 0
	member := b.req.Set.Contains(b.net.Self())
	if member {
		members = len(b.req.Set)
	}
	words, nonces, err := decodeUnbound(blob, members, u.tuples.From, u.tuples.Count)
	if err != nil {
		return err
	}
	defer clear(words)
	binds := make([]binding, len(u.parts))
	for j, p := range u.parts {
		binds[j] = binding{key: p.key.Share, from: p.from, count: p.count}
	}
	label := "bind" + strconv.Itoa(index)
	t, err := shop.bind(ctx, label, usersOf(b.net, b.req.Set, len(b.units)), words, u.tuples.Count, binds)
	if err != nil {
		return err
	}
	defer t.erase()
	if !member {
		return nil // its shares are erased here
	}
	var ids []byte
	chunks := make([]mpc.PoolChunk, len(u.parts))
	for j, p := range u.parts {
		c := &chunks[j]
		c.Pool = mpc.PoolID{Key: p.key.ID, Set: b.pool.Set, Stripe: b.pool.Stripe}
		c.Count = p.count
		c.ID = mpc.Digest("zonesigner bound chunk v1", t.view[:], u.tuples.Chunk[:], uint64Bytes(uint64(u.tuples.From+p.from)), uint64Bytes(uint64(p.count)),
			[]byte(p.key.ID), uint64Bytes(p.key.Epoch), []byte(c.Pool.Set), []byte(c.Pool.Stripe))
		ids = append(ids, c.ID[:]...)
		c.Blob = encodeChunk(t.kInv[p.from:p.from+p.count], t.kInvSK[p.from:p.from+p.count], nonces.part(p.from, p.count))
		defer clear(c.Blob)
	}
	if err := confirmChunk(ctx, b.net, b.req.Set, b.protocol, label, mpc.Digest("zonesigner bind view v1", ids)); err != nil {
		return err
	}
	return b.signer.cfg.Store.Add(chunks)
}
