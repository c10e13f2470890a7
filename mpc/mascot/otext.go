package mascot

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"

	"zonesigner/mpc"
)

// Transfer extension is that of Keller, Orsini and Scholl ("Actively Secure OT
// Extension with Optimal Overhead", CRYPTO 2015) with the consistency check
// column by column, as Roy ("SoftSpokenOT", CRYPTO 2022) has it and the revised
// KOS: a universal hash of every column. (The first version of the check, over
// rows, has a proof with a gap.) docs/protocol.md says what it gives.

// extensionSender can send transfers to one peer: it has one seed of each
// column, as its correlation bits chose.
//
// A receiver that cheats guesses bits of the correlation. Messages are checked one
// after the other, however many are under way, and the first inconsistent one is
// the last: so all guesses but that were right.
type extensionSender struct {
	peer  mpc.PartyID
	delta [rowSize]byte // secret
	seeds [columns]seed

	mu      sync.Mutex
	spoiled bool // its correlation was guessed at
}

// extensionReceiver can receive transfers from one peer: it has both seeds of
// each column.
type extensionReceiver struct {
	seeds [columns][2]seed
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
	streams := newStreams(call)
	for i := range cols {
		cols[i] = flat[size*i : size*(i+1)]
		streams.fill(cols[i], &e.seeds[i][0])
		u := msg[size*i : size*(i+1)]
		streams.fill(u, &e.seeds[i][1])
		xorIf(u, cols[i], 0xff)
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
	if err := e.check(call, msg, &cols, flat, holes); err != nil {
		return nil, err
	}
	return transpose(&cols, n), nil
}

// check makes the columns in flat, and wants them to fit together.
func (e *extensionSender) check(call, msg []byte, cols *[columns][]byte, flat []byte, holes *holes) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.spoiled && !holes.keepSpoiled {
		return &mpc.CheatError{Parties: []mpc.PartyID{e.peer}, What: "transfers: it guessed at the correlation before"}
	}
	size := len(flat) / columns
	streams := newStreams(call)
	hash := newColumnHash(call, msg[:columns*size])
	tags := msg[columns*size:]
	same := byte(0)
	for i := range cols {
		cols[i] = flat[size*i : size*(i+1)]
		chosen := -byte(bit(e.delta[:], i))
		streams.fill(cols[i], &e.seeds[i])
		xorIf(cols[i], msg[size*i:size*(i+1)], chosen)
		sum := hash.sum(cols[i])
		for k := range sum {
			same |= sum[k] ^ tags[tagSize*(1+i)+k] ^ tags[k]&chosen
		}
	}
	if same != 0 && !holes.noConsistency {
		e.spoiled = true
		return &mpc.CheatError{Parties: []mpc.PartyID{e.peer}, What: "transfers: its columns do not fit together"}
	}
	return nil
}

func (e *extensionSender) isSpoiled() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.spoiled
}

// erase clears the correlation and the seeds. Key schedules of long streams are
// in crypto/aes, which has no way to clear them: that memory is free.
func (e *extensionSender) erase() {
	e.mu.Lock()
	defer e.mu.Unlock()
	clear(e.delta[:])
	clear(e.seeds[:])
}

func (e *extensionReceiver) erase() { clear(e.seeds[:]) }

// streams are what seeds give in one call.
type streams struct {
	pi cipher.Block        // of short streams: AES under a key of this call
	iv [aes.BlockSize]byte // of long ones
}

// shortStream is the length up to which a stream is made without a key schedule
// of its own, which costs as much as 20 blocks, and as much memory.
const shortStream = 32 * aes.BlockSize

// newStreams are those of a call, of whose names a party may try to bring some
// about: key and iv are hashes of it, of 128 bits.
func newStreams(call []byte) *streams {
	key := mpc.Digest("zonesigner mascot stream v1", call)
	return &streams{pi: newCipher(key[:16]), iv: [aes.BlockSize]byte(key[16:])}
}

// fill makes dst, of whole blocks, the seed's stream. Of a short one block i is
// π(s⊕i)⊕s⊕i, a longer one is AES under the seed in counter mode. Streams of two
// lengths are not alike.
func (st *streams) fill(dst []byte, s *seed) {
	if len(dst) > shortStream {
		clear(dst)
		cipher.NewCTR(newCipher(s[:]), st.iv[:]).XORKeyStream(dst, dst)
		return
	}
	st.blocks(dst, s, 0)
}

// blocks makes dst the short stream's blocks from the first on.
func (st *streams) blocks(dst []byte, s *seed, first uint64) {
	const size = aes.BlockSize
	lo, hi := words(s[:])
	for at := 0; at < len(dst); at += size {
		setWords(dst[at:], lo^(first+uint64(at/size)), hi)
	}
	for at := 0; at < len(dst); at += size {
		st.pi.Encrypt(dst[at:at+size], dst[at:at+size])
	}
	for at := 0; at < len(dst); at += size {
		x, y := words(dst[at:])
		setWords(dst[at:], x^lo^(first+uint64(at/size)), y^hi)
	}
}

// transfers are random strings that were transferred between this party and one
// peer.
type transfers struct {
	zeros, ones []seed // secret: those that were sent
	chosen      []seed // secret: of the peer's, those of this party's choices
}

// transfer extends base transfers with all of links, both ways: one round. choices
// are bits, for each link as many as are transferred. prefix, which all parties
// hold alike, comes first in the message.
func (s *session) transfer(ctx context.Context, round string, links []link, choices [][]byte, prefix []byte) ([]transfers, error) {
	msgs, rows := make([][]byte, len(links)), make([][]byte, len(links))
	for i, l := range links {
		var msg []byte
		msg, rows[i] = l.receiver.receive(s.call(round, s.self, l.peer), choices[i], 8*len(choices[i]), &s.engine.holes)
		msgs[i] = slices.Concat(prefix, msg)
	}
	got, err := s.swap(ctx, round, msgs)
	if err != nil {
		return nil, err
	}
	for i := range links {
		if !bytes.HasPrefix(got[i], prefix) {
			return nil, s.dispute("operators were greeted differently")
		}
	}
	out := make([]transfers, len(links))
	for i, l := range links {
		call := s.call(round, l.peer, s.self)
		sent, err := l.sender.send(call, got[i][len(prefix):], 8*len(choices[i]), &s.engine.holes)
		if err != nil {
			return nil, err
		}
		hash := newRowHash(call)
		out[i].zeros, out[i].ones = hash.seeds(sent, new([rowSize]byte)), hash.seeds(sent, &l.sender.delta)
		out[i].chosen = newRowHash(s.call(round, s.self, l.peer)).seeds(rows[i], new([rowSize]byte))
	}
	return out, nil
}

const tagSize = 16

// columnHash is a linear universal hash of bit strings of one length: a
// polynomial over GF(2¹²⁸) at a point that the hashed message fixes, by GCM's
// hash, for which processors have instructions. Two strings of m blocks have
// the same hash for at most m+1 of the 2¹²⁸ points.
type columnHash struct {
	aead  cipher.AEAD
	nonce [12]byte
	zero  []byte // what GCM adds
	tag   [tagSize]byte
}

func newColumnHash(call, msg []byte) *columnHash {
	key := mpc.Digest("zonesigner mascot columns v1", call, msg)
	aead, err := cipher.NewGCM(newCipher(key[:16]))
	if err != nil {
		panic("mascot: " + err.Error()) // AES always fits GCM
	}
	return &columnHash{aead: aead}
}

// sum returns the 16 bytes of column's hash, which are good until the next. It
// is linear: the hash of a sum is the sum of the hashes.
func (h *columnHash) sum(column []byte) []byte {
	if h.zero == nil {
		h.zero = h.aead.Seal(nil, h.nonce[:], nil, make([]byte, len(column)))
	}
	tag := h.aead.Seal(h.tag[:0], h.nonce[:], nil, column)
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
	pi   cipher.Block
	x, y [rowSize * hashBatch]byte // rows, and π of each
}

// hashBatch is how many rows are hashed together: a processor works on the next
// blocks before it is done with one.
const hashBatch = 64

func newRowHash(call []byte) *rowHash {
	key := mpc.Digest("zonesigner mascot rows v1", call)
	return &rowHash{pi: newCipher(key[:16])}
}

// fill makes so many blocks of masks for each of rows, which are those of
// transfers from k on, each with delta added. It is for hashBatch rows at most.
func (h *rowHash) fill(dst []byte, blocks int, rows []byte, delta *[rowSize]byte, k int) {
	const size = aes.BlockSize
	n := len(rows) / rowSize
	d0, d1 := words(delta[:])
	for i := range n {
		lo, hi := words(rows[rowSize*i:])
		setWords(h.x[rowSize*i:], lo^d0, hi^d1)
	}
	for i := range n {
		h.pi.Encrypt(h.y[size*i:size*(i+1)], h.x[size*i:size*(i+1)])
	}
	for i := range n {
		lo, hi := words(h.y[size*i:])
		out := dst[size*blocks*i : size*blocks*(i+1)]
		for j := range blocks {
			setWords(out[size*j:], lo^uint64(j), hi^uint64(k+i))
		}
	}
	for at := 0; at < size*blocks*n; at += size {
		h.pi.Encrypt(dst[at:at+size], dst[at:at+size])
	}
	for i := range n {
		y0, y1 := words(h.y[size*i:])
		out := dst[size*blocks*i : size*blocks*(i+1)]
		for j := range blocks {
			lo, hi := words(out[size*j:])
			setWords(out[size*j:], lo^y0, hi^y1)
		}
	}
}

// seeds makes a mask of 16 bytes for each of rows, which are those of all
// transfers of a call.
func (h *rowHash) seeds(rows []byte, delta *[rowSize]byte) []seed {
	flat := make([]byte, len(rows))
	for at := 0; at < len(rows); at += rowSize * hashBatch {
		end := min(at+rowSize*hashBatch, len(rows))
		h.fill(flat[at:end], 1, rows[at:end], delta, at/rowSize)
	}
	out := make([]seed, len(rows)/rowSize)
	for i := range out {
		out[i] = seed(flat[seedSize*i:])
	}
	clear(flat)
	return out
}

// scalars makes so many masks for each of rows that are scalars.
func (h *rowHash) scalars(dst []byte, masks int, rows []byte, delta *[rowSize]byte, k int) {
	h.fill(dst, 2*masks, rows, delta, k)
	for i := 0; i < len(dst); i += scalarSize {
		if binary.LittleEndian.Uint64(dst[i+24:]) >= suspicious {
			row, c := i/scalarSize/masks, i/scalarSize%masks
			h.settle(dst[i:i+scalarSize], row, c, k)
		}
	}
}

// settle makes further tries of mask c of a row of the last batch, which began
// with transfer k, until one is a scalar. They are of blocks that no mask begins
// with.
func (h *rowHash) settle(mask []byte, row, c, k int) {
	y0, y1 := words(h.y[rowSize*row:])
	for attempt := 1; !below(mask); attempt++ {
		for j := range 2 {
			half := mask[aes.BlockSize*j : aes.BlockSize*(j+1)]
			setWords(half, y0^uint64(attempt<<16+2*c+j), y1^uint64(k+row))
			h.pi.Encrypt(half, half)
			lo, hi := words(half)
			setWords(half, lo^y0, hi^y1)
		}
	}
}

func newCipher(key []byte) cipher.Block {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic("mascot: " + err.Error()) // 16 bytes are always a key
	}
	return block
}
