package p256

import (
	"encoding/binary"
	"math/bits"
)

// u256 is a 256-bit number in four words, the least significant first. Its
// fields are plain words, not an array, so that the compiler keeps them in
// registers across calls.
type u256 struct{ l0, l1, l2, l3 uint64 }

func u256FromBytes(b *[32]byte) u256 {
	return u256{
		binary.BigEndian.Uint64(b[24:]),
		binary.BigEndian.Uint64(b[16:]),
		binary.BigEndian.Uint64(b[8:]),
		binary.BigEndian.Uint64(b[0:]),
	}
}

func (x u256) bytes() (b [32]byte) {
	binary.BigEndian.PutUint64(b[0:], x.l3)
	binary.BigEndian.PutUint64(b[8:], x.l2)
	binary.BigEndian.PutUint64(b[16:], x.l1)
	binary.BigEndian.PutUint64(b[24:], x.l0)
	return b
}

// less returns 1 if x < y and 0 otherwise.
func (x u256) less(y u256) uint64 {
	_, borrow := bits.Sub64(x.l0, y.l0, 0)
	_, borrow = bits.Sub64(x.l1, y.l1, borrow)
	_, borrow = bits.Sub64(x.l2, y.l2, borrow)
	_, borrow = bits.Sub64(x.l3, y.l3, borrow)
	return borrow
}

// isZero returns 1 if x = 0 and 0 otherwise.
func (x u256) isZero() uint64 {
	v := x.l0 | x.l1 | x.l2 | x.l3
	return 1 ^ (v|-v)>>63
}

// equal returns 1 if x = y and 0 otherwise.
func (x u256) equal(y u256) uint64 {
	v := x.l0 ^ y.l0 | x.l1 ^ y.l1 | x.l2 ^ y.l2 | x.l3 ^ y.l3
	return 1 ^ (v|-v)>>63
}

// choose returns x if cond = 1 and y if cond = 0.
func choose(cond uint64, x, y u256) u256 {
	m := -cond
	return u256{
		y.l0 ^ m&(x.l0^y.l0),
		y.l1 ^ m&(x.l1^y.l1),
		y.l2 ^ m&(x.l2^y.l2),
		y.l3 ^ m&(x.l3^y.l3),
	}
}

// bits returns the n bits of x from position at, n < 64; bits above the top
// are 0. Position and n are public.
func (x u256) bits(at, n uint) uint64 {
	words := [5]uint64{x.l0, x.l1, x.l2, x.l3}
	i, shift := at/64, at%64
	if i > 3 {
		return 0
	}
	v := words[i]>>shift | words[i+1]<<1<<(63-shift)
	return v & (1<<n - 1)
}

// bitLen is the position of the highest bit set plus one, for public x.
func (x u256) bitLen() int {
	switch {
	case x.l3 != 0:
		return 192 + bits.Len64(x.l3)
	case x.l2 != 0:
		return 128 + bits.Len64(x.l2)
	case x.l1 != 0:
		return 64 + bits.Len64(x.l1)
	}
	return bits.Len64(x.l0)
}
