// Package p256 holds scalars modulo n, the order of P-256, and points of the
// curve: constant-time where they may be secret, and made for batches. It is
// the arithmetic under every engine.
//
// # Which function for what
//
// Scalar's methods, Select, Sum, InvertBatch, Point's Add, Sub, Double, Neg, Equal and
// Mult, BaseMult and BaseMultBatch are for secrets. For public data alone, and so marked,
// are InvertPublic, MultSmall, MultiScalarMult, VerifyBatch, VerifySignature and Verifier.
// Decoding and encoding take the same time for all good input.
//
// Encode points in batches (AppendPoints) or Normalize them first: leaving
// projective coordinates takes a field inversion, which a batch shares.
//
// # Why arithmetic of our own
//
// A share of a key must not pass through code whose time depends on it.
// math/big is variable-time. gnark-crypto's scalars for secp256r1 are fast but
// branch on comparisons with the modulus. filippo.io/bigmod is constant-time but
// serves every modulus, and takes five times as long as what is here (107 ns to
// 19 ns a multiplication in one run of the benchmarks); saferith is slower yet.
// Four words and a known modulus make arithmetic that is fast in plain Go and
// short enough to be read.
//
// Secret scalar multiplications run in the assembly of filippo.io/nistec. The
// field modulo p is here all the same, because nistec takes an inversion to
// encode each point, a third of a base multiplication, and adds in Jacobian
// coordinates only. With the inversion shared by a batch, encoding is nearly
// free, and an addition in affine coordinates is less than half the work, so
// that the batch check takes 3 to 4 µs a signature.
//
// # Constant time, and how we know
//
// What is for secrets has no branch and no index that depends on a value:
// carries travel as words, choices are masks, the loops have fixed counts, and
// exponents are public constants. Its only primitives are Add64, Sub64 and
// Mul64 of math/bits, whose doc promises constant time. TestConstantTime walks
// the syntax tree from those functions down and refuses any if, switch, &&, ||
// or index that is not on its short list of reasons. That the results are right
// is tested against math/big, filippo.io/bigmod, nistec and crypto/ecdsa, at the
// edges (0, 1, n-1, p-1, 2²⁵⁶-1, words of all ones) and on random numbers, and
// with the vectors of RFC 6979, appendix A.2.5.
//
// Three things do show: whether a point is the identity, whether it is normalized,
// and whether a scalar that InvertBatch inverts is zero. None tells of a secret
// unless a secret is zero.
package p256
