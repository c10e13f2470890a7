package knot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"
)

// Callers decide by these, with errors.Is.
var (
	// ErrUnavailable: Knot cannot be reached, or broke off. After Apply it
	// means that the outcome is not known; see there.
	ErrUnavailable = errors.New("knot is not available")
	// ErrProtocol: the answer is not the control protocol.
	ErrProtocol = errors.New("broken control protocol")
	// ErrZoneUnknown: the zone is not configured in this Knot.
	ErrZoneUnknown = errors.New("no such zone in knot")
	// ErrZoneEmpty: the zone is configured, but Knot has no content for it.
	ErrZoneEmpty = errors.New("knot has no content for the zone")
	// ErrTransactionOpen: somebody's transaction on the zone is open.
	ErrTransactionOpen = errors.New("a transaction is open")
	// ErrDiffers: Knot does not hold what the change was made from; push in
	// full.
	ErrDiffers = errors.New("knot holds other records than the change was made from")
	// ErrSerial: the new serial is not ahead of the served one.
	ErrSerial = errors.New("serial would not go forward")

	errNoTransaction = errors.New("no transaction is open")
)

// ControlError is a refusal by Knot of one unit of a request. Owner and Type
// are empty for commands that concern a whole zone.
type ControlError struct {
	Command string
	Zone    string
	Owner   string
	Type    string
	Msg     string // Knot's words
}

func (e *ControlError) Error() string {
	s := "knot refused " + e.Command
	if e.Zone != "" {
		s += " for zone " + e.Zone
	}
	if e.Owner != "" {
		s += " at " + e.Owner + " " + e.Type
	}
	return s + ": " + e.Msg
}

// knotWords are Knot's error texts that callers tell apart; they are the same
// in all supported versions.
var knotWords = map[string]error{
	"no such zone found":                 ErrZoneUnknown,
	"too many transactions":              ErrTransactionOpen,
	"no active transaction":              errNoTransaction,
	"such record already exists in zone": ErrDiffers,
	"no such record in zone found":       ErrDiffers,
}

// Is makes the errors above match.
func (e *ControlError) Is(target error) bool { return knotWords[e.Msg] == target }

// unavailable says which socket, what happened, and what to do.
func unavailable(path string, timeout time.Duration, err error) error {
	hint := "see knotd's log"
	switch {
	case errors.Is(err, context.Canceled):
		hint = "the caller gave up"
	case errors.Is(err, fs.ErrNotExist):
		hint = "is knotd running, and is this its control listen path?"
	case errors.Is(err, syscall.ECONNREFUSED):
		hint = "nothing listens there: knotd stopped or crashed"
	case errors.Is(err, fs.ErrPermission):
		hint = "the daemon's user must be in the socket's group"
	case errors.Is(err, os.ErrDeadlineExceeded), isTimeout(err), errors.Is(err, syscall.EAGAIN):
		hint = fmt.Sprintf("no answer within %v; another client may hold knotd's control thread", timeout)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNRESET):
		hint = "knotd closed the connection in the middle: it stopped, crashed, or its control timeout passed"
	}
	return fmt.Errorf("%w: control socket %s: %w (%s)", ErrUnavailable, path, err, hint)
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}
