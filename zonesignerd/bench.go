package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"zonesigner/zonesignerd/config"
	"zonesigner/zonesignerd/internal/engines"
	"zonesigner/zonesignerd/internal/figures"
)

// benchFlags is what is measured.
type benchFlags struct {
	engines, settings []string
	transport         string
	count, n, t       int
}

// benchReport is the JSON form of what was measured.
type benchReport struct {
	Machine figures.Machine `json:"machine"`
	Results []*figures.Row  `json:"results"`
}

func (a *app) benchCommand() *cobra.Command {
	var f benchFlags
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure what each engine costs on this machine",
		Long: `Measure what each engine costs on this machine: key generation, one signature
with all phases, tuples and checked signatures a second, a signature from a
ready tuple, bytes and messages. The tables are those of the paper by Dalskov and
others (ESORICS 2020), whose figures stand beside ours.

All operators run in this process and share its processors; keys and tuples are
made for the measurement, and no daemon is needed or disturbed but by the load.
A setting is how far apart operators are: lan, or a round trip. With several
engines and settings it takes minutes; a key of cggmp alone takes a good part of one.`,
		Example: `  zonesignerd bench
  zonesignerd bench --engine mal-shamir --setting lan --setting 240ms
  zonesignerd bench --engine shamir --n 5 --t 2 --setting 35ms --transport memory --count 10000 --json`,
		Args: between(0, 0),
		RunE: func(cmd *cobra.Command, args []string) error {
			plans, err := f.plans(cmd)
			if err != nil {
				return err
			}
			report := benchReport{Machine: figures.ThisMachine(programVersion())}
			failed := a.measureEngines(cmd.Context(), plans, &report)
			switch { // what was measured before it failed, or was ended, is not lost
			case len(report.Results) == 0:
			case a.json:
				return cmp.Or(failed, a.printJSON(report))
			default:
				a.printBench(&report)
			}
			return failed
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&f.engines, "engine", nil, "measure this `engine`, may be repeated (default all: "+strings.Join(engineNames(), ", ")+")")
	flags.StringArrayVar(&f.settings, "setting", nil, "lan, or a `round-trip` such as 17ms, may be repeated (default lan, 17ms, 240ms, as in the paper)")
	flags.StringVar(&f.transport, "transport", figures.NATS, "nats (a server of its own for each operator) or memory")
	flags.IntVar(&f.count, "count", 0, "`tuples` to make and to sign with (default as many as take some seconds; cggmp, of which one does: 1)")
	flags.IntVar(&f.n, "n", 0, "`operators` (default 3; mascot, mascot-minus, cggmp 2)")
	flags.IntVar(&f.t, "t", 0, "`threshold` (default 1)")
	_ = cmd.RegisterFlagCompletionFunc("engine", cobra.FixedCompletions(engineNames(), cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("setting", cobra.FixedCompletions([]string{"lan", "17ms", "240ms"}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("transport", cobra.FixedCompletions([]string{figures.NATS, figures.Memory}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// measureEngines adds a row for each plan to report, until one fails.
func (a *app) measureEngines(ctx context.Context, plans []figures.Plan, report *benchReport) error {
	p := progress{a: a}
	defer p.end()
	for i, plan := range plans {
		which := fmt.Sprintf("%d of %d: %s, %s", i+1, len(plans), plan.Engine.Name(), plan.Setting.Name)
		row, err := figures.Measure(ctx, plan, func(what string) {
			if !a.live { // a line for each is enough
				p.say(which)
				return
			}
			p.say(which + ": " + what)
		})
		if ctx.Err() != nil { // whatever it was waiting for
			return fmt.Errorf("%s: %w", which, context.Cause(ctx))
		}
		if err != nil {
			return err
		}
		report.Results = append(report.Results, row)
	}
	return nil
}

func engineNames() []string {
	var names []string
	for _, e := range engines.All() {
		names = append(names, e.Name())
	}
	return names
}

// maxBenchCount keeps the tuples of one measurement in memory.
const maxBenchCount = 1 << 20

// plans checks the flags and lists what is to be measured, settings of an
// engine together.
func (f *benchFlags) plans(cmd *cobra.Command) ([]figures.Plan, error) {
	sized := cmd.Flags().Changed("n")
	switch {
	case f.transport != figures.NATS && f.transport != figures.Memory:
		return nil, usageError("transport %q: want %s or %s", f.transport, figures.NATS, figures.Memory)
	case cmd.Flags().Changed("count") && (f.count < 1 || f.count > maxBenchCount):
		return nil, usageError("count %d: want 1 to %d", f.count, maxBenchCount)
	case sized != cmd.Flags().Changed("t"):
		return nil, usageError("--n and --t go together")
	case f.n > config.MaxOperators:
		return nil, usageError("%d operators: a group has at most %d", f.n, config.MaxOperators)
	}
	settings := figures.Settings
	if len(f.settings) > 0 {
		settings = nil
		for _, text := range f.settings {
			s, err := figures.ParseSetting(text)
			if err != nil {
				return nil, usageError("%w", err)
			}
			settings = append(settings, s)
		}
	}
	chosen := f.engines
	if len(chosen) == 0 {
		chosen = engineNames()
	}
	var plans []figures.Plan
	for _, name := range chosen {
		e, ok := engines.Find(name)
		if !ok {
			return nil, usageError("engine %q is not known: want one of %s", name, strings.Join(engineNames(), ", "))
		}
		n, t := f.n, f.t
		var err error
		if sized {
			err = figures.Supports(e, n, t)
		} else {
			n, t, err = figures.Choose(e)
		}
		if err != nil && len(f.engines) == 0 {
			continue // all that can serve such a group
		}
		if err != nil {
			return nil, usageError("%w", err)
		}
		for _, s := range settings {
			plans = append(plans, figures.Plan{Engine: e, N: n, T: t, Setting: s, Transport: f.transport, Count: f.count})
		}
	}
	if len(plans) == 0 {
		return nil, usageError("no engine serves %d operators with threshold %d", f.n, f.t)
	}
	return plans, nil
}

// printBench writes the paper's tables, and one of what it has not.
func (a *app) printBench(r *benchReport) {
	m := r.Machine
	cpu := m.CPU
	if cpu == "" {
		cpu = "unknown processor"
	}
	a.printf("%s, %s, %s, %s, zonesignerd %s", cpu, plural(m.Cores, "core"), m.OS, m.Go, m.Version)
	a.printf("transport %s; all operators on this machine; in the columns PAPER, its figures from machines of 8 cores an operator", r.Results[0].Transport)

	head := []string{"ENGINE", "N", "T", "SETTING"}
	section := func(title string, columns []string, cells func(row *figures.Row) []string) *table {
		a.printf("")
		a.printf("%s", title)
		t := newTable(slices.Concat(head, columns)...)
		for _, row := range r.Results {
			t.row(slices.Concat([]string{row.Engine, strconv.Itoa(row.N), strconv.Itoa(row.T), row.Setting}, cells(row))...)
		}
		return t
	}
	t := section("Table 1: one signature with all phases, and key generation, ms", []string{"SIGNATURE", "PAPER", "KEY", "PAPER"}, func(row *figures.Row) []string {
		key := row.KeygenSecretMS
		if row.KeygenPublicMS != nil {
			key += *row.KeygenPublicMS
		}
		return []string{number(row.SignatureMS), paper(row, func(p *figures.Paper) float64 { return p.SignatureMS }),
			number(key), paper(row, func(p *figures.Paper) float64 { return p.KeygenMS })}
	})
	for _, prior := range figures.PriorWork {
		for i, s := range figures.Settings {
			if slices.ContainsFunc(r.Results, func(row *figures.Row) bool { return row.Setting == s.Name }) {
				t.row(prior.Name, strconv.Itoa(prior.N), "1", s.Name, "", number(prior.SignatureMS[i]), "", number(prior.KeygenMS[i]))
			}
		}
	}
	a.printTable(t)
	a.printTable(section("Table 2: parts of key generation, ms", []string{"SECRET", "PAPER", "PUBLIC", "PAPER", "CHECKS"}, func(row *figures.Row) []string {
		public, checks := "", ""
		if row.KeygenPublicMS != nil {
			public, checks = number(*row.KeygenPublicMS), number(row.KeygenChecksMS)
		}
		return []string{number(row.KeygenSecretMS), paper(row, func(p *figures.Paper) float64 { return p.KeygenSecretMS }),
			public, paper(row, func(p *figures.Paper) float64 { return p.KeygenPublicMS }), checks}
	}))
	a.printTable(section("Table 3: tuples a second, and one signature from a ready tuple, ms", []string{"TUPLES/S", "PAPER", "SIGNATURE", "PAPER"}, func(row *figures.Row) []string {
		return []string{number(row.TuplesPerSecond), paper(row, func(p *figures.Paper) float64 { return p.TuplesPerSecond }),
			number(row.AmortisedSignatureMS), paper(row, func(p *figures.Paper) float64 { return p.AmortisedSignatureMS })}
	}))
	a.printTable(section("Beyond the paper: all phases at once, many signatures from ready tuples, and what an operator sends",
		[]string{"ROUND TRIP MS", "CHECKED SIGNATURES/S", "BATCH", "BATCH MS", "BYTES A TUPLE", "A SIGNATURE", "MESSAGES"}, func(row *figures.Row) []string {
			return []string{number(row.RoundTripMS), number(row.CheckedPerSecond), strconv.Itoa(row.Batch), number(row.BatchMS),
				number(row.BytesPerTuple), number(row.BytesPerSignature), strconv.Itoa(row.Messages)}
		}))
}

// paper is a figure of the paper, "" where it has none.
func paper(row *figures.Row, of func(*figures.Paper) float64) string {
	if row.Paper == nil {
		return ""
	}
	return number(of(row.Paper))
}

// number writes a figure with three digits that count, or all before the point.
func number(v float64) string {
	switch {
	case v >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}
