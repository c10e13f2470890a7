package shamir

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"

	"zonesigner/mpc"
	"zonesigner/mpc/p256"
)

// wide is how many bytes of the stream make one scalar: reduced modulo the
// group's order their bias is below 2^-128.
const wide = 48

// stream is a seed's pseudo-random stream for one box: AES-256 in counter
// mode. All holders read the same amounts in the same order.
type stream struct {
	cipher.Stream
	seed *seed
}

func (a *seed) stream(id mpc.SessionID, label string) stream {
	info := "zonesigner shamir stream v1\x00" + label + "\x00" + a.name
	key, err := hkdf.Key(sha256.New, a.key[:], id[:], info, 32)
	if err != nil {
		panic("shamir: " + err.Error()) // 32 bytes are always within HKDF's bounds
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		panic("shamir: " + err.Error()) // 32 bytes are always a key
	}
	clear(key)
	return stream{cipher.NewCTR(block, make([]byte, aes.BlockSize)), a}
}

// addTo adds n scalars of the stream, times coeff, to sums.
func (s stream) addTo(sums []p256.Scalar, coeff p256.Scalar, scratch []byte) {
	buf := scratch[:wide*len(sums)]
	clear(buf)
	s.XORKeyStream(buf, buf)
	for i := range sums {
		sums[i] = sums[i].Add(p256.ScalarFromWide(buf[wide*i : wide*(i+1)]).Mul(coeff))
	}
	clear(buf)
}

// random returns shares of n uniform values: pseudo-random secret sharing.
func (b *box) random(n int) []Share {
	shares, scratch := make([]Share, n), make([]byte, wide*n)
	for _, s := range b.streams {
		s.addTo(shares, s.seed.f, scratch)
	}
	return shares
}

// addZeros adds to each of shares, of degree 2t, a fresh sharing of 0 that is
// uniform among those of its degree.
func (b *box) addZeros(shares []Share) {
	scratch := make([]byte, wide*len(shares))
	for _, s := range b.streams {
		for _, coeff := range s.seed.zeros {
			if b.engine.holes.noMask {
				coeff = p256.Scalar{}
			}
			s.addTo(shares, coeff, scratch)
		}
	}
}
