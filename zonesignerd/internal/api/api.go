// Package api is how the commands talk to the daemon of the same machine:
// HTTP and JSON over a unix socket, never over the network. Who may do what
// is decided by the credentials that the kernel reports for the connection
// (SO_PEERCRED), at two levels: reading and acting.
//
// Backend is what the daemon offers; Server puts one behind a socket, and
// Client is the same interface at the other end of it.
package api

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// Backend is what the daemon offers to its operator. All methods are safe for
// concurrent use. Errors that are an *Error reach the other side as they are;
// any other arrives with CodeFailure and its text.
//
// The methods that start something return a Request at once; Request tells
// what became of it.
type Backend interface {
	Version(ctx context.Context) (*Version, error)
	Status(ctx context.Context) (*Status, error)

	Zones(ctx context.Context) ([]ZoneStatus, error)
	Zone(ctx context.Context, zone string) (*ZoneDetail, error)
	AddZone(ctx context.Context, a AddZone) (*Request, error)
	RemoveZone(ctx context.Context, r RemoveZone) (*Request, error)
	SignNow(ctx context.Context, s SignNow) (*Request, error)
	// ApproveZone reads all of a.Text before it answers.
	ApproveZone(ctx context.Context, a ApproveZone) (*Request, error)
	// SignedZone writes the last signed zone as a zone file, if it has the
	// serial. What an error comes after is to be thrown away.
	SignedZone(ctx context.Context, zone string, serial uint32, w io.Writer) error
	// Manifest writes the manifest of what the daemon would propose, and proposes
	// nothing. What an error comes after is to be thrown away.
	Manifest(ctx context.Context, d Draft, w io.Writer) error

	// Keys lists the keys of a zone; of all zones when zone is empty.
	Keys(ctx context.Context, zone string) ([]Key, error)
	GenerateKeys(ctx context.Context, g GenerateKeys) (*Request, error)
	ImportKeys(ctx context.Context, i ImportKeys) (*Request, error)
	// ConfirmDS says that the parent has the DS of the zone's keys.
	ConfirmDS(ctx context.Context, c ConfirmDS) (*Request, error)
	// ResumeKey lifts the suspension of a key at this operator.
	ResumeKey(ctx context.Context, r ResumeKey) (*Request, error)
	// Pools lists the tuples of a zone's keys; of all when zone is empty.
	Pools(ctx context.Context, zone string) ([]Pool, error)

	Group(ctx context.Context) (*Group, error)
	StageGroup(ctx context.Context, s StageGroup) (*Request, error)

	// Request finds a request by its digest.
	Request(ctx context.Context, digest string) (*Request, error)
	Reload(ctx context.Context) (*Reload, error)
	// Backup is a sealed copy of the keystore's keys and records.
	Backup(ctx context.Context) (*Backup, error)
}

// Code says what kind of failure an Error is.
type Code string

// The codes. Exit gives the exit status of each.
const (
	CodeFailure      Code = "failure"             // anything else
	CodeUsage        Code = "usage"               // a bad argument or file
	CodeNotFound     Code = "not-found"           // no such zone, key or request
	CodeForbidden    Code = "forbidden"           // the caller may not
	CodeNoQuorum     Code = "no-quorum"           // too few operators are ready
	CodeRefused      Code = "refused"             // a peer refuses
	CodeVerification Code = "verification-failed" // a signature or a zone did not verify
)

// Exit is the exit status of a command that fails with the code.
func (c Code) Exit() int {
	switch c {
	case CodeUsage:
		return 2
	case CodeNoQuorum:
		return 3
	case CodeRefused:
		return 4
	case CodeVerification:
		return 5
	}
	return 1
}

// Error is a failure that callers decide by.
type Error struct {
	Code    Code     `json:"code"`
	Message string   `json:"message"`         // lower case, without full stop
	Hint    string   `json:"hint,omitempty"`  // what to do about it
	Peers   []string `json:"peers,omitempty"` // the operators it is about
}

func (e *Error) Error() string { return e.Message }

// Errorf makes an Error of the code.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Errorf(format, args...).Error()}
}

// AsError finds an *Error in err's chain, or makes one of CodeFailure.
func AsError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		if e.Error() == err.Error() {
			return e
		}
		wrapped := *e
		wrapped.Message = err.Error()
		return &wrapped
	}
	return &Error{Code: CodeFailure, Message: err.Error()}
}
