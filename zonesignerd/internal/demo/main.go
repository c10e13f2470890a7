// Demo plays Zonesigner's main job on one machine, as `make demo` does: three
// operators, each with a hidden and a public Knot and a daemon of its own,
// make a key that none of them holds, sign a zone together, disagree about
// one, and go on while one of them is down. It uses the commands that an
// operator would use, checks what it shows, and ends with status 1 when
// something is not as it should be.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"golang.org/x/term"
)

func main() { os.Exit(start()) }

func start() int {
	bin := flag.String("bin", "bin/zonesignerd", "the program to demonstrate")
	keep := flag.Bool("keep", false, "leave all running at the end")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	p := &printer{w: os.Stdout, live: term.IsTerminal(int(os.Stdout.Fd())) && os.Getenv("TERM") != "dumb"}
	p.colour = p.live && os.Getenv("NO_COLOR") == ""
	if err := play(ctx, p, *bin, *keep); err != nil {
		fmt.Fprintf(os.Stderr, "demo: %v\n", err)
		return 1
	}
	return 0
}

// play runs the whole demonstration. Nothing is left of it, unless keep is set
// or it fails: then its folder stays, with the logs.
func play(ctx context.Context, p *printer, bin string, keep bool) (err error) {
	bin, err = filepath.Abs(bin)
	if err != nil {
		return err
	}
	d, err := newDemo(p, bin, keep)
	if err != nil {
		return err
	}
	defer func() {
		if err == nil && keep {
			err = d.leave()
			return
		}
		d.stopAll()
		if err == nil {
			err = os.RemoveAll(d.dir)
			return
		}
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		p.failed(err)
		err = fmt.Errorf("%w; the logs are in %s", err, filepath.Join(d.dir, "*", "*.log"))
	}()
	p.head(d.dir)
	for i, s := range d.steps() {
		p.title(i+1, s.title)
		if err := s.run(ctx); err != nil {
			return fmt.Errorf("step %d, %s: %w", i+1, s.title, err)
		}
		p.done(s.title)
	}
	p.summary()
	return nil
}

// step is one act of the demonstration.
type step struct {
	title string
	run   func(context.Context) error
}

func (d *demo) steps() []step {
	return []step{
		{"a group, and a key that nobody holds", d.formGroup},
		{"preprocessing fills the pools", d.fillPools},
		{"the zone is signed and published", d.signZone},
		{"one record changes at all three", d.changeRecord},
		{"one record differs at operator b", d.dispute},
		{"operator c is down", d.outage},
	}
}
