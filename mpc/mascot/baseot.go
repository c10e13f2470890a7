package mascot

import (
	"crypto/elliptic"
	"crypto/rand"
	"encoding/binary"
	"fmt"

	"zonesigner/mpc"
	"zonesigner/mpc/p256"
)

// The base transfers are endemic OT by Diffie-Hellman (Masny, Rindal, "Endemic
// Oblivious Transfer", CCS 2019, Figure 8): one message each way, and they may
// cross. With H a hash to points, the receiver with choice c draws a and r at
// random and sends (R₀, R₁) with R₁₋c = r·G and Rc = a·G - H(1-c, R₁₋c); the
// sender sends B = b·G. The keys are the hashes of b·(Rᵢ + H(1-i, R₁₋ᵢ)), of
// which the receiver knows a·B. Either side may bias its own keys, which is
// all that transfer extension needs of them (there, section 5).

// seedSize is the length of what is transferred, in bytes: an AES-128 key.
const seedSize = 16

type seed = [seedSize]byte

// baseReceiver is one party's state as receiver of base transfers from one peer.
type baseReceiver struct {
	choices []byte // a bit each
	a       []p256.Scalar
	msg     []byte
}

// baseSender is one party's state as sender of base transfers to one peer.
type baseSender struct {
	b   []p256.Scalar
	msg []byte
}

const (
	baseRequest = 2 * p256.PointSize // of a receiver, for one transfer
	baseReply   = p256.PointSize     // of a sender
)

// newBaseReceiver begins n transfers from a sender; name is that of this pair
// and direction in this session. choices has n bits.
func newBaseReceiver(name []byte, choices []byte, n int) (*baseReceiver, error) {
	r := &baseReceiver{choices: choices, a: make([]p256.Scalar, n), msg: make([]byte, 0, baseRequest*n)}
	blind := make([]p256.Scalar, n)
	for i := range n {
		r.a[i], blind[i] = randomScalar(), randomScalar()
	}
	own, other := p256.BaseMultBatch(r.a), p256.BaseMultBatch(blind)
	clear(blind)
	for i := range n {
		c := bit(choices, i)
		hashed, err := other[i].Bytes()
		if err != nil {
			return nil, fmt.Errorf("base transfer %d: %w", i, err)
		}
		chosen, err := own[i].Sub(hashToPoint(name, i, byte(1-c), hashed[:])).Bytes()
		if err != nil {
			return nil, fmt.Errorf("base transfer %d: %w", i, err)
		}
		// The time of hashing depends on the point. The other one is hashed
		// too, so that the sum tells nothing of which it was.
		hashToPoint(name, i, byte(c), chosen[:])
		swap := -byte(c) // c = 0: the chosen one first
		for k := range chosen {
			d := (chosen[k] ^ hashed[k]) & swap
			chosen[k] ^= d
			hashed[k] ^= d
		}
		r.msg = append(append(r.msg, chosen[:]...), hashed[:]...)
	}
	return r, nil
}

// keys returns the chosen keys, given the sender's message.
func (r *baseReceiver) keys(name []byte, from mpc.PartyID, msg []byte) ([]seed, error) {
	points, err := p256.DecodePoints(msg, len(r.a))
	if err != nil {
		return nil, &mpc.CheatError{Parties: []mpc.PartyID{from}, What: "base transfers: " + err.Error()}
	}
	for i := range points {
		points[i] = points[i].Mult(r.a[i])
	}
	p256.Normalize(points)
	keys := make([]seed, len(points))
	for i, p := range points {
		if keys[i], err = baseKey(name, i, byte(bit(r.choices, i)), r.msg[baseRequest*i:], msg[baseReply*i:], p); err != nil {
			return nil, fmt.Errorf("base transfer %d: %w", i, err)
		}
	}
	return keys, nil
}

func newBaseSender(n int) (*baseSender, error) {
	s := &baseSender{b: make([]p256.Scalar, n)}
	for i := range s.b {
		s.b[i] = randomScalar()
	}
	var err error
	if s.msg, err = p256.AppendPoints(nil, p256.BaseMultBatch(s.b)); err != nil {
		return nil, fmt.Errorf("base transfers: %w", err)
	}
	return s, nil
}

// keys returns both keys of each transfer, given the receiver's message.
func (s *baseSender) keys(name []byte, from mpc.PartyID, msg []byte) ([][2]seed, error) {
	points, err := p256.DecodePoints(msg, 2*len(s.b))
	if err != nil {
		return nil, &mpc.CheatError{Parties: []mpc.PartyID{from}, What: "base transfers: " + err.Error()}
	}
	for i := range s.b {
		request := msg[baseRequest*i:]
		h0 := hashToPoint(name, i, 0, request[:p256.PointSize])
		h1 := hashToPoint(name, i, 1, request[p256.PointSize:baseRequest])
		points[2*i] = points[2*i].Add(h1).Mult(s.b[i])
		points[2*i+1] = points[2*i+1].Add(h0).Mult(s.b[i])
	}
	p256.Normalize(points)
	keys := make([][2]seed, len(s.b))
	for i := range keys {
		for c := range 2 {
			if keys[i][c], err = baseKey(name, i, byte(c), msg[baseRequest*i:], s.msg[baseReply*i:], points[2*i+c]); err != nil {
				return nil, &mpc.CheatError{Parties: []mpc.PartyID{from}, What: fmt.Sprintf("base transfer %d: %v", i, err)}
			}
		}
	}
	return keys, nil
}

// baseKey hashes a transfer's transcript and the point that both know.
func baseKey(name []byte, i int, c byte, request, reply []byte, p p256.Point) (seed, error) {
	b, err := p.Bytes()
	if err != nil {
		return seed{}, err
	}
	d := mpc.Digest("zonesigner mascot base key v1", name, binary.BigEndian.AppendUint32([]byte{c}, uint32(i)),
		request[:baseRequest], reply[:baseReply], b[:])
	return seed(d[:seedSize]), nil
}

// hashToPoint maps point, in slot of transfer i, to a point of which nobody
// knows the logarithm: the first counter whose hash is an x coordinate. Its
// time depends on its arguments, all of which are sent.
func hashToPoint(name []byte, i int, slot byte, point []byte) p256.Point {
	in := binary.BigEndian.AppendUint32([]byte{slot}, uint32(i))
	compressed := make([]byte, 33)
	for counter := uint32(0); ; counter++ {
		d := mpc.Digest("zonesigner mascot base point v1", name, in, point, binary.BigEndian.AppendUint32(nil, counter))
		compressed[0] = 2
		copy(compressed[1:], d[:])
		x, y := elliptic.UnmarshalCompressed(elliptic.P256(), compressed)
		if x == nil {
			continue
		}
		var b [p256.PointSize]byte
		x.FillBytes(b[:32])
		y.FillBytes(b[32:])
		if p, err := p256.PointFromBytes(b[:]); err == nil {
			return p
		}
	}
}

// randomScalar is uniform, from the system's randomness, which never fails.
func randomScalar() p256.Scalar {
	var b [48]byte
	_, _ = rand.Read(b[:])
	s := p256.ScalarFromWide(b[:])
	clear(b[:])
	return s
}
