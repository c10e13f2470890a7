package agree

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"zonesigner/mpc"
)

// Format is the version of the messages that operators exchange. A message of
// another format is refused by name rather than guessed at.
const Format = 1

// Type tells what a message is about.
type Type string

// The messages that this package answers itself. Others (certificates, heads,
// asks, marks) belong to their senders and travel in the same envelope.
const (
	TypeProposal Type = "proposal"
	TypeAnswer   Type = "answer"
	TypeAbort    Type = "abort"
	TypeHello    Type = "hello"
)

// Digest is a SHA-256 in messages, written in hexadecimal.
type Digest [32]byte

// String returns the first 8 bytes in hexadecimal, enough for people.
func (d Digest) String() string { return hex.EncodeToString(d[:8]) }

// IsZero reports whether the digest stands for "none".
func (d Digest) IsZero() bool { return d == Digest{} }

// MarshalText returns all 64 hexadecimal digits.
func (d Digest) MarshalText() ([]byte, error) {
	return hex.AppendEncode(nil, d[:]), nil
}

// UnmarshalText takes exactly 64 hexadecimal digits.
func (d *Digest) UnmarshalText(b []byte) error {
	if len(b) != 2*len(d) {
		return fmt.Errorf("digest of %d characters, expected 64", len(b))
	}
	_, err := hex.Decode(d[:], b)
	return err
}

// Message is one signed message as it was received. Raw can be shown to
// others: it carries its own proof of who said it, to which group.
type Message struct {
	Type Type
	From mpc.PartyID
	Body []byte
	Raw  []byte
}

// Digest is the SHA-256 of what was signed; two messages with the same
// content by the same sender have the same digest.
func (m *Message) Digest() Digest { return sha256.Sum256(m.Raw[:len(m.Raw)-sigLen]) }

const (
	magic  = "zsm"
	sigLen = 64
)

// Seal signs v, in JSON, as a message of this operator to the group whose
// digest is given. The signature covers the group, so that nothing said in
// one group, or one epoch of it, counts in another.
func Seal(id mpc.Identity, group [32]byte, typ Type, v any) ([]byte, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", typ, err)
	}
	b := make([]byte, 0, len(magic)+8+len(typ)+len(id.Self())+len(body)+sigLen)
	b = append(b, magic...)
	b = append(b, Format, byte(len(typ)))
	b = append(b, typ...)
	b = append(b, byte(len(id.Self())))
	b = append(b, id.Self()...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(body)))
	b = append(b, body...)
	return append(b, id.Sign(signedBytes(group, b))...), nil
}

func signedBytes(group [32]byte, b []byte) []byte {
	const domain = "zonesigner operator message"
	out := make([]byte, 0, len(domain)+len(group)+len(b))
	out = append(out, domain...)
	out = append(out, group[:]...)
	return append(out, b...)
}

// Open checks a message's form and signature. The sender must be an operator
// of the group; whether it is the peer that delivered it is the caller's
// business, since signed messages may be relayed.
func Open(id mpc.Identity, group [32]byte, raw []byte) (*Message, error) {
	r := raw
	take := func(n int) []byte {
		if n > len(r) {
			r = nil
			return nil
		}
		out := r[:n:n]
		r = r[n:]
		return out
	}
	if string(take(len(magic))) != magic {
		return nil, errors.New("not an operator message")
	}
	if v := take(1); len(v) == 1 && v[0] != Format {
		return nil, fmt.Errorf("message of format %d, this version speaks %d", v[0], Format)
	}
	field := func() []byte {
		n := take(1)
		if len(n) == 0 {
			return nil
		}
		return take(int(n[0]))
	}
	typ, from := field(), field()
	size := take(4)
	if len(typ) == 0 || len(from) == 0 || len(size) != 4 {
		return nil, errors.New("operator message is cut short")
	}
	n := binary.BigEndian.Uint32(size)
	if uint64(n)+sigLen != uint64(len(r)) {
		return nil, fmt.Errorf("operator message of %d bytes where %d were announced", len(r), uint64(n)+sigLen)
	}
	m := &Message{Type: Type(typ), From: mpc.PartyID(from), Body: take(int(n)), Raw: raw}
	if !id.Verify(m.From, signedBytes(group, raw[:len(raw)-sigLen]), r) {
		return nil, fmt.Errorf("message that claims to be of operator %q has no valid signature for this group", m.From)
	}
	return m, nil
}

// Decode reads the message's body into v, strictly: an unknown field or
// trailing data is an error.
func (m *Message) Decode(v any) error {
	d := json.NewDecoder(bytes.NewReader(m.Body))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("%s of operator %s: %w", m.Type, m.From, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s of operator %s: data after the message", m.Type, m.From)
	}
	return nil
}

// Kind is what a proposal is for. Each kind has one Handler.
type Kind string

// Proposal asks the members to take part in one session, and accepts for the
// proposer. Its meaning is in Body, which the kind's Handler reads and compares
// with what it derived itself.
type Proposal struct {
	Kind     Kind            `json:"kind"`
	Subject  string          `json:"subject"` // the zone or key, for people and for logs
	Proposer mpc.PartyID     `json:"proposer"`
	Members  mpc.SignerSet   `json:"members"`
	Nonce    []byte          `json:"nonce"` // 16 fresh bytes: the proposer's part of the session's id
	Body     json.RawMessage `json:"body"`
}

// Verdict is how an operator answers a proposal.
type Verdict string

// Behind and Working are provisional: the same operator answers again. The others are
// final for this proposal.
const (
	Accept     Verdict = "accept"     // takes part; Nonce is set
	Working    Verdict = "working"    // still deriving its own plan
	Behind     Verdict = "behind"     // does not have that version yet, is looking
	Superseded Verdict = "superseded" // holds a newer version
	Refuse     Verdict = "refuse"     // derived something else; says what
)

// Answer is an operator's signed answer to a proposal, sent to all.
type Answer struct {
	Proposal Digest   `json:"proposal"`
	Verdict  Verdict  `json:"verdict"`
	Nonce    []byte   `json:"nonce,omitempty"`   // 16 fresh bytes, with Accept
	Code     string   `json:"code,omitempty"`    // why, for programs
	Reason   string   `json:"reason,omitempty"`  // why, for people
	Records  []string `json:"records,omitempty"` // what differs, in words
	Hint     uint32   `json:"hint,omitempty"`    // with code "serial": the lowest serial still free here
}

func (a *Answer) final() bool { return a.Verdict != Behind && a.Verdict != Working }

// Abort tells the members that a proposal will not become a session.
type Abort struct {
	Proposal Digest `json:"proposal"`
	Reason   string `json:"reason"`
}

// Hello greets an operator that has come, or come back, and asks it to say again
// what we may have missed. Of the sender's proposals only those in Open still
// stand: whoever starts again has forgotten the others, and cannot abort them.
// nil: an older version, which does not say.
type Hello struct {
	Open []Digest `json:"open"`
}

const nonceLen = 16

// limits on what a peer may make us keep or print.
const (
	maxReason  = 500
	maxRecords = 50
	maxRecord  = 1000
	maxBody    = 4 << 20 // tuples for a hundred million signatures
)

func (p *Proposal) validate(group mpc.Group, from mpc.PartyID) error {
	switch {
	case p.Proposer != from:
		return fmt.Errorf("proposal of operator %s came signed by %s", p.Proposer, from)
	case len(p.Nonce) != nonceLen:
		return fmt.Errorf("proposal with a nonce of %d bytes, expected %d", len(p.Nonce), nonceLen)
	case !p.Members.Contains(from):
		return errors.New("proposer is not among the members it proposes")
	case !mpc.NewSignerSet(p.Members...).Equal(p.Members):
		return errors.New("members are not sorted or named twice")
	case len(p.Subject) > 300 || len(p.Kind) > 40:
		return errors.New("subject or kind is too long")
	case len(p.Body) > maxBody:
		return fmt.Errorf("proposal of %d bytes, expected %d at most", len(p.Body), maxBody)
	}
	for _, m := range p.Members {
		if _, ok := group.X(m); !ok {
			return fmt.Errorf("member %q is not an operator of the group", m)
		}
	}
	return nil
}

func (a *Answer) validate() error {
	switch a.Verdict {
	case Accept:
		if len(a.Nonce) != nonceLen {
			return fmt.Errorf("accepting answer with a nonce of %d bytes, expected %d", len(a.Nonce), nonceLen)
		}
	case Working, Behind, Superseded, Refuse:
	default:
		return fmt.Errorf("unknown verdict %q", a.Verdict)
	}
	if len(a.Reason) > maxReason || len(a.Code) > 40 || len(a.Records) > maxRecords {
		return errors.New("answer is too long")
	}
	for _, r := range a.Records {
		if len(r) > maxRecord {
			return errors.New("answer has too long a record")
		}
	}
	return nil
}

func (a *Answer) trim() {
	a.Reason = cut(a.Reason, maxReason)
	if len(a.Records) > maxRecords {
		a.Records = append(a.Records[:maxRecords-1:maxRecords-1], "and more")
	}
	for i, r := range a.Records {
		a.Records[i] = cut(r, maxRecord)
	}
}

func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n-3], "") + "..." // half a character would grow in JSON
}
