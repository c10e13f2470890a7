package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"zonesigner/zonesignerd/config"
	"zonesigner/zonesignerd/internal/api"
)

// waiting is the flags of commands that start something.
type waiting struct {
	wait    bool
	timeout config.Duration
}

func (w *waiting) flags(cmd *cobra.Command, timeout time.Duration) {
	w.timeout = config.Duration(timeout)
	cmd.Flags().BoolVar(&w.wait, "wait", true, "wait until it is done")
	cmd.Flags().Var(seconds{&w.timeout}, "timeout", "how long to wait; what was asked stands after it")
}

// ask asks the daemon for something that may take a while, and follows it.
func (a *app) ask(ctx context.Context, w *waiting, ask func(api.Backend) (*api.Request, error), print func(*api.Request)) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	r, err := ask(c)
	if err != nil {
		return err
	}
	return a.follow(ctx, c, w, r, print)
}

// follow waits for a request if the flags say so, and prints it.
func (a *app) follow(ctx context.Context, b api.Backend, w *waiting, r *api.Request, print func(*api.Request)) error {
	if w.wait {
		var err error
		if r, err = a.wait(ctx, b, w, r); err != nil {
			return err
		}
	}
	if a.json {
		return a.printJSON(r)
	}
	if !r.Finished() {
		a.printf("request %s: %s", shortDigest(r.Digest), describe(r))
		if r.Command != "" {
			a.printf("they have to run: %s", r.Command)
		}
		return nil
	}
	print(r)
	return nil
}

func (a *app) wait(ctx context.Context, b api.Backend, w *waiting, r *api.Request) (*api.Request, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(w.timeout))
	defer cancel()
	p := progress{a: a}
	r, err := api.Wait(ctx, b, r, func(r *api.Request) {
		if !r.Finished() {
			p.say(describe(r))
		}
	})
	p.end()
	var e *api.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		e = api.Errorf(api.CodeNoQuorum, "not done after %s: %s", w.timeout, describe(r))
	case errors.Is(err, context.Canceled):
		e = api.Errorf(api.CodeFailure, "not waited for any longer: %s", describe(r))
	default:
		return r, err
	}
	e.Peers = r.WaitsFor
	e.Hint = "what was asked stands; `zonesignerd status` shows what becomes of it"
	if r.Command != "" {
		e.Hint = "what was asked stands; the others have to run: " + r.Command
	}
	return r, e
}

// describe says in words what becomes of a request.
func describe(r *api.Request) string {
	switch r.State {
	case api.RequestDone:
		return "done"
	case api.RequestFailed:
		if r.Error != nil {
			return "failed: " + r.Error.Message
		}
		return "failed"
	case api.RequestRunning:
		if r.Progress != "" {
			return r.Progress
		}
		return "running"
	}
	if len(r.WaitsFor) == 0 {
		return "waits"
	}
	if r.Kind == api.KindZoneApprove {
		return fmt.Sprintf("waits for %s to have the same content: %s", people(r.WaitsFor), r.Progress)
	}
	if r.Progress != "" {
		return fmt.Sprintf("waits for %s to ask again: %s", people(r.WaitsFor), r.Progress)
	}
	return fmt.Sprintf("waits for %s to ask for the same", people(r.WaitsFor))
}

// people writes "operator b" or "operators b and c".
func people(names []string) string {
	if len(names) == 1 {
		return "operator " + names[0]
	}
	last := len(names) - 1
	return "operators " + strings.Join(names[:last], ", ") + " and " + names[last]
}

// shortDigest is enough of a digest to compare by eye.
func shortDigest(digest string) string { return digest[:min(len(digest), 16)] }
