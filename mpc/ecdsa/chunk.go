package ecdsa

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"zonesigner/mpc"
	"zonesigner/mpc/p256"
)

// A chunk's blob is flat, big-endian. Of tuples that are bound to a key:
//
//	magic "ZST2", count uint32, members uint32, first uint32, view 32
//	count times: kInv 32, kInvSK 32, own R-share 64, commitments 32·members
//
// The R-share is ⟨k⟩ of Figure 4, scaled as Opening.Points wants it; commitments
// are those of all members of the signer set, in its order, own included; view
// is the digest of the session and chunk for which they were made, first the
// index that the first tuple had then. "ZST1" is the same without first, which is 0.
//
// Of unbound tuples, which every operator of the group keeps a part of:
//
//	magic "ZSU1", count uint32, members uint32, words uint32, view 32
//	count times: kInv 32·words, own R-share 64, commitments 32·members
//
// kInv is in the engine's form. Who is no member of the signer set keeps that
// alone: members is 0, and there is no R-share.
//
// Where the engine has MACs, the magic is "ZSM1" or "ZSN1" instead, the header
// is followed by this party's share of the MAC key, 32, and each tuple by its
// share of the MAC of k, 32; all operators are members then.
const (
	macMagic      = "ZSM1"
	macUnbound    = "ZSN1"
	chunkMagic    = "ZST2"
	chunkMagicV1  = "ZST1"
	unboundMagic  = "ZSU1"
	chunkHeader   = 48
	chunkHeaderV1 = 44
)

func tupleSize(members int) int { return 128 + 32*members }

func unboundSize(words, members int) int {
	if members == 0 {
		return 32 * words
	}
	return 32*words + 64 + 32*members
}

func appendHeader(b []byte, magic string, numbers [3]int, view [32]byte) []byte {
	b = append(b, magic...)
	for _, n := range numbers {
		b = binary.BigEndian.AppendUint32(b, uint32(n))
	}
	return append(b, view[:]...)
}

// committed is what was made of nonces for all to see, and this party's own part
// of it that it will open: R-shares flat, 64 bytes each, commitments one slice
// for each member, 32 bytes for each tuple.
type committed struct {
	view        [32]byte
	first       int    // index of the first tuple when it was made
	rShares     []byte // nil: no member
	commitments [][]byte
	macs        []p256.Scalar // secret; of k, nil where the engine has none
	macKey      p256.Scalar   // secret
}

// part is what belongs to count of the tuples from index from on.
func (p committed) part(from, count int) committed {
	out := committed{view: p.view, first: p.first + from, rShares: p.rShares[64*from : 64*(from+count)]}
	for _, c := range p.commitments {
		out.commitments = append(out.commitments, c[32*from:32*(from+count)])
	}
	if p.macs != nil {
		out.macs, out.macKey = p.macs[from:from+count], p.macKey
	}
	return out
}

func (p committed) appendTuple(b []byte, i int) []byte {
	b = append(b, p.rShares[64*i:64*i+64]...)
	for _, c := range p.commitments {
		b = append(b, c[32*i:32*i+32]...)
	}
	if p.macs != nil {
		b = p.macs[i].AppendBytes(b)
	}
	return b
}

// magic is that of p's form.
func (p committed) magic(plain, withMACs string) string {
	if p.macs != nil {
		return withMACs
	}
	return plain
}

func (p committed) appendMACKey(b []byte) []byte {
	if p.macs != nil {
		b = p.macKey.AppendBytes(b)
	}
	return b
}

// macSize is what MACs add to a header and to each tuple.
func macSize(hasMACs bool) int {
	if hasMACs {
		return p256.ScalarSize
	}
	return 0
}

// takeMACs reads a MAC key from the end of a blob's header, and the MAC at the
// end of each of tuples of the given size.
func (p *committed) takeMACs(key, tuples []byte, size int) (err error) {
	if p.macKey, err = p256.ScalarFromBytes(key); err != nil {
		return fmt.Errorf("tuples: MAC key: %w", err)
	}
	for i := 0; size*(i+1) <= len(tuples); i++ {
		mac, err := p256.ScalarFromBytes(tuples[size*(i+1)-p256.ScalarSize : size*(i+1)])
		if err != nil {
			return fmt.Errorf("tuples: MAC of tuple %d: %w", i, err)
		}
		p.macs = append(p.macs, mac)
	}
	return nil
}

// encodeChunk writes the blob of bound tuples.
func encodeChunk(kInv, kInvSK []p256.Scalar, p committed) []byte {
	n, members := len(kInv), len(p.commitments)
	b := make([]byte, 0, chunkHeader+n*tupleSize(members)+(n+1)*macSize(p.macs != nil))
	b = appendHeader(b, p.magic(chunkMagic, macMagic), [3]int{n, members, p.first}, p.view)
	b = p.appendMACKey(b)
	for i := range n {
		b = kInv[i].AppendBytes(b)
		b = kInvSK[i].AppendBytes(b)
		b = p.appendTuple(b, i)
	}
	return b
}

// encodeUnbound writes the blob of n unbound tuples.
func encodeUnbound(words []p256.Scalar, n int, p committed) []byte {
	width, members := len(words)/n, len(p.commitments)
	if p.rShares == nil {
		members = 0
	}
	b := make([]byte, 0, chunkHeader+n*unboundSize(width, members)+(n+1)*macSize(p.macs != nil))
	b = appendHeader(b, p.magic(unboundMagic, macUnbound), [3]int{n, members, width}, p.view)
	b = p.appendMACKey(b)
	for i := range n {
		b = p256.AppendScalars(b, words[width*i:width*(i+1)])
		if members > 0 {
			b = p.appendTuple(b, i)
		}
	}
	return b
}

// decodeUnbound takes tuples from to from+count-1 out of a blob; members is 0
// for a party that is none.
func decodeUnbound(blob []byte, members, from, count int) (words []p256.Scalar, p committed, err error) {
	hasMACs := len(blob) >= 4 && string(blob[:4]) == macUnbound
	header, extra := chunkHeader+macSize(hasMACs), macSize(hasMACs)
	if len(blob) < header || string(blob[:4]) != unboundMagic && !hasMACs {
		return nil, p, fmt.Errorf("unbound tuples: blob of %d bytes does not begin with %q", len(blob), unboundMagic)
	}
	n, m, width := uint64(binary.BigEndian.Uint32(blob[4:])), uint64(binary.BigEndian.Uint32(blob[8:])), uint64(binary.BigEndian.Uint32(blob[12:]))
	if m != uint64(members) || n > mpc.MaxChunkSize || width < 1 || width > 255 || hasMACs && m == 0 ||
		uint64(len(blob)) != uint64(header)+n*uint64(unboundSize(int(width), members)+extra) {
		return nil, p, fmt.Errorf("unbound tuples: blob of %d bytes holds %d tuples of %d words and %d members, want %d members", len(blob), n, width, m, members)
	}
	if from < 0 || count < 1 || uint64(from)+uint64(count) > n {
		return nil, p, fmt.Errorf("unbound tuples: range %d+%d is outside the chunk's %d", from, count, n)
	}
	p = committed{view: [32]byte(blob[16:48]), first: from, commitments: make([][]byte, members)}
	size := unboundSize(int(width), members) + extra
	if hasMACs {
		if err := p.takeMACs(blob[chunkHeader:header], blob[header+size*from:header+size*(from+count)], size); err != nil {
			return nil, p, err
		}
	}
	for i := from; i < from+count; i++ {
		b := blob[header+i*size:]
		scalars, err := p256.DecodeScalars(b[:32*width], int(width))
		if err != nil {
			return nil, p, fmt.Errorf("unbound tuples: tuple %d: %w", i, err)
		}
		words = append(words, scalars...)
		if members > 0 {
			b = b[32*width:]
			p.rShares = append(p.rShares, b[:64]...)
			for j := range members {
				p.commitments[j] = append(p.commitments[j], b[64+32*j:96+32*j]...)
			}
		}
	}
	return words, p, nil
}

// run is the part of a chunk that one run of signing spends.
type run struct {
	committed
	kInv, kInvSK []p256.Scalar // secret
}

// decodeRun takes tuples from to from+count-1 out of a blob.
func decodeRun(blob []byte, members, from, count int) (*run, error) {
	header, first := chunkHeader, 0
	hasMACs := len(blob) >= 4 && string(blob[:4]) == macMagic
	switch {
	case hasMACs && len(blob) >= chunkHeader+p256.ScalarSize:
		first = int(binary.BigEndian.Uint32(blob[12:]))
	case len(blob) >= chunkHeader && string(blob[:4]) == chunkMagic:
		first = int(binary.BigEndian.Uint32(blob[12:]))
	case len(blob) >= chunkHeaderV1 && string(blob[:4]) == chunkMagicV1:
		header = chunkHeaderV1
	default:
		return nil, fmt.Errorf("tuples: blob of %d bytes does not begin with %q", len(blob), chunkMagic)
	}
	n, m := uint64(binary.BigEndian.Uint32(blob[4:])), uint64(binary.BigEndian.Uint32(blob[8:]))
	size := tupleSize(members) + macSize(hasMACs)
	if m != uint64(members) || n > mpc.MaxChunkSize || first > mpc.MaxChunkSize || uint64(len(blob)) != uint64(header+macSize(hasMACs))+n*uint64(size) {
		return nil, fmt.Errorf("tuples: blob of %d bytes holds %d tuples of %d members, want %d members", len(blob), n, m, members)
	}
	if from < 0 || count < 1 || uint64(from)+uint64(count) > n {
		return nil, fmt.Errorf("tuples: range %d+%d is outside the chunk's %d", from, count, n)
	}
	r := &run{committed: committed{view: [32]byte(blob[header-32 : header]), first: first + from, commitments: make([][]byte, members)}}
	tuples := blob[header+macSize(hasMACs)+size*from:]
	var err error
	if hasMACs {
		if err = r.takeMACs(blob[header:header+p256.ScalarSize], tuples[:size*count], size); err != nil {
			return nil, err
		}
	}
	for i := range count {
		b := tuples[size*i:]
		var pair [2]p256.Scalar
		for j := range pair {
			if pair[j], err = p256.ScalarFromBytes(b[32*j : 32*j+32]); err != nil {
				return nil, fmt.Errorf("tuples: tuple %d: %w", from+i, err)
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
	clear(r.macs)
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
