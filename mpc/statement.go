package mpc

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// Statement is what every member of a signer set signs with its identity
// before it releases a share of a signature, whatever the protocol: one run of a session,
// which is some tuples and the messages that they are for (docs/protocol.md,
// section 6).
type Statement struct {
	Session SessionID
	Group   [32]byte // digest of the group file
	Engine  string
	Set     SignerSet
	Run     uint32 // index of this run in the session
	Parts   []Part
	Mark    Mark // the sender's own, after spending; not part of Digest
}

// Part is consecutive tuples of one chunk, what key they are of, and what they
// sign.
type Part struct {
	Key      KeyID
	Epoch    uint64 // of the key's shares
	Manifest [32]byte
	Tuples   TupleRange // the chunk's id is the view digest
	Messages [32]byte   // MessagesDigest of the part's messages
}

// statementMagic begins every signed statement and carries its version.
const statementMagic = "zonesigner statement v1\n"

// maxParts bounds the parts that a decoder takes.
const maxParts = MaxChunkSize

// MessagesDigest is the hash of the SHA-256 of each message, in order: tuple
// From+i of a part is for its message i.
func MessagesDigest(digests [][32]byte) [32]byte {
	flat := make([]byte, 0, 32*len(digests))
	for _, d := range digests {
		flat = append(flat, d[:]...)
	}
	return Digest("zonesigner messages v1", flat)
}

// Digest is the hash of what all members sign alike: all but the mark.
func (s *Statement) Digest() [32]byte { return sha256.Sum256(s.body()) }

// body is fixed-width numbers and length-prefixed text, big-endian.
func (s *Statement) body() []byte {
	b := []byte(statementMagic)
	b = append(b, s.Session[:]...)
	b = append(b, s.Group[:]...)
	b = AppendText(b, s.Engine)
	b = append(b, byte(len(s.Set)))
	for _, p := range s.Set {
		b = AppendText(b, string(p))
	}
	b = binary.BigEndian.AppendUint32(b, s.Run)
	b = binary.BigEndian.AppendUint32(b, uint32(len(s.Parts)))
	for _, p := range s.Parts {
		b = AppendText(b, string(p.Key))
		b = binary.BigEndian.AppendUint64(b, p.Epoch)
		b = append(b, p.Manifest[:]...)
		b = append(b, p.Tuples.Chunk[:]...)
		b = binary.BigEndian.AppendUint32(b, uint32(p.Tuples.From))
		b = binary.BigEndian.AppendUint32(b, uint32(p.Tuples.Count))
		b = append(b, p.Messages[:]...)
	}
	return b
}

// SignedStatement is a statement whose signature is known to be From's.
type SignedStatement struct {
	*Statement
	From PartyID
	Raw  []byte // as VerifyStatement takes it
}

// Sign returns the statement with its sender, mark and signature.
func (s *Statement) Sign(id Identity) []byte {
	b := AppendText(s.body(), string(id.Self()))
	b = binary.BigEndian.AppendUint64(b, s.Mark.Generation)
	sig := id.Sign(b)
	return append(b, sig...)
}

// VerifyStatement decodes a signed statement and verifies its signature. It
// returns the statement and who signed it, who is one of its Set.
func VerifyStatement(id Identity, b []byte) (*Statement, PartyID, error) {
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
func decodeStatement(b []byte) (s *Statement, from PartyID, signed int, err error) {
	r := NewReader(b)
	s = &Statement{}
	if string(r.Take(len(statementMagic))) != statementMagic {
		return nil, "", 0, fmt.Errorf("%w: it is not of version 1", errStatement)
	}
	copy(s.Session[:], r.Take(32))
	copy(s.Group[:], r.Take(32))
	s.Engine = r.Text()
	n := int(r.Byte())
	if n > MaxMembers {
		return nil, "", 0, fmt.Errorf("%w: %d members", errStatement, n)
	}
	for range n {
		s.Set = append(s.Set, PartyID(r.Text()))
	}
	s.Run = r.Uint32()
	parts := r.Uint32()
	if parts < 1 || parts > maxParts {
		return nil, "", 0, fmt.Errorf("%w: %d parts", errStatement, parts)
	}
	for range parts {
		var p Part
		p.Key = KeyID(r.Text())
		p.Epoch = r.Uint64()
		copy(p.Manifest[:], r.Take(32))
		copy(p.Tuples.Chunk[:], r.Take(32))
		p.Tuples.From = int(r.Uint32())
		p.Tuples.Count = int(r.Uint32())
		copy(p.Messages[:], r.Take(32))
		s.Parts = append(s.Parts, p)
	}
	from = PartyID(r.Text())
	s.Mark.Generation = r.Uint64()
	switch {
	case r.Short() || r.Len() != 64:
		return nil, "", 0, fmt.Errorf("%w: %d bytes", errStatement, len(b))
	case !slices.Equal(s.Set, NewSignerSet(s.Set...)):
		return nil, "", 0, fmt.Errorf("%w: signer set is not sorted", errStatement)
	}
	return s, from, len(b) - 64, nil
}

// differences names the fields in which the statement of a peer differs.
func differences(ours, theirs *Statement) string {
	var names []string
	differ := func(name string, same bool) {
		if !same && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	differ("session", ours.Session == theirs.Session)
	differ("group", ours.Group == theirs.Group)
	differ("engine", ours.Engine == theirs.Engine)
	differ("signer set", ours.Set.Equal(theirs.Set))
	differ("run", ours.Run == theirs.Run)
	differ("parts", len(ours.Parts) == len(theirs.Parts))
	for i := range min(len(ours.Parts), len(theirs.Parts)) {
		a, b := ours.Parts[i], theirs.Parts[i]
		differ("key", a.Key == b.Key)
		differ("share epoch", a.Epoch == b.Epoch)
		differ("manifest", a.Manifest == b.Manifest)
		differ("chunk (view digest)", a.Tuples.Chunk == b.Tuples.Chunk)
		differ("tuples", a.Tuples.From == b.Tuples.From && a.Tuples.Count == b.Tuples.Count)
		differ("messages", a.Messages == b.Messages)
	}
	return fmt.Sprint(names)
}
