package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
)

// result is what a command printed and ended with.
type result struct {
	out, err string
	status   int
}

// runCommand runs a command to its end. Only a command that could not be run
// is an error; its exit status is the caller's business.
func runCommand(ctx context.Context, dir string, env []string, stdin, name string, args ...string) (result, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs limited
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return result{}, err
	}
	return result{string(out), string(errs), cmd.ProcessState.ExitCode()}, ctx.Err()
}

// limited keeps the beginning of what a command prints.
type limited []byte

func (l *limited) Write(b []byte) (int, error) {
	*l = append(*l, b[:min(len(b), 1<<20-len(*l))]...)
	return len(b), nil
}
