package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"zonesigner/zonesignerd/config"
	"zonesigner/zonesignerd/internal/api"
)

func (a *app) groupCommand() *cobra.Command {
	return parent(&cobra.Command{Use: "group", Short: "Make, show, compare and change the group file"},
		a.groupMakeCommand(), a.groupShowCommand(), a.groupCheckCommand(), a.groupStageCommand())
}

func (a *app) groupMakeCommand() *cobra.Command {
	var (
		name, engine, out string
		threshold, epoch  int
	)
	cmd := &cobra.Command{
		Use:   "make --name NAME [LINES...]",
		Short: "Make the group file from the operators' lines",
		Long: `Make the group file from the lines that "zonesignerd init" printed at each
operator, read from files or from standard input. The operators stand in it by
name, so everyone who makes it from the same lines gets the same file.

The file goes to standard output, or to a new file with --out. Its fingerprint
goes to standard error: read it to one another.`,
		Example: `  cat a.line b.line c.line | zonesignerd group make --name example > group.yaml
  zonesignerd group make --name example --out /etc/zonesigner/group.yaml lines.txt
  zonesignerd group make --name example --epoch 2 --out group-2.yaml lines.txt`,
		Args: between(0, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			operators, err := a.readLines(args)
			if err != nil {
				return err
			}
			g := &config.Group{Version: 1, Name: name, Epoch: epoch, Threshold: threshold, Engine: engine, Operators: operators}
			if !cmd.Flags().Changed("threshold") {
				g.Threshold = defaultThreshold(len(operators), engine)
			}
			return a.groupMake(g, out)
		},
	}
	f := cmd.Flags()
	f.StringVar(&name, "name", "", "the group's `name`")
	f.IntVar(&threshold, "threshold", 0, "so many operators together learn nothing (default: as many as fit, fewer than half; all but one with mascot, mascot-minus and of two)")
	f.IntVar(&epoch, "epoch", 1, "1 for a new group; one more than the last to change an existing one with \"group stage\"")
	f.StringVar(&engine, "engine", config.MalShamir, "how keys are shared: "+config.Engines())
	f.StringVar(&out, "out", "", "a new `file` to write to")
	return cmd
}

// defaultThreshold is the largest that leaves an honest majority, or what the
// engine is for.
func defaultThreshold(n int, engine string) int {
	if n == 2 || engine == config.Mascot || engine == config.MascotMinus {
		return n - 1
	}
	return (n - 1) / 2
}

// readLines reads operators' lines; blank ones and those that begin with #
// are left out.
func (a *app) readLines(files []string) ([]config.Operator, error) {
	var operators []config.Operator
	read := func(name string, r io.Reader) error {
		lines := bufio.NewScanner(r)
		for n := 1; lines.Scan(); n++ {
			line := strings.TrimSpace(lines.Text())
			if line == "" || line[0] == '#' {
				continue
			}
			o, err := config.ParseLine(line)
			if err != nil {
				return config.Faults{{File: name, Line: n, Column: 1, Message: err.Error()}}
			}
			operators = append(operators, o)
		}
		return lines.Err()
	}
	if len(files) == 0 {
		files = []string{"-"}
	}
	for _, name := range files {
		if name == "-" {
			if err := read("standard input", a.in); err != nil {
				return nil, err
			}
			continue
		}
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		err = read(name, f)
		f.Close()
		if err != nil {
			return nil, err
		}
	}
	slices.SortFunc(operators, func(a, b config.Operator) int { return strings.Compare(a.Name, b.Name) })
	return operators, nil
}

func (a *app) groupMake(g *config.Group, out string) error {
	if err := g.Validate(); err != nil {
		return err
	}
	text, err := config.FormatGroup(g)
	if err != nil {
		return err
	}
	if out != "" {
		if err := writeFile(out, text, 0o644); err != nil {
			return err
		}
	}
	fmt.Fprintf(a.err, "fingerprint of group %s, epoch %d: %s\n", g.Name, g.Epoch, config.Fingerprint(g.Digest()))
	switch {
	case a.json:
		return a.printJSON(api.DescribeGroup(g, ""))
	case out == "":
		_, err = a.out.Write(text)
	}
	return err
}

func (a *app) groupShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show [FILE]",
		Short: "Show the group: members, signer sets, fingerprint",
		Long: `Show the group of a file or, without one, the group that the daemon has in
force, and the fingerprint to read to the other operators.`,
		Example: "  zonesignerd group show\n  zonesignerd group show group.yaml --json",
		Args:    between(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			g, err := a.findGroup(cmd, args)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(g)
			}
			a.printGroup(g)
			return nil
		},
	}
}

// findGroup is the group of the file in args, or of the daemon.
func (a *app) findGroup(cmd *cobra.Command, args []string) (*api.Group, error) {
	if len(args) > 0 {
		g, err := config.LoadGroup(args[0])
		if err != nil {
			return nil, err
		}
		d := api.DescribeGroup(g, "")
		return &d, nil
	}
	c, err := a.client()
	if err != nil {
		return nil, err
	}
	return c.Group(cmd.Context())
}

func (a *app) printGroup(g *api.Group) {
	a.printf("group %s, epoch %d: %d operators, threshold %d, engine %s", g.Name, g.Epoch, len(g.Operators), g.Threshold, g.Engine)
	a.printf("fingerprint %s", g.Fingerprint)
	a.printf("signer sets %s", strings.Join(g.SignerSets, " "))
	if g.StagedEpoch != 0 {
		a.printf("epoch %d is staged by %s", g.StagedEpoch, strings.Join(g.StagedBy, ", "))
	}
	a.printf("")
	t := newTable("OPERATOR", "NKEY", "ADDRESS")
	for _, o := range g.Operators {
		name := o.Name
		if o.Self {
			name += " (this one)"
		}
		t.row(name, o.NKey, o.Address)
	}
	a.printTable(t)
}

func (a *app) groupCheckCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE [FILE]",
		Short: "Compare a group file with another, or with the daemon's",
		Long: `Compare two group files or, with one, the file with the group that the daemon
has in force. What differs is listed; the exit status is then 1.`,
		Example: "  zonesignerd group check group.yaml from-b.yaml\n  zonesignerd group check group.yaml",
		Args:    between(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			first, err := a.findGroup(cmd, args[:1])
			if err != nil {
				return err
			}
			second, err := a.findGroup(cmd, args[1:])
			if err != nil {
				return err
			}
			name := "the daemon"
			if len(args) > 1 {
				name = args[1]
			}
			return a.groupCheck(first, second, args[0], name)
		},
	}
}

func (a *app) groupCheck(first, second *api.Group, name1, name2 string) error {
	differences := compareGroups(first, second)
	if a.json {
		if err := a.printJSON(struct {
			Same         bool         `json:"same"`
			Fingerprints []string     `json:"fingerprints"`
			Differences  []difference `json:"differences"`
		}{first.Digest == second.Digest, []string{first.Fingerprint, second.Fingerprint}, differences}); err != nil {
			return err
		}
	} else if first.Digest == second.Digest {
		a.printf("the same group: %s", first.Fingerprint)
	} else {
		t := newTable("", name1, name2)
		t.row("fingerprint", first.Fingerprint, second.Fingerprint)
		for _, d := range differences {
			t.row(d.What, d.First, d.Second)
		}
		a.printTable(t)
	}
	if first.Digest != second.Digest {
		return api.Errorf(api.CodeFailure, "the groups of %s and %s differ", filepath.Base(name1), filepath.Base(name2))
	}
	return nil
}

type difference struct {
	What   string `json:"what"`
	First  string `json:"first"`
	Second string `json:"second"`
}

func compareGroups(g, h *api.Group) []difference {
	found := []difference{}
	compare := func(what, first, second string) {
		if first != second {
			found = append(found, difference{what, first, second})
		}
	}
	compare("name", g.Name, h.Name)
	compare("epoch", strconv.Itoa(g.Epoch), strconv.Itoa(h.Epoch))
	compare("threshold", strconv.Itoa(g.Threshold), strconv.Itoa(h.Threshold))
	compare("engine", g.Engine, h.Engine)
	compare("signer sets", strings.Join(g.SignerSets, " "), strings.Join(h.SignerSets, " "))
	for i := range max(len(g.Operators), len(h.Operators)) {
		var first, second api.Operator
		if i < len(g.Operators) {
			first = g.Operators[i]
		}
		if i < len(h.Operators) {
			second = h.Operators[i]
		}
		what := fmt.Sprintf("operators[%d]", i)
		compare(what+".name", first.Name, second.Name)
		compare(what+".nkey", first.NKey, second.NKey)
		compare(what+".address", first.Address, second.Address)
	}
	return found
}

func (a *app) groupStageCommand() *cobra.Command {
	var w waiting
	cmd := &cobra.Command{
		Use:   "stage FILE",
		Short: "Give the daemon the group file of the next epoch",
		Long: `Give the daemon the group file of the next epoch. The group in force stays so
until every operator has staged the same file.`,
		Example: "  zonesignerd group stage group-2.yaml",
		Args:    between(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := config.ReadFile(args[0])
			if err != nil {
				return err
			}
			g, err := config.ParseGroup(args[0], text)
			if err != nil {
				return err
			}
			ask := func(b api.Backend) (*api.Request, error) {
				return b.StageGroup(cmd.Context(), api.StageGroup{Group: string(text), File: args[0]})
			}
			return a.ask(cmd.Context(), &w, ask, func(*api.Request) {
				a.printf("group %s, epoch %d, is in force", g.Name, g.Epoch)
			})
		},
	}
	w.flags(cmd, ceremonyTimeout)
	return cmd
}
