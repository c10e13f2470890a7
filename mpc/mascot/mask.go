package mascot

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"

	"zonesigner/mpc"
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

// maskIV is where a call's masks are in every stream; the last four bytes count
// blocks.
func maskIV(call []byte) []byte {
	d := mpc.Digest("zonesigner mascot masks v1", call)
	clear(d[12:aes.BlockSize])
	return d[:aes.BlockSize]
}

// fillMasks makes masks of a stream: dst, of 32 bytes for each, from block's
// stream at iv, of which the last four bytes are 0.
func fillMasks(dst []byte, block cipher.Block, iv []byte) {
	keystream(dst, block, iv)
	for i := 0; i < len(dst); i += scalarSize {
		mask := dst[i : i+scalarSize]
		if binary.LittleEndian.Uint64(mask[24:]) < suspicious {
			continue
		}
		for attempt := 1; !below(mask); attempt++ {
			tryAgain(mask, block, iv, i, attempt)
		}
	}
}

// tryAgain makes the attempt-th further try of the mask at byte i of a stream,
// from a part of it that lies behind all first tries.
func tryAgain(b []byte, block cipher.Block, iv []byte, i, attempt int) {
	at := [aes.BlockSize]byte(iv)
	binary.BigEndian.PutUint32(at[12:], uint32(attempt)<<24+uint32(i/aes.BlockSize))
	keystream(b, block, at[:])
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
