// Zonesignerd signs DNS zones together with the other operators of a group,
// with keys that no machine ever holds whole. This package holds its
// commands, one a file; the daemon itself is in internal/node.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"zonesigner/zonesignerd/config"
	"zonesigner/zonesignerd/internal/api"
)

func main() { os.Exit(start(time.Now)) }

// ending are the signals that ask a process to end.
var ending = []os.Signal{syscall.SIGINT, syscall.SIGTERM}

// endAtOnce has signals end the process, as they do one without a handler. It
// is for what reads and computes: that leaves nothing behind, and does not look
// at its context.
func endAtOnce() { signal.Reset(ending...) }

// untilSignal is a context that the first signal ends, which asks; a second one
// ends what does not listen.
func untilSignal(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(ctx, ending...)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// start runs the process's command line by the clock now.
func start(now func() time.Time) int {
	ctx, stop := untilSignal(context.Background())
	defer stop()
	a := &app{in: os.Stdin, out: os.Stdout, err: os.Stderr, now: now}
	a.colour = term.IsTerminal(int(os.Stdout.Fd())) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	a.live = term.IsTerminal(int(os.Stderr.Fd()))
	return a.run(ctx, os.Args[1:])
}

// app is what the commands share.
type app struct {
	in       io.Reader
	out, err io.Writer
	now      func() time.Time
	colour   bool // on out
	live     bool // err is a terminal

	socket     string // of --socket
	configFile string // of --config
	json       bool   // of --json
}

// run executes one command line and returns its exit status. A result that
// could not be written is a failure.
func (a *app) run(ctx context.Context, args []string) int {
	out := &watched{w: a.out}
	a.out = out
	root := a.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		err = out.err
	}
	if err != nil {
		report(a.err, err)
	}
	return exitStatus(err)
}

func (a *app) root() *cobra.Command {
	root := parent(&cobra.Command{
		Use:   "zonesignerd",
		Short: "Sign DNS zones together, with keys that nobody holds whole",
		Long: `Zonesignerd signs DNS zones together with the other operators of a group, with
keys that no machine ever holds whole. "zonesignerd run" is the daemon; the
other commands set it up or talk to it over its local socket.

` + exitText,
	},
		a.initCommand(), a.groupCommand(), a.checkConfigCommand(), a.runCommand(),
		a.zonesCommand(), a.keysCommand(), a.statusCommand(), a.poolsCommand(), a.signNowCommand(),
		a.keystoreCommand(), a.signCommand(), a.verifyCommand(), a.digestCommand(), a.diffCommand(), a.manifestCommand(), a.benchCommand(), a.measureCommand(),
		a.versionCommand(), a.docsCommand(),
	)
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		e := api.Errorf(api.CodeUsage, "%s: %w", cmd.CommandPath(), err)
		e.Hint = fmt.Sprintf("%s --help", cmd.CommandPath())
		return e
	})
	flags := root.PersistentFlags()
	flags.StringVar(&a.configFile, "config", "", "the daemon's configuration `file` (default "+defaultConfig+")")
	flags.StringVar(&a.socket, "socket", "", "the daemon's command socket, a `path` (default $ZONESIGNER_SOCKET, or as the configuration says)")
	flags.BoolVar(&a.json, "json", false, "print JSON")
	return root
}

const defaultConfig = config.DefaultDir + "/zonesignerd.yaml"

func (a *app) configPath() string {
	if a.configFile != "" {
		return a.configFile
	}
	return defaultConfig
}

// client finds the daemon: --socket, then $ZONESIGNER_SOCKET, then the
// configuration, which has to be readable only when --config names it.
func (a *app) client() (*api.Client, error) {
	if a.socket != "" {
		return api.NewClient(a.socket), nil
	}
	if s := os.Getenv("ZONESIGNER_SOCKET"); s != "" && a.configFile == "" {
		return api.NewClient(s), nil
	}
	c, err := config.LoadDaemon(a.configPath())
	switch {
	case err == nil:
		return api.NewClient(c.Socket.Path), nil
	case a.configFile != "":
		return nil, err
	}
	return api.NewClient(config.DefaultSocket), nil
}

// parent makes a command that only holds others.
func parent(cmd *cobra.Command, children ...*cobra.Command) *cobra.Command {
	cmd.AddCommand(children...)
	cmd.Args = cobra.ArbitraryArgs
	cmd.SuggestionsMinimumDistance = 2
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		e := api.Errorf(api.CodeUsage, "%s has no command %q", cmd.CommandPath(), args[0])
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			e.Hint = "did you mean " + strings.Join(near, ", ") + "?"
		}
		return e
	}
	return cmd
}

// between wants least to most arguments; most < 0 is any number.
func between(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) >= least && (most < 0 || len(args) <= most) {
			return nil
		}
		e := api.Errorf(api.CodeUsage, "%s: it does not take %s", cmd.CommandPath(), plural(len(args), "argument"))
		e.Hint = "usage: " + cmd.UseLine()
		return e
	}
}

// seconds is a flag that holds a duration as configuration files write it.
type seconds struct{ d *config.Duration }

func (s seconds) String() string {
	if s.d == nil {
		return ""
	}
	return s.d.String()
}

func (s seconds) Set(text string) error { return s.d.UnmarshalText([]byte(text)) }
func (s seconds) Type() string          { return "duration" }
