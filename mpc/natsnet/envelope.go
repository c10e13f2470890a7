package natsnet

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"

	"zonesigner/mpc"
)

// Lanes of a link. A lane delivers its messages in order.
const (
	laneControl = 0
	laneSession = 1
	lanes       = 2
)

// An envelope is what a message says, to whom and where: what a sender signs of
// it, if it is a session message. A message carries only what the receiver does
// not know already:
//
//	control: payload
//	session: session 32 | length of round 1 | round | payload
//
// Who means to be held to a control message signs it itself.
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
	maxEnvelope     = 32 + 1 + maxRound
	maxText         = len(envelopeContext) + 2 + 1 + 32 + 32 + 3 + maxRound + 2*maxName + 32 // bytes of an envelope's text
)

// appendText appends what is entered in a ledger, hashed: fixed fields, then
// names behind their lengths.
func (e *envelope) appendText(b []byte) []byte {
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

// encodeMessage returns the message; e.hash is set for a session's.
func encodeMessage(e *envelope, payload []byte) []byte {
	b := make([]byte, 0, 33+len(e.round)+len(payload))
	if e.lane == laneSession {
		e.hash = sha256.Sum256(payload)
		b = append(b, e.session[:]...)
		b = appendName(b, e.round)
	}
	return append(b, payload...)
}

// decodeMessage completes e from a message of e.lane and returns the payload,
// which points into b.
func decodeMessage(e *envelope, b []byte) (payload []byte, err error) {
	if e.lane != laneSession {
		return b, nil
	}
	if len(b) < 33 || len(b) < 33+int(b[32]) {
		return nil, errors.New("session message ends before its payload")
	}
	copy(e.session[:], b)
	n := 33 + int(b[32])
	e.round = string(b[33:n])
	e.hash = sha256.Sum256(b[n:])
	return b[n:], nil
}
