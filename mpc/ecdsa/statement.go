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
// before it releases a share: one run of consecutive tuples of one chunk, and
// the messages that they are for (section 6).
type Statement struct {
	Session  mpc.SessionID
	Group    [32]byte // digest of the group file
	Engine   string
	Key      mpc.KeyID
	Epoch    uint64 // of the key's shares
	Set      mpc.SignerSet
	Manifest [32]byte
	Run      uint32         // index of this run in the session
	Tuples   mpc.TupleRange // the chunk's id is the view digest
	Messages [32]byte       // MessagesDigest of the run's messages
	Mark     mpc.Mark       // the sender's own, after spending; not part of Digest
}

// statementMagic begins every signed statement and carries its version.
const statementMagic = "zonesigner statement v1\n"

// Bounds that a decoder refuses beyond.
const (
	maxMembers = 64
	maxName    = 255
)

// MessagesDigest is the hash of the SHA-256 of each message, in order: tuple
// From+i of the range is for message i.
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
	b = appendText(b, string(s.Key))
	b = binary.BigEndian.AppendUint64(b, s.Epoch)
	b = append(b, byte(len(s.Set)))
	for _, p := range s.Set {
		b = appendText(b, string(p))
	}
	b = append(b, s.Manifest[:]...)
	b = binary.BigEndian.AppendUint32(b, s.Run)
	b = append(b, s.Tuples.Chunk[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(s.Tuples.From))
	b = binary.BigEndian.AppendUint32(b, uint32(s.Tuples.Count))
	return append(b, s.Messages[:]...)
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
	s.Key = mpc.KeyID(r.text())
	s.Epoch = r.uint64()
	n := int(r.byte())
	if n > maxMembers {
		return nil, "", 0, fmt.Errorf("%w: %d members", errStatement, n)
	}
	for range n {
		s.Set = append(s.Set, mpc.PartyID(r.text()))
	}
	copy(s.Manifest[:], r.take(32))
	s.Run = r.uint32()
	copy(s.Tuples.Chunk[:], r.take(32))
	s.Tuples.From = int(r.uint32())
	s.Tuples.Count = int(r.uint32())
	copy(s.Messages[:], r.take(32))
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
