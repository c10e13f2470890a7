package ecdsa

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"zonesigner/mpc"
)

// Statement is what every member of a signer set signs with its identity
// before it releases a share: one run of a session, which is some tuples and
// the messages that they are for (section 6).
type Statement struct {
	Session mpc.SessionID
	Group   [32]byte // digest of the group file
	Engine  string
	Set     mpc.SignerSet
	Run     uint32 // index of this run in the session
	Parts   []Part
	Mark    mpc.Mark // the sender's own, after spending; not part of Digest
}

// Part is consecutive tuples of one chunk, what key they are of, and what they
// sign.
type Part struct {
	Key      mpc.KeyID
	Epoch    uint64 // of the key's shares
	Manifest [32]byte
	Tuples   mpc.TupleRange // the chunk's id is the view digest
	Messages [32]byte       // MessagesDigest of the part's messages
}

// statementMagic begins every signed statement and carries its version.
const statementMagic = "zonesigner statement v1\n"

// Bounds that a decoder refuses beyond.
const (
	maxMembers = 64
	maxName    = 255
	maxParts   = MaxChunkSize
)

// MessagesDigest is the hash of the SHA-256 of each message, in order: tuple
// From+i of a part is for its message i.
func MessagesDigest(digests [][32]byte) [32]byte {
	flat := make([]byte, 0, 32*len(digests))
	for _, d := range digests {
		flat = append(flat, d[:]...)
	}
	return mpc.Digest("zonesigner messages v1", flat)
}

// Digest is the hash of what all members sign alike: all but the mark.
func (s *Statement) Digest() [32]byte { return sha256.Sum256(s.body()) }

// body is fixed-width numbers and length-prefixed text, big-endian.
func (s *Statement) body() []byte {
	b := []byte(statementMagic)
	b = append(b, s.Session[:]...)
	b = append(b, s.Group[:]...)
	b = appendText(b, s.Engine)
	b = append(b, byte(len(s.Set)))
	for _, p := range s.Set {
		b = appendText(b, string(p))
	}
	b = binary.BigEndian.AppendUint32(b, s.Run)
	b = binary.BigEndian.AppendUint32(b, uint32(len(s.Parts)))
	for _, p := range s.Parts {
		b = appendText(b, string(p.Key))
		b = binary.BigEndian.AppendUint64(b, p.Epoch)
		b = append(b, p.Manifest[:]...)
		b = append(b, p.Tuples.Chunk[:]...)
		b = binary.BigEndian.AppendUint32(b, uint32(p.Tuples.From))
		b = binary.BigEndian.AppendUint32(b, uint32(p.Tuples.Count))
		b = append(b, p.Messages[:]...)
	}
	return b
}

// sign returns the statement with its sender, mark and signature.
func (s *Statement) sign(id mpc.Identity) []byte {
	b := appendText(s.body(), string(id.Self()))
	b = binary.BigEndian.AppendUint64(b, s.Mark.Generation)
	sig := id.Sign(b)
	return append(b, sig...)
}

// VerifyStatement decodes a signed statement and verifies its signature. It
// returns the statement and who signed it, who is one of its Set.
func VerifyStatement(id mpc.Identity, b []byte) (*Statement, mpc.PartyID, error) {
	s, from, signed, err := decodeStatement(b)
	if err != nil {
		return nil, "", fmt.Errorf("statement: %w", err)
	}
	if !s.Set.Contains(from) {
		return nil, "", fmt.Errorf("statement: sender %q is no member of %s", from, s.Set)
	}
	if !id.Verify(from, b[:signed], b[signed:]) {
		return nil, "", fmt.Errorf("statement: signature of %s is wrong", from)
	}
	return s, from, nil
}

var errStatement = errors.New("malformed")

// decodeStatement is strict: what it accepts encodes to the same bytes.
// signed is where the signature begins.
func decodeStatement(b []byte) (s *Statement, from mpc.PartyID, signed int, err error) {
	r := reader{b: b}
	s = &Statement{}
	if string(r.take(len(statementMagic))) != statementMagic {
		return nil, "", 0, fmt.Errorf("%w: it is not of version 1", errStatement)
	}
	copy(s.Session[:], r.take(32))
	copy(s.Group[:], r.take(32))
	s.Engine = r.text()
	n := int(r.byte())
	if n > maxMembers {
		return nil, "", 0, fmt.Errorf("%w: %d members", errStatement, n)
	}
	for range n {
		s.Set = append(s.Set, mpc.PartyID(r.text()))
	}
	s.Run = r.uint32()
	parts := r.uint32()
	if parts < 1 || parts > maxParts {
		return nil, "", 0, fmt.Errorf("%w: %d parts", errStatement, parts)
	}
	for range parts {
		var p Part
		p.Key = mpc.KeyID(r.text())
		p.Epoch = r.uint64()
		copy(p.Manifest[:], r.take(32))
		copy(p.Tuples.Chunk[:], r.take(32))
		p.Tuples.From = int(r.uint32())
		p.Tuples.Count = int(r.uint32())
		copy(p.Messages[:], r.take(32))
		s.Parts = append(s.Parts, p)
	}
	from = mpc.PartyID(r.text())
	s.Mark.Generation = r.uint64()
	switch {
	case r.short || len(r.b) != 64:
		return nil, "", 0, fmt.Errorf("%w: %d bytes", errStatement, len(b))
	case !slices.Equal(s.Set, mpc.NewSignerSet(s.Set...)):
		return nil, "", 0, fmt.Errorf("%w: signer set is not sorted", errStatement)
	}
	return s, from, len(b) - 64, nil
}

// appendText is one byte of length and the text, at most maxName bytes.
func appendText(b []byte, text string) []byte {
	return append(append(b, byte(len(text))), text...)
}

// reader takes a message apart; after a short read all else is zero.
type reader struct {
	b     []byte
	short bool
}

func (r *reader) take(n int) []byte {
	if r.short || len(r.b) < n {
		r.short = true
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) uint32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) uint64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (r *reader) text() string { return string(r.take(int(r.byte()))) }
