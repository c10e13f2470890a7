package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"zonesigner/zonesignerd/config"
	"zonesigner/zonesignerd/internal/api"
)

// The exit statuses of all commands. Those of failures that the daemon
// reports are by its codes: see api.Code.Exit, which this list repeats.
const (
	exitDone         = 0
	exitFailure      = 1
	exitUsage        = 2 // bad arguments or a bad file
	exitNoQuorum     = 3 // too few operators are ready, or have asked for the same
	exitRefused      = 4 // a peer refuses
	exitVerification = 5 // a signature or a zone did not verify
)

const exitText = `Exit status:
  0  done
  1  failure
  2  bad arguments, or a bad file
  3  no quorum: too few operators are ready, or have asked for the same
  4  a peer refuses
  5  verification failed`

// usageError is a mistake on the command line.
func usageError(format string, args ...any) error {
	return api.Errorf(api.CodeUsage, format, args...)
}

// exitStatus maps what a command returned.
func exitStatus(err error) int {
	var faults config.Faults
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &faults):
		return exitUsage
	case errors.Is(err, context.Canceled):
		return exitFailure
	}
	return api.AsError(err).Code.Exit()
}

// report writes an error: each line after the program's name, lower case, no
// full stop; the hint on a line of its own.
func report(w io.Writer, err error) {
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintf(w, "zonesignerd: %s\n", clean(line))
	}
	if e := api.AsError(err); e.Hint != "" {
		fmt.Fprintf(w, "hint: %s\n", clean(e.Hint))
	}
}
