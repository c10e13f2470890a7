package natsnet

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"zonesigner/mpc"
)

// Lanes of a link. A lane delivers its messages in order.
const (
	laneControl = 0
	laneSession = 1
	lanes       = 2
)

// An envelope is what a sender signs for one message. A message carries only
// what the receiver does not know already:
//
//	control: signature 64 | payload
//	session: signature 64 | session 32 | length of round 1 | round | payload
type envelope struct {
	version  uint16 // of the link
	lane     byte
	group    [32]byte
	session  mpc.SessionID
	round    string
	from, to mpc.PartyID
	hash     [32]byte // SHA-256 of the payload
}

const (
	envelopeContext = "zonesigner envelope v1\x00"
	maxRound        = 255 // bytes of a round's name
	maxEnvelope     = ed25519.SignatureSize + 32 + 1 + maxRound
)

// text is what is signed: fixed fields, then names behind their lengths.
func (e *envelope) text() []byte {
	b := make([]byte, 0, 256)
	b = append(b, envelopeContext...)
	b = binary.BigEndian.AppendUint16(b, e.version)
	b = append(b, e.lane)
	b = append(b, e.group[:]...)
	b = append(b, e.session[:]...)
	b = appendName(b, e.round)
	b = appendName(b, string(e.from))
	b = appendName(b, string(e.to))
	return append(b, e.hash[:]...)
}

func appendName(b []byte, s string) []byte {
	b = append(b, byte(len(s)))
	return append(b, s...)
}

// sealMessage signs e for payload and returns the message; e.hash is set.
func sealMessage(e *envelope, key ed25519.PrivateKey, payload []byte) []byte {
	e.hash = sha256.Sum256(payload)
	sig := ed25519.Sign(key, e.text())
	b := make([]byte, 0, len(sig)+33+len(e.round)+len(payload))
	b = append(b, sig...)
	if e.lane == laneSession {
		b = append(b, e.session[:]...)
		b = appendName(b, e.round)
	}
	return append(b, payload...)
}

// openMessage completes e from a message of e.lane and returns the signature
// and the payload, which point into b. It does not verify the signature.
func openMessage(e *envelope, b []byte) (sig, payload []byte, err error) {
	if len(b) < ed25519.SignatureSize {
		return nil, nil, fmt.Errorf("message of %d bytes, expected a signature of %d", len(b), ed25519.SignatureSize)
	}
	sig, b = b[:ed25519.SignatureSize], b[ed25519.SignatureSize:]
	if e.lane == laneSession {
		if len(b) < 33 || len(b) < 33+int(b[32]) {
			return nil, nil, errors.New("session message ends before its payload")
		}
		copy(e.session[:], b)
		n := 33 + int(b[32])
		e.round = string(b[33:n])
		b = b[n:]
	}
	e.hash = sha256.Sum256(b)
	return sig, b, nil
}

// Equivocation is what evidence proves: From signed two different messages
// for one round of a session, to one receiver.
type Equivocation struct {
	Version  uint16 // of the link
	Group    [32]byte
	Session  mpc.SessionID
	Round    string
	From, To mpc.PartyID
}

const evidenceMagic = "zonesigner evidence v1\x00"

// signed is a payload's hash and the signature on the envelope around it.
type signed struct {
	hash [32]byte
	sig  [ed25519.SignatureSize]byte
}

func encodeEvidence(e *envelope, first, second signed) []byte {
	b := []byte(evidenceMagic)
	b = binary.BigEndian.AppendUint16(b, e.version)
	b = append(b, e.group[:]...)
	b = append(b, e.session[:]...)
	b = appendName(b, e.round)
	b = appendName(b, string(e.from))
	b = appendName(b, string(e.to))
	for _, s := range []signed{first, second} {
		b = append(b, s.hash[:]...)
		b = append(b, s.sig[:]...)
	}
	return b
}

// VerifyEvidence checks the evidence of an mpc.CheatError: two envelopes for
// one round that differ, both signed by the sender. keyOf gives an operator's
// public key, nil for a stranger. An error means that nothing is proven.
func VerifyEvidence(evidence []byte, keyOf func(mpc.PartyID) ed25519.PublicKey) (Equivocation, error) {
	none := func(format string, a ...any) (Equivocation, error) {
		return Equivocation{}, fmt.Errorf("evidence: "+format, a...)
	}
	b, ok := bytes.CutPrefix(evidence, []byte(evidenceMagic))
	if !ok {
		return none("not evidence of this version")
	}
	e := envelope{lane: laneSession}
	var names [3]string
	const fixed = 2 + 32 + 32
	if len(b) < fixed {
		return none("it ends too early")
	}
	e.version = binary.BigEndian.Uint16(b)
	copy(e.group[:], b[2:])
	copy(e.session[:], b[34:])
	b = b[fixed:]
	for i := range names {
		if len(b) < 1 || len(b) < 1+int(b[0]) {
			return none("it ends too early")
		}
		names[i] = string(b[1 : 1+int(b[0])])
		b = b[1+int(b[0]):]
	}
	e.round, e.from, e.to = names[0], mpc.PartyID(names[1]), mpc.PartyID(names[2])
	const each = 32 + ed25519.SignatureSize
	if len(b) != 2*each {
		return none("%d bytes for two envelopes, expected %d", len(b), 2*each)
	}
	if bytes.Equal(b[:32], b[each:each+32]) {
		return none("both envelopes are for one message")
	}
	key := keyOf(e.from)
	if len(key) != ed25519.PublicKeySize {
		return none("operator %q is a stranger", e.from)
	}
	for half := b; len(half) > 0; half = half[each:] {
		copy(e.hash[:], half)
		if !ed25519.Verify(key, e.text(), half[32:each]) {
			return none("a signature is not that of operator %q", e.from)
		}
	}
	return Equivocation{Version: e.version, Group: e.group, Session: e.session, Round: e.round, From: e.from, To: e.to}, nil
}
