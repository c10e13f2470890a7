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
		Long: `Show how many tuples (preprocessed signatures) are ready for each signer set, by
the operator that proposes to spend them: a stock that serves all keys of an
engine, and for each key those that are bound to it, with the date until which
they last at the refreshes that fall due. Changes of the content use them up
sooner. Making tuples and binding them needs all operators; signing needs those
of one set.`,
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

// printPools writes a line for each key and signer set, with what each
// proposer has ready.
func (a *app) printPools(pools []api.Pool) {
	if len(pools) == 0 {
		return
	}
	t := newTable("ZONE", "KEY", "SIGNERS", "WITHOUT", "READY", "WANTED EACH", "LASTS UNTIL", "NEXT")
	for first := 0; first < len(pools); {
		p, end := pools[first], first+1
		for end < len(pools) && pools[end].Key == p.Key && pools[end].Engine == p.Engine && pools[end].SignerSet == p.SignerSet {
			end++
		}
		a.poolRow(t, pools[first:end])
		first = end
	}
	a.printTable(t)
}

// poolRow is the pools of one key and signer set, which lasts until the first
// of them is used up.
func (a *app) poolRow(t *table, pools []api.Pool) {
	p, colour := pools[0], plain
	var ready []string
	for _, q := range pools {
		ready = append(ready, q.Stripe+" "+strconv.Itoa(q.Depth))
		if q.LastsTill.Before(p.LastsTill) {
			p.LastsTill = q.LastsTill
		}
		if p.Next.Kind == api.ActorNone {
			p.Next = q.Next
		}
		switch {
		case q.Depth == 0 && q.Wanted > 0:
			colour = red
		case q.Depth <= q.Wanted/2 && colour == plain:
			colour = yellow
		}
	}
	zone, key := p.Zone, tag(p.Tag)
	if p.Key == "" {
		zone, key = "(any)", p.Engine
	}
	t.row(zone, key, p.SignerSet, strings.Join(p.Without, ", "), strings.Join(ready, ", "),
		strconv.Itoa(p.Wanted), when(p.LastsTill, a.now()), a.next(p.Next))
	t.paint(4, colour)
}
