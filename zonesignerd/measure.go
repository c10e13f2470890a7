package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"zonesigner/measure/list"
	"zonesigner/measure/operator"
	reports "zonesigner/measure/report"
	"zonesigner/measure/resolve"
	"zonesigner/measure/run"
	"zonesigner/zonesignerd/internal/api"
)

func (a *app) measureCommand() *cobra.Command {
	return parent(&cobra.Command{
		Use:   "measure",
		Short: "Find domains that more than one DNS operator serves",
		Long: `Find domains that more than one DNS operator serves, as section 2 of the paper by
Dalskov and others (ESORICS 2020) did, and tell whether those operators serve the
signatures of one signer. It needs no daemon. docs/measure.md has the rules by
which a domain is classified, and the format of what is written.`,
	}, a.measureRunCommand(), a.measureReportCommand(), a.measureDiffCommand(), a.measureExplainCommand())
}

// resolveFlags say how domains are looked up.
type resolveFlags struct {
	resolvers, roots               []string
	aliases                        string
	timeout, try                   time.Duration
	rate, serverRate, resolverRate float64
	noIPv6, private                bool
	port                           uint16
	whoisTop                       int
	whois                          string
	whoisRate                      float64
}

func (f *resolveFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringSliceVar(&f.resolvers, "resolver", nil, "look up through this resolver, `address[:port]`, may be repeated (default: iteratively, from the root)")
	flags.StringSliceVar(&f.roots, "root", nil, "a root server's `address` for resolving iteratively, may be repeated (default: those of IANA)")
	flags.StringVar(&f.aliases, "aliases", "", "a `file` of aliases of operators, added to those that are built in")
	flags.DurationVar(&f.timeout, "timeout", 15*time.Second, "a domain without an answer after this `time`, all retries counted in, has no response")
	flags.DurationVar(&f.try, "try", time.Second, "`time` for the first try; each round of retries takes twice as long")
	flags.Float64Var(&f.rate, "rate", 1000, "`queries` a second in all; 0 for no limit")
	flags.Float64Var(&f.serverRate, "server-rate", 50, "`queries` a second to one authoritative server; 0 for no limit")
	flags.Float64Var(&f.resolverRate, "resolver-rate", 500, "`queries` a second to one resolver; 0 for no limit")
	flags.BoolVar(&f.noIPv6, "no-ipv6", false, "neither ask over IPv6 nor for IPv6 addresses")
	flags.BoolVar(&f.private, "private", false, "ask servers at private, loopback and other addresses that are not of the Internet, too, as in a test network")
	flags.Uint16Var(&f.port, "port", 53, "`port` of authoritative servers")
	flags.IntVar(&f.whoisTop, "whois-top", 0, "ask WHOIS about domains of up to this `rank` that seem to have several operators")
	flags.StringVar(&f.whois, "whois-server", "", "the WHOIS server, `host[:port]`, whose referrals are followed (default whois.iana.org)")
	flags.Float64Var(&f.whoisRate, "whois-rate", 0.5, "WHOIS `questions` a second")
}

// options checks the flags.
func (f *resolveFlags) options() (run.Options, error) {
	limit := func(rate float64) float64 {
		if rate == 0 {
			return -1 // run's zero value is the default
		}
		return rate
	}
	o := run.Options{
		Aliases: f.aliases, WhoisTop: f.whoisTop, Whois: f.whois, WhoisRate: f.whoisRate, Program: "zonesignerd " + programVersion(),
		Resolve: resolve.Config{Timeout: f.timeout, Try: f.try, Rate: limit(f.rate), ServerRate: limit(f.serverRate),
			ResolverRate: limit(f.resolverRate), NoIPv6: f.noIPv6, Port: f.port, Private: f.private},
	}
	switch {
	case f.port == 0:
		return o, usageError("--port 0: want 1 to 65535")
	case f.whoisTop < 0:
		return o, usageError("--whois-top %d: want a rank, or 0 for no WHOIS", f.whoisTop)
	case f.whois != "" && f.whoisTop == 0:
		return o, usageError("--whois-server without --whois-top: no domain would have it asked")
	case f.rate < 0 || f.serverRate < 0 || f.resolverRate < 0 || f.whoisRate <= 0:
		return o, usageError("a rate below zero; 0 is no limit, and WHOIS needs one")
	case len(f.resolvers) > 0 && len(f.roots) > 0:
		return o, usageError("--resolver and --root exclude each other")
	case o.Resolve.Try <= 0 || o.Resolve.Timeout < o.Resolve.Try:
		return o, usageError("--timeout %s and --try %s: want a try above zero, and a timeout of one try at least", o.Resolve.Timeout, o.Resolve.Try)
	}
	for _, s := range f.resolvers {
		addr, err := netip.ParseAddrPort(s)
		if err != nil {
			ip, err := netip.ParseAddr(strings.Trim(s, "[]"))
			if err != nil {
				return o, usageError("resolver %q: want an address, with a port or without", s)
			}
			addr = netip.AddrPortFrom(ip, 53)
		}
		o.Resolvers = append(o.Resolvers, addr)
	}
	for _, s := range f.roots {
		ip, err := netip.ParseAddr(s)
		if err != nil {
			return o, usageError("root %q: want an address", s)
		}
		o.Roots = append(o.Roots, ip)
	}
	if _, _, err := net.SplitHostPort(o.Whois); o.Whois != "" && err != nil {
		o.Whois = net.JoinHostPort(strings.Trim(o.Whois, "[]"), "43")
	}
	return o, nil
}

// kept are the options that a run goes on with as it began.
var kept = []string{"resolver", "root", "aliases", "timeout", "try", "no-ipv6", "private", "port", "whois-top", "whois-server"}

func (a *app) measureRunCommand() *cobra.Command {
	var f resolveFlags
	var o run.Options
	cmd := &cobra.Command{
		Use:   "run --out DIR (--list FILE | --resume)",
		Short: "Look up the name servers of all domains of a list, and classify each",
		Long: `Look up the name servers of all domains of a list and their addresses, classify
each domain, and write a line of JSON for each into DIR/results.jsonl, beside a
compact store for reports. The list is rank,domain as those of Alexa, Tranco and
Umbrella, has columns as that of Majestic, or is names, one a line; packed with
gzip or zip, or not.

A run that was stopped or killed, at whatever moment, goes on with --resume, with
the list and the settings that it began with, but for rates and concurrency.`,
		Example: `  zonesignerd measure run --list tranco.zip --out run1
  zonesignerd measure run --list top-1m.csv --out run2 --resolver 192.0.2.53 --resolver 192.0.2.54 --rate 2000
  zonesignerd measure run --out run1 --resume`,
		Args: between(0, 0),
		RunE: func(cmd *cobra.Command, args []string) error {
			options, err := f.options()
			if err != nil {
				return err
			}
			for _, name := range kept {
				if o.Resume && cmd.Flags().Changed(name) {
					return usageError("--%s with --resume: the run goes on with the settings that it began with", name)
				}
			}
			options.Dir, options.List, options.Resume, options.Concurrency = o.Dir, o.List, o.Resume, o.Concurrency
			switch {
			case o.Dir == "":
				return usageError("no --out directory")
			case o.List == "" && !o.Resume:
				return usageError("no --list of domains")
			case o.Concurrency < 1 || o.Concurrency > 100_000:
				return usageError("--concurrency %d: want 1 to 100000", o.Concurrency)
			}
			return a.measureRun(cmd.Context(), options)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.List, "list", "", "the list of domains, a `file`")
	flags.StringVar(&o.Dir, "out", "", "the run's `directory`")
	flags.BoolVar(&o.Resume, "resume", false, "go on with the run in the directory")
	flags.IntVar(&o.Concurrency, "concurrency", run.DefaultConcurrency, "`domains` under way at a time")
	f.add(cmd)
	return cmd
}

// measureRun runs with progress on standard error.
func (a *app) measureRun(ctx context.Context, o run.Options) error {
	// What lives is little beside what each answer leaves behind: collecting
	// more often keeps a run small for little time.
	debug.SetGCPercent(25)
	runtime.MemProfileRate = 0 // nobody asks a run for a profile, whose table would grow
	p := progress{a: a}
	var mu sync.Mutex // over p and a.err: both are told from goroutines of their own
	shown := time.Time{}
	o.Progress = func(now run.Progress) {
		mu.Lock()
		defer mu.Unlock()
		// Not on a terminal, a line a minute is enough.
		if !a.live && now.Done < now.Total && time.Since(shown) < time.Minute {
			return
		}
		shown = time.Now()
		left := "time left not known yet"
		if now.Rate > 0 {
			left = now.Left.Round(time.Second).String() + " left"
		}
		p.say(fmt.Sprintf("%d of %d domains, %.0f a second, %s", now.Done, now.Total, now.Rate, left))
	}
	o.Fault = func(f run.Fault) {
		mu.Lock()
		defer mu.Unlock()
		p.end()
		fmt.Fprintln(a.err, clean(f.Kind+": "+f.Text))
	}
	m, err := run.Run(ctx, o)
	p.end()
	switch {
	case errors.Is(err, run.ErrExists):
		e := api.Errorf(api.CodeUsage, "%w", err)
		e.Hint = "go on with it by --resume, or choose another directory"
		return e
	case o.Resume && errors.Is(err, fs.ErrNotExist):
		e := api.Errorf(api.CodeFailure, "%w", err)
		e.Hint = "a run that was stopped before its list was read begins anew, with --list and without --resume"
		return e
	case err != nil && m != nil:
		if errors.Is(err, context.Canceled) {
			err = errors.New("stopped before the end of the list")
		}
		e := api.Errorf(api.CodeFailure, "%w", err)
		e.Hint = "go on with zonesignerd measure run --out " + o.Dir + " --resume"
		return e
	case err != nil:
		return err
	}
	if a.json {
		return a.printJSON(m)
	}
	a.printf("%d domains are in %s", m.List.Domains, filepath.Join(o.Dir, "results.jsonl"))
	var faults []string
	for _, kind := range slices.Sorted(maps.Keys(m.Faults)) {
		faults = append(faults, fmt.Sprintf("%s %d", kind, m.Faults[kind]))
	}
	if len(faults) > 0 {
		a.printf("faults, named in %s: %s", filepath.Join(o.Dir, "faults.jsonl"), strings.Join(faults, ", "))
	}
	return nil
}

func (a *app) measureReportCommand() *cobra.Command {
	var format, out string
	cmd := &cobra.Command{
		Use:   "report DIR",
		Short: "Show a run's results: the paper's Figure 1, operators, pairs, signers",
		Example: `  zonesignerd measure report run1
  zonesignerd measure report run1 --format html --out run1.html`,
		Args: between(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := reports.Build(args[0])
			if err != nil {
				return err
			}
			write := map[string]func(io.Writer) error{"text": r.Text, "csv": r.CSV, "svg": r.SVG, "html": r.HTML}[format]
			switch {
			case a.json && (out != "" || cmd.Flags().Changed("format")):
				return usageError("--json goes to standard output, without --format and --out")
			case write == nil:
				return usageError("format %q: want text, csv, svg or html", format)
			case a.json:
				return a.printJSON(r)
			case out == "":
				return write(a.out)
			}
			file, err := os.OpenFile(out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
			if err != nil {
				return err
			}
			if err := errors.Join(write(file), file.Close()); err != nil {
				_ = os.Remove(out) // half of a page is none
				return err
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&format, "format", "text", "`text`, csv, svg or html")
	cmd.Flags().StringVar(&out, "out", "", "write to this `file`, which must not be there")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"text", "csv", "svg", "html"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (a *app) measureDiffCommand() *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:   "diff RUN1 RUN2",
		Short: "Show what changed from one run to another",
		Example: `  zonesignerd measure diff run1 run2
  zonesignerd measure diff run1 run2 --limit -1`,
		Args: between(2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := reports.Compare(args[0], args[1])
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(d)
			}
			return d.Text(a.out, limit)
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 50, "show so many changed `domains`; -1 for all")
	return cmd
}

func (a *app) measureExplainCommand() *cobra.Command {
	var f resolveFlags
	var dir string
	cmd := &cobra.Command{
		Use:   "explain DOMAIN",
		Short: "Show the verdict on a domain with its evidence, from a run or looked up now",
		Example: `  zonesignerd measure explain example.org --run run1
  zonesignerd measure explain example.org --resolver 192.0.2.53`,
		Args: between(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := list.Name(args[0])
			if err != nil {
				return usageError("%w", err)
			}
			for _, name := range append([]string{"rate", "server-rate", "resolver-rate", "whois-rate"}, kept...) {
				if dir != "" && cmd.Flags().Changed(name) {
					return usageError("--%s with --run, which shows what was looked up then", name)
				}
			}
			return a.explain(cmd.Context(), &f, dir, name)
		},
	}
	cmd.Flags().StringVar(&dir, "run", "", "the run's `directory` (default: look the domain up now)")
	f.add(cmd)
	return cmd
}

func (a *app) explain(ctx context.Context, f *resolveFlags, dir, name string) error {
	if dir != "" {
		store, err := run.OpenStore(dir)
		if err != nil {
			return err
		}
		defer store.Close()
		r, err := store.Find(name)
		switch {
		case err != nil:
			return err
		case r == nil:
			return fmt.Errorf("%s: %s is not among the domains that are done", dir, name)
		case a.json:
			return a.printJSON(r)
		}
		return reports.Explain(a.out, r)
	}
	o, err := f.options()
	if err != nil {
		return err
	}
	table := operator.Default()
	if o.Aliases != "" {
		file, err := os.Open(o.Aliases)
		if err != nil {
			return err
		}
		defer file.Close()
		if err := table.Extend(o.Aliases, file); err != nil {
			return usageError("%w", err)
		}
	}
	o.Resolve.Event = func(kind, text string) { fmt.Fprintln(a.err, clean(kind+": "+text)) }
	m, err := run.NewMeasurer(ctx, o, table, owners{})
	if err != nil {
		return err
	}
	defer m.Close()
	r, err := m.Measure(ctx, list.Entry{Name: name})
	switch {
	case err != nil:
		return err
	case a.json:
		return a.printJSON(r)
	}
	return reports.Explain(a.out, r)
}

// owners remembers what WHOIS said, as long as one command runs.
type owners map[string]string

func (o owners) Get(key string) (string, bool) { owner, ok := o[key]; return owner, ok }

func (o owners) Put(key, owner string) error {
	o[key] = owner
	return nil
}
