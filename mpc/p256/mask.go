package p256

// A mask is a pseudo-random number of 384 bits or a sum of such, in seven
// words, the least significant first. It stands for the scalar w/2²⁵⁶ mod n,
// which takes a single reduction and is as uniform as w mod n is. The map is
// linear, so masks may be added up long before they are reduced.

// MaskScalar returns the scalar that mask w stands for, in constant time.
func MaskScalar(w *[7]uint64) Scalar {
	return Scalar{mulN(montgomeryN(w[0], w[1], w[2], w[3], w[4], w[5], w[6], 0), scalarR2)}
}

// AddMask returns the encoding of x plus what mask w stands for, given the
// encoding of x, in constant time.
func AddMask(x *[ScalarSize]byte, w *[7]uint64) [ScalarSize]byte {
	mask := Scalar{montgomeryN(w[0], w[1], w[2], w[3], w[4], w[5], w[6], 0)}
	return mask.Add(Scalar{u256FromBytes(x)}).m.bytes()
}
