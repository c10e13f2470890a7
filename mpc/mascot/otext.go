package mascot

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"fmt"

	"zonesigner/mpc"
	"zonesigner/mpc/p256"
)

// Transfer extension is that of Keller, Orsini and Scholl ("Actively Secure OT
// Extension with Optimal Overhead", CRYPTO 2015) with the consistency check
// column by column, as Roy ("SoftSpokenOT", CRYPTO 2022) has it and the revised
// KOS: a universal hash of every column. (The first version of the check, over
// rows, has a proof with a gap.) docs/protocol.md says what it gives.

// extensionSender can send transfers to one peer: it has one seed of each
// column, as its correlation bits chose.
type extensionSender struct {
	peer  mpc.PartyID
	delta [rowSize]byte // secret
	seeds [columns]cipher.Block
}

// extensionReceiver can receive transfers from one peer: it has both seeds of
// each column.
type extensionReceiver struct {
	seeds [columns][2]cipher.Block
}

// checkBits are the random bits that hide the choices in the check.
const checkBits = 128

// extensionSize is the length of a receiver's message for n transfers: the
// masked columns, then the hashes of the choices and of the columns.
func extensionSize(n int) int { return columns*(n+checkBits)/8 + tagSize*(1+columns) }

// receive begins n transfers, n a multiple of 128, with the given choice bits.
// It returns the message to the sender and, for each transfer, the row by
// which the chosen string is masked. call names this use of the session.
func (e *extensionReceiver) receive(call []byte, choices []byte, n int, holes *holes) (msg, rows []byte) {
	size := (n + checkBits) / 8
	x := make([]byte, size)
	copy(x, choices[:n/8])
	_, _ = rand.Read(x[n/8:])
	defer clear(x)
	msg = make([]byte, extensionSize(n))
	var cols [columns][]byte
	flat := make([]byte, columns*size)
	iv := streamIV(call)
	for i := range cols {
		cols[i] = flat[size*i : size*(i+1)]
		cipher.NewCTR(e.seeds[i][0], iv).XORKeyStream(cols[i], cols[i])
		u := msg[size*i : size*(i+1)]
		cipher.NewCTR(e.seeds[i][1], iv).XORKeyStream(u, cols[i])
		xorIf(u, x, 0xff)
		if holes.column != nil {
			holes.column(i, u)
		}
	}
	hash := newColumnHash(call, msg[:columns*size])
	tags := msg[columns*size:]
	copy(tags, hash.sum(x))
	for i := range cols {
		copy(tags[tagSize*(1+i):], hash.sum(cols[i]))
	}
	return msg, transpose(&cols, n)
}

// send returns the sender's rows, given the receiver's message: for choice 0
// row k itself is the receiver's, for choice 1 it is row k plus delta.
func (e *extensionSender) send(call []byte, msg []byte, n int, holes *holes) (rows []byte, err error) {
	if len(msg) != extensionSize(n) {
		return nil, &mpc.CheatError{Parties: []mpc.PartyID{e.peer}, What: fmt.Sprintf("transfers: message of %d bytes, want %d", len(msg), extensionSize(n))}
	}
	size := (n + checkBits) / 8
	var cols [columns][]byte
	flat := make([]byte, columns*size)
	iv := streamIV(call)
	hash := newColumnHash(call, msg[:columns*size])
	tags := msg[columns*size:]
	same := byte(0)
	for i := range cols {
		cols[i] = flat[size*i : size*(i+1)]
		chosen := -byte(bit(e.delta[:], i))
		cipher.NewCTR(e.seeds[i], iv).XORKeyStream(cols[i], cols[i])
		xorIf(cols[i], msg[size*i:size*(i+1)], chosen)
		sum := hash.sum(cols[i])
		for k := range sum {
			same |= sum[k] ^ tags[tagSize*(1+i)+k] ^ tags[k]&chosen
		}
	}
	if same != 0 && !holes.noConsistency {
		return nil, &mpc.CheatError{Parties: []mpc.PartyID{e.peer}, What: "transfers: its columns do not fit together"}
	}
	return transpose(&cols, n), nil
}

// streamIV is where a call's part of every stream begins: calls with different
// names read different parts.
func streamIV(call []byte) []byte {
	d := mpc.Digest("zonesigner mascot stream v1", call)
	iv := make([]byte, aes.BlockSize)
	copy(iv, d[:12]) // the last four bytes count blocks
	return iv
}

const tagSize = 16

// columnHash is a linear universal hash of bit strings of one length: a
// polynomial over GF(2¹²⁸) at a point that the hashed message fixes, by GCM's
// hash, for which processors have instructions. Two strings of m blocks have
// the same hash for at most m+1 of the 2¹²⁸ points.
type columnHash struct {
	aead cipher.AEAD
	zero []byte // what GCM adds
}

func newColumnHash(call, msg []byte) *columnHash {
	key := mpc.Digest("zonesigner mascot columns v1", call, msg)
	aead, err := cipher.NewGCM(newCipher(key[:16]))
	if err != nil {
		panic("mascot: " + err.Error()) // AES always fits GCM
	}
	return &columnHash{aead: aead}
}

// sum returns the 16 bytes of column's hash. It is linear: the hash of a sum
// is the sum of the hashes.
func (h *columnHash) sum(column []byte) []byte {
	var nonce [12]byte
	if h.zero == nil {
		h.zero = h.aead.Seal(nil, nonce[:], nil, make([]byte, len(column)))
	}
	tag := h.aead.Seal(make([]byte, 0, tagSize), nonce[:], nil, column)
	for i := range tag {
		tag[i] ^= h.zero[i]
	}
	return tag
}

// rowHash makes masks of rows: the tweakable correlation-robust hash of a fixed
// permutation π, π(π(x)⊕i)⊕π(x) (Guo, Katz, Wang, Yu, "Efficient and Secure
// Multiparty Computation from Fixed-Key Block Ciphers", S&P 2020, section 7.4),
// π being AES-128 under a key of this call. A key serves one call so that an
// adversary's blocks count against one call's rows only. The tweak i is the
// number of the transfer and that of the block.
type rowHash struct {
	pi      cipher.Block
	in, out [aes.BlockSize]byte
	y0, y1  uint64 // π(x)
}

func newRowHash(call []byte) *rowHash {
	key := mpc.Digest("zonesigner mascot rows v1", call)
	return &rowHash{pi: newCipher(key[:16])}
}

// row begins the masks of one row, of transfer k.
func (h *rowHash) row(lo, hi uint64, k int) {
	binary.LittleEndian.PutUint64(h.in[:], lo)
	binary.LittleEndian.PutUint64(h.in[8:], hi)
	h.pi.Encrypt(h.out[:], h.in[:])
	h.y0, h.y1 = binary.LittleEndian.Uint64(h.out[:]), binary.LittleEndian.Uint64(h.out[8:])
	binary.LittleEndian.PutUint64(h.in[8:], h.y1^uint64(k))
}

// block returns block i of the row's masks.
func (h *rowHash) block(i int) (lo, hi uint64) {
	binary.LittleEndian.PutUint64(h.in[:], h.y0^uint64(i))
	h.pi.Encrypt(h.out[:], h.in[:])
	return binary.LittleEndian.Uint64(h.out[:]) ^ h.y0, binary.LittleEndian.Uint64(h.out[8:]) ^ h.y1
}

// scalar returns mask c of the row as a scalar.
func (h *rowHash) scalar(c int) p256.Scalar {
	w0, w1 := h.block(2 * c)
	w2, w3 := h.block(2*c + 1)
	if w3 >= suspicious {
		return h.settled(c, w0, w1, w2, w3)
	}
	return p256.ScalarFromMontgomery(w0, w1, w2, w3)
}

// settled is scalar for a first try that may be too large. Further ones are of
// blocks that no mask begins with.
func (h *rowHash) settled(c int, w0, w1, w2, w3 uint64) p256.Scalar {
	for attempt := 1; !p256.IsMontgomery(w0, w1, w2, w3); attempt++ {
		w0, w1 = h.block(attempt<<16 + 2*c)
		w2, w3 = h.block(attempt<<16 + 2*c + 1)
	}
	return p256.ScalarFromMontgomery(w0, w1, w2, w3)
}

// seed returns the row's mask for a string of 16 bytes.
func (h *rowHash) seed() (s seed) {
	lo, hi := h.block(0)
	binary.LittleEndian.PutUint64(s[:], lo)
	binary.LittleEndian.PutUint64(s[8:], hi)
	return s
}

func newCipher(key []byte) cipher.Block {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic("mascot: " + err.Error()) // 16 bytes are always a key
	}
	return block
}
