package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A command that reads a file ends by a signal, whatever it waits for.
func TestSignalEndsReading(t *testing.T) {
	for _, c := range []string{"verify FILE", "digest FILE", "diff FILE FILE", "manifest FILE", "sign --create-keys keys FILE",
		"sign --group FILE", "sign --group --dry-run FILE", "zones approve FILE"} {
		t.Run(c, func(t *testing.T) {
			dir := t.TempDir()
			pipe := filepath.Join(dir, "pipe")
			if err := syscall.Mkfifo(pipe, 0o600); err != nil {
				t.Fatal(err)
			}
			var errs bytes.Buffer
			cmd := exec.CommandContext(t.Context(), "zonesignerd", strings.Fields(strings.ReplaceAll(c, "FILE", pipe))...)
			cmd.Dir, cmd.Stderr = dir, &errs
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			w, err := os.OpenFile(pipe, os.O_WRONLY, 0) // when the command has opened it, too
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			if err := cmd.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
			late := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
			defer late.Stop()
			var exit *exec.ExitError
			if err := cmd.Wait(); !errors.As(err, &exit) {
				t.Fatal(err)
			}
			if s := exit.Sys().(syscall.WaitStatus); !s.Signaled() || s.Signal() != syscall.SIGINT {
				t.Errorf("%v, expected an end by the signal\n%s", exit, errs.String())
			}
		})
	}
}

// A run of sign that is told to end leaves neither keys nor output.
func TestSignInterrupted(t *testing.T) {
	dir := t.TempDir()
	zone := filepath.Join(dir, "zone")
	if err := os.WriteFile(zone, []byte("example.org. 60 SOA ns host 1 2 3 4 5\nexample.org. 60 NS ns.example.net.\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out, errs bytes.Buffer
	a := &app{in: strings.NewReader(""), out: &out, err: &errs, now: time.Now}
	args := []string{"sign", "-o", "example.org", "--create-keys", filepath.Join(dir, "keys"), zone}
	if status := a.run(ctx, args); status != exitFailure || out.Len() != 0 {
		t.Errorf("exit status %d, %s%s", status, out.String(), errs.String())
	}
	for _, pattern := range []string{"keys/*", "zone.*", ".new-*"} {
		if left, err := filepath.Glob(filepath.Join(dir, pattern)); err != nil || left != nil {
			t.Errorf("left is %v, %v", left, err)
		}
	}
	if status := a.run(t.Context(), args); status != exitDone {
		t.Errorf("the next run: exit status %d, %s", status, errs.String())
	}
}
