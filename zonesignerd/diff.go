package main

import (
	"strings"

	"github.com/spf13/cobra"

	"zonesigner/dnssec"
	"zonesigner/zonesignerd/internal/api"
)

// compared is what diff found, as JSON has it.
type compared struct {
	Same        bool             `json:"same"`
	Differences []zoneDifference `json:"differences"`
}

type zoneDifference struct {
	Kind  string `json:"kind"`
	Owner string `json:"owner"`
	Type  string `json:"type"`
	A     string `json:"a"`
	B     string `json:"b"`
}

func (a *app) diffCommand() *cobra.Command {
	var origin string
	var content bool
	cmd := &cobra.Command{
		Use:   "diff A B",
		Short: "Say in words how two zones differ, signed or not",
		Long: `Say in words how two zones in files differ, signed or not: in content, serial,
keys, denial of existence (NSEC, NSEC3), digest (ZONEMD) and signatures, RRset
by RRset. How the files are written makes no difference, nor does the order of
their records.

With --content, only what operators have to agree on counts: all but the SOA's
serial and what signing makes. Two zones of the same content have the same
digest, which is printed.

The exit status is 0 if they are the same and 1 if they differ.`,
		Example: "  zonesignerd diff example.org.signed.old example.org.signed\n  zonesignerd diff --content example.org.zone example.org.signed",
		Args:    between(2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			x, err := a.readZoneFile(args[0], origin)
			if err != nil {
				return err
			}
			y, err := a.readZoneFile(args[1], origin)
			if err != nil {
				return err
			}
			all := dnssec.DiffFiles(x, y)
			if content {
				all = contentAlone(all)
				if !a.json {
					for i, z := range []*dnssec.ZoneFile{x, y} {
						c, err := z.Content()
						if err != nil {
							return api.Errorf(api.CodeUsage, "%s: %w", args[i], err)
						}
						a.printf("%x  %s", c.ContentDigest(), args[i])
					}
				}
			}
			return a.diffDone(args, all)
		},
	}
	cmd.Flags().StringVarP(&origin, "origin", "o", "", "the `zone`'s name (default the owner of the SOA record)")
	cmd.Flags().BoolVar(&content, "content", false, "compare what operators have to agree on alone")
	return cmd
}

func contentAlone(all []dnssec.FileDifference) []dnssec.FileDifference {
	var out []dnssec.FileDifference
	for _, d := range all {
		if d.Kind == dnssec.DiffContent {
			out = append(out, d)
		}
	}
	return out
}

func (a *app) diffDone(files []string, all []dnssec.FileDifference) error {
	c := compared{Same: len(all) == 0, Differences: []zoneDifference{}}
	for _, d := range all {
		c.Differences = append(c.Differences, zoneDifference{string(d.Kind), d.Owner.String(), dnssec.TypeName(d.Type), d.A, d.B})
	}
	if a.json {
		if err := a.printJSON(c); err != nil {
			return err
		}
	} else {
		a.printDifferences(c.Differences, dnssec.CountDifferences(all))
	}
	if c.Same {
		return nil
	}
	return api.Errorf(api.CodeFailure, "%s and %s differ", files[0], files[1])
}

func (a *app) printDifferences(all []zoneDifference, counts []dnssec.DifferenceCount) {
	if len(all) == 0 {
		a.printf("they are the same")
		return
	}
	t := newTable("DIFFERS", "NAME", "TYPE", "HERE", "THERE")
	for _, d := range all {
		t.row(d.Kind, d.Owner, d.Type, d.A, d.B)
	}
	a.printTable(t)
	var parts []string
	for _, c := range counts {
		parts = append(parts, plural(c.Count, "difference")+" of "+string(c.Kind))
	}
	a.printf("%s", strings.Join(parts, ", "))
}
