package main

import (
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"zonesigner/zonesignerd/internal/api"
)

// manyZones is how many zones status shows one by one; of more it shows those
// that are not simply signed.
const manyZones = 20

func (a *app) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show peers, zones, who has to act next, and why something waits",
		Long: `Show the daemon's state: the group, the other operators (ready means that a
round trip succeeded lately), the two Knots, the zones with who has to act
next and what for, and what was asked but is not done.`,
		Example: "  zonesignerd status\n  zonesignerd status --json | jq '.zones[] | select(.state != \"signed\")'",
		Args:    between(0, 0),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			s, err := c.Status(cmd.Context())
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(s)
			}
			a.printStatus(s)
			return nil
		},
	}
}

func (a *app) printStatus(s *api.Status) {
	g := s.Group
	a.printf("operator %s of group %s, epoch %d: %d operators, threshold %d, engine %s",
		s.Operator, g.Name, g.Epoch, len(g.Operators), g.Threshold, g.Engine)
	a.printf("fingerprint %s", g.Fingerprint)
	a.printf("zonesignerd %s, started %s", s.Version, when(s.Started, s.Now))
	tuples := fmt.Sprintf("tuples %s, generation %d", s.Tuples.State, s.Tuples.Generation)
	if s.Tuples.Reason != "" {
		tuples += ": " + s.Tuples.Reason
	}
	if len(s.Tuples.WaitsFor) > 0 {
		tuples += "; waits for " + people(s.Tuples.WaitsFor)
	}
	a.printf("%s", tuples)
	for _, w := range s.Warnings {
		a.printf("warning: %s", w)
	}
	a.printKnots(s.Knots)
	a.printPeers(s.Peers, s.Now)
	a.printStatusZones(s.Zones)
	a.printRequests(s.Requests)
}

func (a *app) printKnots(knots []api.KnotState) {
	if len(knots) == 0 {
		return
	}
	a.printf("")
	t := newTable("KNOT", "ANSWERS", "VERSION", "SOCKET", "WHY NOT")
	for _, k := range knots {
		t.row(k.Role, yesNo(k.OK), k.Version, k.Socket, k.Reason)
		t.paint(1, yesNoColour(k.OK))
	}
	a.printTable(t)
}

func (a *app) printPeers(peers []api.Peer, now time.Time) {
	a.printf("")
	t := newTable("PEER", "READY", "ROUND TRIP", "LAST SEEN", "WHY NOT")
	for _, p := range peers {
		roundTrip := ""
		if p.RTTSeconds > 0 {
			roundTrip = strconv.FormatFloat(p.RTTSeconds*1000, 'f', 1, 64) + " ms"
		}
		t.row(p.Name, yesNo(p.Ready), roundTrip, when(p.LastSeen, now), p.Reason)
		t.paint(1, yesNoColour(p.Ready))
	}
	a.printTable(t)
}

func (a *app) printStatusZones(zones []api.ZoneStatus) {
	shown := zones
	if len(zones) > manyZones {
		shown = nil
		for _, z := range zones {
			if z.State != api.ZoneSigned {
				shown = append(shown, z)
			}
		}
	}
	a.printf("")
	if len(zones) == 0 {
		a.printf("no zones: add one with `zonesignerd zones add`")
	}
	a.printZones(shown)
	for _, z := range shown {
		if len(z.Refusals) > 0 {
			a.printf("%s", z.Zone)
			a.printRefusals(z.Refusals)
		}
	}
	if hidden := len(zones) - len(shown); hidden > 0 {
		a.printf("%s more, signed: see `zonesignerd zones list`", plural(hidden, "zone"))
	}
}

func (a *app) printRequests(requests []api.Request) {
	if len(requests) == 0 {
		return
	}
	a.printf("")
	t := newTable("REQUEST", "WHAT", "OF", "SINCE", "STATE")
	for _, r := range requests {
		t.row(shortDigest(r.Digest), r.Kind, r.Subject, when(r.Since, a.now()), describe(&r))
	}
	a.printTable(t)
	for _, r := range requests {
		if r.Command != "" && !r.Finished() {
			a.printf("they have to run: %s", r.Command)
		}
	}
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func yesNoColour(b bool) string {
	if b {
		return green
	}
	return red
}
