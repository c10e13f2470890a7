package frost

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"

	"filippo.io/edwards25519"

	"zonesigner/mpc"
)

// tuples are one party's nonces, and everybody's commitments to theirs.
type tuples struct {
	members     int
	nonces      []nonces
	commitments []byte // of each tuple: of each member, by ascending identifier
}

// makeTuples makes one tuple for each of shares (this party's, of the keys that
// the tuples are for) among members, by ascending identifier, all of whom are
// in net and nobody else. Others' commitments are checked here, once.
func makeTuples(ctx context.Context, net mpc.Network, round string, members []mpc.PartyID, shares []*edwards25519.Scalar) (*tuples, error) {
	n := len(shares)
	t := &tuples{members: len(members), nonces: make([]nonces, n)}
	own := make([]byte, 0, n*commitmentSize)
	var random [64]byte
	for i := range t.nonces {
		_, _ = rand.Read(random[:]) // never fails
		var c [commitmentSize]byte
		t.nonces[i], c = makeNonces(&random, shares[i])
		own = append(own, c[:]...)
	}
	clear(random[:])
	got, err := mpc.Exchange(ctx, net, round, own)
	if err != nil {
		t.erase()
		return nil, err
	}
	for _, p := range mpc.Without(members, net.Self()) {
		if err := checkCommitments(p, got[p], n); err != nil {
			t.erase()
			return nil, err
		}
	}
	for i := range n {
		for _, p := range members {
			t.commitments = append(t.commitments, got[p][i*commitmentSize:(i+1)*commitmentSize]...)
		}
	}
	return t, nil
}

// checkCommitments checks those of p to the nonces of n tuples.
func checkCommitments(p mpc.PartyID, b []byte, n int) error {
	if len(b) != n*commitmentSize {
		return cheated(p, fmt.Sprintf("commitments to nonces of %d bytes, want %d", len(b), n*commitmentSize))
	}
	if at, err := checkElements(b); err != nil {
		return cheated(p, fmt.Sprintf("commitment to a nonce of tuple %d: %v", 32*at/commitmentSize, err))
	}
	return nil
}

// Format keeps every printing verb from what is secret.
func (t *tuples) Format(f fmt.State, _ rune) { _, _ = fmt.Fprintf(f, "%d tuples", len(t.nonces)) }

// slice is count tuples from the given one.
func (t *tuples) slice(from, count int) *tuples {
	width := t.members * commitmentSize
	return &tuples{members: t.members, nonces: t.nonces[from : from+count], commitments: t.commitments[from*width : (from+count)*width]}
}

func (t *tuples) erase() {
	for _, n := range t.nonces {
		n.erase()
	}
}

// A chunk's blob is flat, big-endian but for scalars:
//
//	magic "ZSF1", count uint32, members uint32
//	count times: hiding nonce 32, binding nonce 32, commitments 64·members
//
// Commitments are those of all members of the signer set by ascending
// identifier, own included.
const (
	chunkMagic  = "ZSF1"
	chunkHeader = 12
)

func tupleSize(members int) int { return 64 + commitmentSize*members }

// encode writes the blob of a chunk.
func (t *tuples) encode() []byte {
	width := t.members * commitmentSize
	b := make([]byte, 0, chunkHeader+len(t.nonces)*tupleSize(t.members))
	b = append(b, chunkMagic...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(t.nonces)))
	b = binary.BigEndian.AppendUint32(b, uint32(t.members))
	for i, n := range t.nonces {
		b = append(b, n.hiding.Bytes()...)
		b = append(b, n.binding.Bytes()...)
		b = append(b, t.commitments[i*width:(i+1)*width]...)
	}
	return b
}

// decodeTuples takes tuples from to from+count-1 out of a blob.
func decodeTuples(blob []byte, members, from, count int) (*tuples, error) {
	if len(blob) < chunkHeader || string(blob[:4]) != chunkMagic {
		return nil, fmt.Errorf("tuples: blob of %d bytes does not begin with %q", len(blob), chunkMagic)
	}
	n, m := uint64(binary.BigEndian.Uint32(blob[4:])), uint64(binary.BigEndian.Uint32(blob[8:]))
	if m != uint64(members) || n > mpc.MaxChunkSize || uint64(len(blob)) != chunkHeader+n*uint64(tupleSize(members)) {
		return nil, fmt.Errorf("tuples: blob of %d bytes holds %d tuples of %d members, want %d members", len(blob), n, m, members)
	}
	if from < 0 || count < 1 || uint64(from)+uint64(count) > n {
		return nil, fmt.Errorf("tuples: range %d+%d is outside the chunk's %d", from, count, n)
	}
	t := &tuples{members: members}
	for i := from; i < from+count; i++ {
		b := blob[chunkHeader+i*tupleSize(members):][:tupleSize(members)]
		hiding, err := decodeScalar(b[:32])
		if err != nil {
			return nil, fmt.Errorf("tuples: tuple %d: %w", i, err)
		}
		binding, err := decodeScalar(b[32:64])
		if err != nil {
			return nil, fmt.Errorf("tuples: tuple %d: %w", i, err)
		}
		t.nonces = append(t.nonces, nonces{hiding, binding})
		t.commitments = append(t.commitments, b[64:]...)
	}
	return t, nil
}
