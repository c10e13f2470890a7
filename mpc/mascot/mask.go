package mascot

import (
	"crypto/aes"
	"encoding/binary"

	"zonesigner/mpc/p256"
)

// A mask is a pseudo-random scalar: 32 bytes of a stream taken as its words in
// Montgomery form, little-endian, if that is a number below the group's order,
// and else the next try, whose bytes come from elsewhere. So masks are exactly
// uniform if the stream is, and no arithmetic makes them. All parties that know
// the stream come to the same. One try in 2³² begins with 32 ones: that another
// is made shows in the time that it takes, and tells of what is thrown away.
//
// Messages of scalars have the same form.
const scalarSize = 32

// suspicious is the least value of the highest word of a number that may not be
// below the order.
const suspicious = 0xffffffff << 32

// load reads a scalar, of a mask that is settled or a message that was checked.
func load(b []byte) p256.Scalar {
	_ = b[scalarSize-1]
	return p256.ScalarFromMontgomery(binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:]),
		binary.LittleEndian.Uint64(b[16:]), binary.LittleEndian.Uint64(b[24:]))
}

// store writes a scalar for a message.
func store(b []byte, x p256.Scalar) {
	_ = b[scalarSize-1]
	w0, w1, w2, w3 := x.Montgomery()
	binary.LittleEndian.PutUint64(b, w0)
	binary.LittleEndian.PutUint64(b[8:], w1)
	binary.LittleEndian.PutUint64(b[16:], w2)
	binary.LittleEndian.PutUint64(b[24:], w3)
}

// below reports whether 32 bytes are a scalar.
func below(b []byte) bool {
	return p256.IsMontgomery(binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:]),
		binary.LittleEndian.Uint64(b[16:]), binary.LittleEndian.Uint64(b[24:]))
}

// fillMasks makes masks of a seed: dst, of 32 bytes for each.
func (st *streams) fillMasks(dst []byte, s *seed) {
	st.fill(dst, s)
	for i := 0; i < len(dst); i += scalarSize {
		mask := dst[i : i+scalarSize]
		if binary.LittleEndian.Uint64(mask[24:]) < suspicious {
			continue
		}
		for attempt := 1; !below(mask); attempt++ {
			st.tryAgain(mask, s, i, attempt)
		}
	}
}

// tryAgain makes the attempt-th further try of the mask at byte i of a stream,
// from blocks that lie behind all first tries.
func (st *streams) tryAgain(mask []byte, s *seed, i, attempt int) {
	st.blocks(mask, s, uint64(attempt)<<32+uint64(i/aes.BlockSize))
}

// canonical reports whether b consists of scalars, 32 bytes each. It is for what
// peers sent, which they know: its time may vary.
func canonical(b []byte) bool {
	for ; len(b) >= scalarSize; b = b[scalarSize:] {
		if binary.LittleEndian.Uint64(b[24:]) >= suspicious && !below(b) {
			return false
		}
	}
	return len(b) == 0
}
