package mascot

import "encoding/binary"

// Bits lie in byte strings with the lowest bit of the first byte first.

// bit returns bit k of b.
func bit(b []byte, k int) uint64 { return uint64(b[k>>3]>>(k&7)) & 1 }

// rowSize is the length of a row of the matrix: as many bits as it has columns.
const (
	columns = 128
	rowSize = columns / 8
)

// words returns the first 16 bytes of b as two words.
func words(b []byte) (lo, hi uint64) {
	_ = b[15]
	return binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])
}

// setWords is the inverse of words.
func setWords(b []byte, lo, hi uint64) {
	_ = b[15]
	binary.LittleEndian.PutUint64(b, lo)
	binary.LittleEndian.PutUint64(b[8:], hi)
}

// transpose turns 128 columns of n bits each, n a multiple of 64, into n rows
// of 128 bits. cols[i] holds at least n/8 bytes; rows are 16 bytes each.
func transpose(cols *[columns][]byte, n int) []byte {
	rows := make([]byte, rowSize*n)
	var block [64]uint64
	for at := 0; at < n; at += 64 {
		for half := range 2 {
			for i := range block {
				block[i] = binary.LittleEndian.Uint64(cols[64*half+i][at/8:])
			}
			transpose64(&block)
			for i, word := range block {
				binary.LittleEndian.PutUint64(rows[rowSize*(at+i)+8*half:], word)
			}
		}
	}
	return rows
}

// transpose64 swaps bit j of word i with bit i of word j: first the two
// quarters of the matrix off its diagonal, then in each quarter the same
// (Warren, Hacker's Delight, section 7-3).
func transpose64(a *[64]uint64) {
	mask := uint64(0x00000000ffffffff)
	for j := 32; j != 0; j >>= 1 {
		for k := 0; k < 64; k = (k + j + 1) &^ j {
			t := (a[k]>>j ^ a[k+j]) & mask
			a[k] ^= t << j
			a[k+j] ^= t
		}
		mask ^= mask << (j >> 1)
	}
}

// xor sets dst ^= src if mask is all ones; both have the same length.
func xorIf(dst, src []byte, mask byte) {
	wide := uint64(mask) * 0x0101010101010101
	i := 0
	for ; i+8 <= len(dst); i += 8 {
		v := binary.LittleEndian.Uint64(dst[i:]) ^ binary.LittleEndian.Uint64(src[i:])&wide
		binary.LittleEndian.PutUint64(dst[i:], v)
	}
	for ; i < len(dst); i++ {
		dst[i] ^= src[i] & mask
	}
}
