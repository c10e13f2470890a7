package main

import (
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"zonesigner/zonesignerd/internal/api"
)

func (a *app) poolsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "pools [ZONE]",
		Short: "Show until when which operators can sign without which",
		Long: `Show how many tuples (preprocessed signatures) are ready for each key, signer
set and proposer, and until when they last at what falls due.`,
		Example:           "  zonesignerd pools\n  zonesignerd pools example.org --json",
		Args:              between(0, 1),
		ValidArgsFunction: a.completeZones,
		RunE: func(cmd *cobra.Command, args []string) error {
			zone := ""
			if len(args) > 0 {
				var err error
				if zone, err = zoneName(args[0]); err != nil {
					return err
				}
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			pools, err := c.Pools(cmd.Context(), zone)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(pools)
			}
			a.printPools(pools)
			return nil
		},
	}
}

func (a *app) printPools(pools []api.Pool) {
	if len(pools) == 0 {
		return
	}
	t := newTable("ZONE", "KEY", "SIGNERS", "WITHOUT", "PROPOSER", "READY", "WANTED", "LASTS UNTIL", "NEXT")
	for _, p := range pools {
		key := "unbound"
		if p.Key != "" {
			key = tag(p.Tag)
		}
		t.row(p.Zone, key, p.SignerSet, strings.Join(p.Without, ","), p.Stripe,
			strconv.Itoa(p.Depth), strconv.Itoa(p.Wanted), when(p.LastsTill, a.now()), a.next(p.Next))
		switch {
		case p.Depth == 0 && p.Wanted > 0:
			t.paint(5, red)
		case p.Depth < p.Wanted:
			t.paint(5, yellow)
		}
	}
	a.printTable(t)
}
