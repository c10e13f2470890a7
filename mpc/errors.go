package mpc

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A failure is one of four kinds, and callers decide by the kind: a peer that
// is absent (AbsentError), a peer that cheats (CheatError), a bad argument
// (ArgumentError), or a bug of our own (anything else). The first two name
// operators.

// AbsentError says that parties did not answer in time or cannot be reached.
type AbsentError struct {
	Parties []PartyID
	Round   string // the round that was waited for
	Err     error  // what the transport said, may be nil
}

func (e *AbsentError) Error() string {
	s := "no answer from " + operators(e.Parties)
	if e.Round != "" {
		s += fmt.Sprintf(" in round %q", e.Round)
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *AbsentError) Unwrap() error { return e.Err }

// CheatError says that a party broke the protocol. With one party in Parties
// the cheater is named; with several, at least one of them cheated and the
// evidence does not tell which (Disputed is then true).
type CheatError struct {
	Parties  []PartyID
	Disputed bool
	What     string // what was wrong, without secrets
	Evidence []byte // signed messages that prove it to others, may be nil
}

func (e *CheatError) Error() string {
	if e.Disputed {
		return "one of " + operators(e.Parties) + " cheated: " + e.What
	}
	return operators(e.Parties) + " cheated: " + e.What
}

// ArgumentError says that the caller asked for something that cannot be.
type ArgumentError struct{ Msg string }

func (e *ArgumentError) Error() string { return e.Msg }

// AsAbsent finds an AbsentError in err's chain.
func AsAbsent(err error) (*AbsentError, bool) {
	var e *AbsentError
	return e, errors.As(err, &e)
}

// AsCheat finds a CheatError in err's chain.
func AsCheat(err error) (*CheatError, bool) {
	var e *CheatError
	return e, errors.As(err, &e)
}

// Dispute is a CheatError: one of suspects cheated, at least.
func Dispute(suspects []PartyID, what string) error {
	return &CheatError{Parties: suspects, Disputed: len(suspects) > 1, What: what}
}

// Without is a copy of parties that self is not in.
func Without(parties []PartyID, self PartyID) []PartyID {
	return slices.DeleteFunc(slices.Clone(parties), func(p PartyID) bool { return p == self })
}

// operators names them in words.
func operators(ids []PartyID) string {
	parts := make([]string, len(ids))
	for i, p := range ids {
		parts[i] = string(p)
	}
	if len(ids) == 1 {
		return "operator " + parts[0]
	}
	return "operators " + strings.Join(parts, " and ")
}
