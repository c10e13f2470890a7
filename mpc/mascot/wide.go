package mascot

import (
	"encoding/binary"
	"math/bits"

	"zonesigner/mpc/p256"
)

// maskSize is how many pseudo-random bytes make one mask: modulo the group's
// order its bias is below 2^-128.
const maskSize = 48

// wide is a number below 2⁴⁴⁸ in seven words, the least significant first.
// Sums of masks are kept so and reduced rarely. All its methods take the same
// time for all values.
type wide [7]uint64

// add adds b, 48 bytes, little-endian.
func (w *wide) add(b []byte) { w.addIf(b, ^uint64(0)) }

// addIf adds b, 48 bytes, little-endian, if mask is all ones, and nothing if
// it is 0.
func (w *wide) addIf(b []byte, mask uint64) {
	_ = b[maskSize-1]
	var c uint64
	w[0], c = bits.Add64(w[0], binary.LittleEndian.Uint64(b)&mask, 0)
	w[1], c = bits.Add64(w[1], binary.LittleEndian.Uint64(b[8:])&mask, c)
	w[2], c = bits.Add64(w[2], binary.LittleEndian.Uint64(b[16:])&mask, c)
	w[3], c = bits.Add64(w[3], binary.LittleEndian.Uint64(b[24:])&mask, c)
	w[4], c = bits.Add64(w[4], binary.LittleEndian.Uint64(b[32:])&mask, c)
	w[5], c = bits.Add64(w[5], binary.LittleEndian.Uint64(b[40:])&mask, c)
	w[6] += c
}

// addScalarIf adds b, the 32 bytes of a scalar, big-endian, if mask is all ones.
func (w *wide) addScalarIf(b []byte, mask uint64) {
	_ = b[p256.ScalarSize-1]
	var c uint64
	w[0], c = bits.Add64(w[0], binary.BigEndian.Uint64(b[24:])&mask, 0)
	w[1], c = bits.Add64(w[1], binary.BigEndian.Uint64(b[16:])&mask, c)
	w[2], c = bits.Add64(w[2], binary.BigEndian.Uint64(b[8:])&mask, c)
	w[3], c = bits.Add64(w[3], binary.BigEndian.Uint64(b)&mask, c)
	w[4], c = bits.Add64(w[4], 0, c)
	w[5], c = bits.Add64(w[5], 0, c)
	w[6] += c
}

// addWide adds v << shift, for shift < 64.
func (w *wide) addWide(v *wide, shift uint) {
	var c uint64
	w[0], c = bits.Add64(w[0], v[0]<<shift, 0)
	for i := 1; i < len(w); i++ {
		w[i], c = bits.Add64(w[i], v[i]<<shift|v[i-1]>>(64-shift), c)
	}
}

// addWideIf adds v if mask is all ones.
func (w *wide) addWideIf(v *wide, mask uint64) {
	var c uint64
	for i := range w {
		w[i], c = bits.Add64(w[i], v[i]&mask, c)
	}
}

// double doubles w times times, for times < 64.
func (w *wide) double(times uint) {
	for i := len(w) - 1; i > 0; i-- {
		w[i] = w[i]<<times | w[i-1]>>(64-times)
	}
	w[0] <<= times
}

// multiple is 2¹²⁹·n for the group's order n: more than any mask.
var multiple = func() wide {
	n := wide{0xf3b9cac2fc632551, 0xbce6faada7179e84, 0xffffffffffffffff, 0xffffffff00000000}
	return wide{0, 0, n[0] << 1, n[1]<<1 | n[0]>>63, n[2]<<1 | n[1]>>63, n[3]<<1 | n[2]>>63, n[3] >> 63}
}()

// addDifference adds a mask less another, 48 bytes each, little-endian, and
// enough of multiples of the order that it is not negative.
func (w *wide) addDifference(x, y []byte) {
	v := multiple
	_ = y[maskSize-1]
	var c uint64
	v[0], c = bits.Sub64(v[0], binary.LittleEndian.Uint64(y), 0)
	v[1], c = bits.Sub64(v[1], binary.LittleEndian.Uint64(y[8:]), c)
	v[2], c = bits.Sub64(v[2], binary.LittleEndian.Uint64(y[16:]), c)
	v[3], c = bits.Sub64(v[3], binary.LittleEndian.Uint64(y[24:]), c)
	v[4], c = bits.Sub64(v[4], binary.LittleEndian.Uint64(y[32:]), c)
	v[5], c = bits.Sub64(v[5], binary.LittleEndian.Uint64(y[40:]), c)
	v[6] -= c
	v.add(x)
	w.addWide(&v, 0)
}

// negate makes a sum of masks below 2³⁸⁸ its negative modulo the order.
func (w *wide) negate() {
	v := multiple
	v.double(4)
	var c uint64
	for i := range w {
		w[i], c = bits.Sub64(v[i], w[i], c)
	}
}

// mask is the scalar that a sum of masks stands for.
func (w *wide) mask() p256.Scalar { return p256.MaskScalar((*[7]uint64)(w)) }

// masked is the encoding of a scalar plus a sum of masks, given its own.
func (w *wide) masked(x *[p256.ScalarSize]byte) [p256.ScalarSize]byte {
	return p256.AddMask(x, (*[7]uint64)(w))
}

// scalar is w modulo the group's order, for a sum of scalars.
func (w *wide) scalar() p256.Scalar {
	var b [56]byte
	for i, word := range w {
		binary.BigEndian.PutUint64(b[48-8*i:], word)
	}
	return p256.ScalarFromWide(b[:])
}

// powerOfTwo returns 2ᵏ for k < 64.
func powerOfTwo(k int) p256.Scalar { return p256.NewScalar(1 << k) }

// canonical reports whether b consists of scalars in their only encoding, 32
// bytes each. It is for what peers sent, which they know: its time may vary.
func canonical(b []byte) bool {
	for ; len(b) >= p256.ScalarSize; b = b[p256.ScalarSize:] {
		if binary.BigEndian.Uint32(b) == 0xffffffff { // few honest ones come so far
			if _, err := p256.ScalarFromBytes(b[:p256.ScalarSize]); err != nil {
				return false
			}
		}
	}
	return len(b) == 0
}
