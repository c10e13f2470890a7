package mpc

import (
	"bytes"
	"context"
	"slices"
	"sync"
)

// Sizes that signers work in, where their configuration says nothing else.
const (
	DefaultChunkSize = 1024  // tuples a chunk
	DefaultWindow    = 4     // chunks or runs in flight
	MaxChunkSize     = 16384 // tuples a chunk
)

// RunSize is how many signatures a run has, unless one range has more. Members
// that cut a session into other runs sign other statements, so it is part of
// the protocol and in nobody's configuration.
const RunSize = 1024

// Pipeline runs step for 0 to n-1 with at most window of them in flight. begin,
// which may be nil, runs before each step, one at a time and in order. The
// first failure cancels the others.
func Pipeline(ctx context.Context, n, window int, begin func(i int) error, step func(ctx context.Context, i int) error) error {
	if n == 1 && ctx.Err() == nil { // a single one needs no other goroutine
		if begin != nil {
			if err := begin(0); err != nil {
				return err
			}
		}
		return step(ctx, 0)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var group sync.WaitGroup
	slots := make(chan struct{}, window)
	var once sync.Once
	var failure error
	fail := func(i int, err error) {
		once.Do(func() {
			failure = err
			cancel(err)
		})
	}
loop:
	for i := range n {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			break loop
		}
		if ctx.Err() != nil {
			break
		}
		if begin != nil {
			if err := begin(i); err != nil {
				fail(i, err)
				break
			}
		}
		group.Go(func() {
			defer func() { <-slots }()
			if err := step(ctx, i); err != nil {
				fail(i, err)
			}
		})
	}
	group.Wait()
	if failure != nil {
		return failure
	}
	return ctx.Err()
}

// Progress adds up what several goroutines did, for a caller who wants to know.
type Progress struct {
	mu     sync.Mutex
	done   int
	report func(done int)
}

// NewProgress tells report, which may be nil, of every addition.
func NewProgress(report func(done int)) *Progress { return &Progress{report: report} }

// Add says that n more are done.
func (p *Progress) Add(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done += n
	if p.report != nil {
		p.report(p.done)
	}
}

// ConfirmView returns when all parties hold the same view: the digest of what
// they received. They tell each other in round; otherwise what says what is
// different, and it cannot be told which of the others made it so.
func ConfirmView(ctx context.Context, net Network, round string, view [32]byte, what string) error {
	views, err := Exchange(ctx, net, round, view[:])
	if err != nil {
		return err
	}
	for _, v := range views {
		if !bytes.Equal(v, view[:]) {
			return Dispute(Without(net.Parties(), net.Self()), what)
		}
	}
	return nil
}

// Endorse exchanges identity signatures over the transcripts of new keys, 32
// bytes each, which all parties must hold alike.
func Endorse(ctx context.Context, net Network, id Identity, transcripts []byte) error {
	message := func(transcripts []byte) []byte {
		return append([]byte("zonesigner key endorsement v1\n"), transcripts...)
	}
	got, err := Exchange(ctx, net, "key/endorse", slices.Concat(transcripts, id.Sign(message(transcripts))))
	if err != nil {
		return err
	}
	size := len(transcripts)
	for _, p := range Without(net.Parties(), net.Self()) {
		b := got[p]
		switch {
		case len(b) < size || !id.Verify(p, message(b[:size]), b[size:]):
			return &CheatError{Parties: []PartyID{p}, What: "its signature on the transcript of the key is wrong"}
		case !bytes.Equal(b[:size], transcripts):
			return Dispute(Without(net.Parties(), net.Self()), "operators hold different transcripts of the key")
		}
	}
	return nil
}
