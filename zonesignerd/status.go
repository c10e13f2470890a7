package main

import (
	"slices"
	"strconv"
	"strings"

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
		Long: `Show who has to act next and why, then the other operators (ready means that a
round trip succeeded lately) with the date until which zones can be signed
without each, the two Knots, and the zones.

That date says how long the tuples which are ready last at the refreshes that
fall due; changes of a zone's content use them up sooner.`,
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
	for _, w := range s.Warnings {
		a.printf("warning: %s", w)
	}
	for _, z := range s.Zones {
		for _, w := range z.Warnings {
			a.printf("warning: %s: %s", z.Zone, w)
		}
	}
	a.printf("")
	a.printTasks(tasks(s))
	a.printf("")
	a.printPeers(s)
	a.printf("")
	a.printKnots(s.Knots)
	a.printf("")
	a.printStatusZones(s.Zones)
}

// task is something that somebody has to do, or that the group waits for.
type task struct{ who, on, why string }

// tasks is what keeps something from going on, the most general first. What
// passes by itself is left out.
func tasks(s *api.Status) []task {
	var out []task
	if s.Tuples.State != "usable" {
		why := s.Tuples.State + " until others confirm them: " + s.Tuples.Reason
		out = append(out, task{people(orNobody(s.Tuples.WaitsFor)), "tuples", why})
	}
	if r := s.Restored; r != nil {
		lacks := r.Lacks
		if len(lacks) == 0 {
			lacks = []string{"comparing with the others"}
		}
		for _, text := range lacks {
			out = append(out, task{"this operator", "keystore", "restored from " + r.From + ": " + text})
		}
	}
	for _, p := range s.Peers {
		if !p.Ready {
			out = append(out, task{people([]string{p.Name}), "peer " + p.Name, "does not answer: " + p.Reason})
		}
	}
	for _, k := range s.Knots {
		if !k.OK && !strings.HasPrefix(k.Reason, "not asked") {
			out = append(out, task{"this operator", k.Role + " Knot", "does not answer: " + k.Reason})
		}
	}
	asked := map[string]bool{}
	for _, r := range s.Requests {
		asked[r.Subject] = true
		if r.State == api.RequestFailed {
			out = append(out, task{"this operator", r.Subject, r.Kind + ": " + describe(&r)})
			continue
		}
		if len(r.WaitsFor) == 0 {
			out = append(out, task{"nobody", r.Subject, r.Kind + ": " + describe(&r)})
			continue
		}
		what := "run `" + r.Command + "`"
		if r.Progress != "" {
			what += ": " + r.Progress
		}
		out = append(out, task{actors(r.WaitsFor, s.Operator), r.Subject, what})
	}
	for _, z := range s.Zones {
		if z.Next.Kind == api.ActorClock || z.Next.Kind == api.ActorNone || z.State == api.ZoneNoKey && asked[z.Zone] {
			continue
		}
		out = append(out, task{actor(z.Next), z.Zone, z.State + ": " + z.Next.WaitsFor})
	}
	return out
}

func orNobody(names []string) []string {
	if len(names) == 0 {
		return []string{"?"}
	}
	return names
}

// actors names operators, this one as such.
func actors(names []string, self string) string {
	if i := slices.Index(names, self); i >= 0 {
		if len(names) == 1 {
			return "this operator"
		}
		names = slices.Delete(slices.Clone(names), i, i+1)
		return "this operator and " + people(names)
	}
	return people(names)
}

func (a *app) printTasks(list []task) {
	if len(list) == 0 {
		a.printf("nobody has to act")
		return
	}
	t := newTable("WHO ACTS", "ON", "WHY")
	for _, k := range list {
		t.row(k.who, k.on, k.why)
		t.paint(0, yellow)
	}
	a.printTable(t)
}

func (a *app) printKnots(knots []api.KnotState) {
	t := newTable("KNOT", "ANSWERS", "VERSION", "SOCKET", "WHY NOT")
	for _, k := range knots {
		if strings.HasPrefix(k.Reason, "not asked") {
			t.row(k.Role, "", "", k.Socket, k.Reason)
			continue
		}
		t.row(k.Role, yesNo(k.OK), k.Version, k.Socket, k.Reason)
		t.paint(1, yesNoColour(k.OK))
	}
	a.printTable(t)
}

func (a *app) printPeers(s *api.Status) {
	without := map[string]string{}
	for _, w := range s.Without {
		switch {
		case w.Never:
			without[w.Operator] = "never"
		case !w.Until.IsZero():
			without[w.Operator] = "until " + when(w.Until, s.Now)
		}
	}
	t := newTable("PEER", "READY", "ROUND TRIP", "LAST SEEN", "SIGNING WITHOUT IT", "WHY NOT")
	for _, p := range s.Peers {
		roundTrip, seen := "", when(p.LastSeen, s.Now)
		if p.Ready {
			roundTrip, seen = strconv.FormatFloat(p.RTTSeconds*1000, 'f', 1, 64)+" ms", relative(p.LastSeen, s.Now)
		}
		t.row(p.Name, yesNo(p.Ready), roundTrip, seen, without[p.Name], p.Reason)
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
	if len(zones) == 0 {
		a.printf("no zones: add one with `zonesignerd zones add`")
	}
	a.printZones(shown, actor)
	for _, z := range shown {
		if len(z.Refusals) > 0 {
			a.printf("")
			a.printf("refusals of %s", z.Zone)
			a.printRefusals(z.Refusals)
		}
	}
	if hidden := len(zones) - len(shown); hidden > 0 {
		a.printf("%s more, signed: see `zonesignerd zones list`", plural(hidden, "zone"))
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
