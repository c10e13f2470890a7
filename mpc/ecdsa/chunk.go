package ecdsa

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"zonesigner/mpc"
	"zonesigner/mpc/p256"
)

// A chunk's blob is flat, big-endian:
//
//	magic "ZST1", count uint32, members uint32, view 32
//	count times: kInv 32, kInvSK 32, own R-share 64, commitments 32·members
//
// The R-share is ⟨k⟩ of Figure 4, scaled as Opening.Points wants it; commitments
// are those of all members of the signer set, in its order, own included; view
// is the digest of the openings, under which they were made.
const (
	chunkMagic  = "ZST1"
	chunkHeader = 44
)

func tupleSize(members int) int { return 128 + 32*members }

// encodeChunk writes the blob. rShares is flat, 64 bytes each; commitments are
// flat, one slice for each member, 32 bytes each.
func encodeChunk(t *tuples, rShares []byte, commitments [][]byte) []byte {
	n := len(t.kInv)
	b := make([]byte, 0, chunkHeader+n*tupleSize(len(commitments)))
	b = append(b, chunkMagic...)
	b = binary.BigEndian.AppendUint32(b, uint32(n))
	b = binary.BigEndian.AppendUint32(b, uint32(len(commitments)))
	b = append(b, t.view[:]...)
	for i := range n {
		b = t.kInv[i].AppendBytes(b)
		b = t.kInvSK[i].AppendBytes(b)
		b = append(b, rShares[64*i:64*i+64]...)
		for _, c := range commitments {
			b = append(b, c[32*i:32*i+32]...)
		}
	}
	return b
}

// run is the part of a chunk that one run of signing spends.
type run struct {
	view         [32]byte
	from         int           // index of the first tuple in its chunk
	kInv, kInvSK []p256.Scalar // secret
	rShares      []byte        // own, 64 bytes each
	commitments  [][]byte      // of each member, 32 bytes for each tuple
}

// decodeRun takes tuples from to from+count-1 out of a blob.
func decodeRun(blob []byte, members, from, count int) (*run, error) {
	if len(blob) < chunkHeader || string(blob[:4]) != chunkMagic {
		return nil, fmt.Errorf("tuples: blob of %d bytes does not begin with %q", len(blob), chunkMagic)
	}
	n, m := uint64(binary.BigEndian.Uint32(blob[4:])), uint64(binary.BigEndian.Uint32(blob[8:]))
	if m != uint64(members) || n > MaxChunkSize || uint64(len(blob)) != chunkHeader+n*uint64(tupleSize(members)) {
		return nil, fmt.Errorf("tuples: blob of %d bytes holds %d tuples of %d members, want %d members", len(blob), n, m, members)
	}
	if from < 0 || count < 1 || uint64(from)+uint64(count) > n {
		return nil, fmt.Errorf("tuples: range %d+%d is outside the chunk's %d", from, count, n)
	}
	r := &run{view: [32]byte(blob[12:44]), from: from, commitments: make([][]byte, members)}
	var err error
	for i := from; i < from+count; i++ {
		b := blob[chunkHeader+i*tupleSize(members):]
		var pair [2]p256.Scalar
		for j := range pair {
			if pair[j], err = p256.ScalarFromBytes(b[32*j : 32*j+32]); err != nil {
				return nil, fmt.Errorf("tuples: tuple %d: %w", i, err)
			}
		}
		r.kInv, r.kInvSK = append(r.kInv, pair[0]), append(r.kInvSK, pair[1])
		r.rShares = append(r.rShares, b[64:128]...)
		for j := range members {
			r.commitments[j] = append(r.commitments[j], b[128+32*j:160+32*j]...)
		}
	}
	return r, nil
}

func (r *run) erase() {
	clear(r.kInv)
	clear(r.kInvSK)
}

// committer computes the commitments of one party in one chunk: H(prefix,
// index, R-share). The share's own entropy hides it.
type committer struct{ buf [100]byte }

func newCommitter(view [32]byte, party mpc.PartyID) *committer {
	var c committer
	prefix := mpc.Digest("zonesigner R-share v1", view[:], []byte(party))
	copy(c.buf[:], prefix[:])
	return &c
}

func (c *committer) commitment(index int, rShare []byte) [32]byte {
	binary.BigEndian.PutUint32(c.buf[32:], uint32(index))
	copy(c.buf[36:], rShare)
	return sha256.Sum256(c.buf[:])
}
