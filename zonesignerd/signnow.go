package main

import (
	"time"

	"github.com/spf13/cobra"

	"zonesigner/zonesignerd/internal/api"
)

func (a *app) signNowCommand() *cobra.Command {
	var w waiting
	cmd := &cobra.Command{
		Use:   "sign-now ZONE",
		Short: "Look at a zone's source and sign what is due, at once",
		Long: `Look at a zone's source without waiting for the next poll, and sign what has
changed or is due. This goes the ordinary way: the other operators compare it
with their own copies, and may refuse.`,
		Example:           "  zonesignerd sign-now example.org\n  zonesignerd sign-now example.org --wait=false",
		Args:              between(1, 1),
		ValidArgsFunction: a.completeZones,
		RunE: func(cmd *cobra.Command, args []string) error {
			zone, err := zoneName(args[0])
			if err != nil {
				return err
			}
			ask := func(b api.Backend) (*api.Request, error) {
				return b.SignNow(cmd.Context(), api.SignNow{Zone: zone})
			}
			return a.ask(cmd.Context(), &w, ask, func(r *api.Request) {
				if r.Unchanged {
					a.printf("%s: nothing is due, serial %s is served", zone, serial(r.Serial))
					return
				}
				a.printf("%s: serial %s is signed and served", zone, serial(r.Serial))
			})
		},
	}
	w.flags(cmd, 2*time.Minute)
	return cmd
}
