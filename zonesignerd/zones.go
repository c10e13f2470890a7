package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"zonesigner/zonesignerd/config"
	"zonesigner/zonesignerd/internal/api"
)

func (a *app) zonesCommand() *cobra.Command {
	return parent(&cobra.Command{Use: "zones", Short: "Add, remove, approve, list and show zones"},
		a.zonesAddCommand(), a.zonesRemoveCommand(), a.zonesApproveCommand(), a.zonesListCommand(), a.zonesShowCommand())
}

func (a *app) zonesAddCommand() *cobra.Command {
	var w waiting
	cmd := &cobra.Command{
		Use:   "add POLICY",
		Short: "Add a zone, or give it another policy",
		Long: `Add the zone of a policy file, or give it another policy. A new zone is read at
once, and signed when every operator has added it with the same policy. Another
policy for a zone comes into force when every operator has added it; until then
the zone is signed by the one in force. The source and publish parts are each
operator's own. Who has yet to add what is in "status" and "zones show".
"zonesignerd init" leaves an example.`,
		Example: "  zonesignerd zones add example.org.yaml",
		Args:    between(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := config.ReadFile(args[0])
			if err != nil {
				return err
			}
			p, err := config.ParsePolicy(args[0], text)
			if err != nil {
				return err
			}
			ask := func(b api.Backend) (*api.Request, error) {
				return b.AddZone(cmd.Context(), api.AddZone{Policy: string(text), File: args[0]})
			}
			return a.ask(cmd.Context(), &w, ask, func(r *api.Request) {
				if len(r.WaitsFor) > 0 {
					a.printf("%s: added here; waits for %s to add the same policy", p.Zone, people(r.WaitsFor))
					return
				}
				a.printf("%s: added; all operators have the same policy", p.Zone)
			})
		},
	}
	w.flags(cmd, ceremonyTimeout)
	return cmd
}

func (a *app) zonesRemoveCommand() *cobra.Command {
	var w waiting
	cmd := &cobra.Command{
		Use:   "remove ZONE",
		Short: "Stop signing a zone",
		Long: `Stop signing a zone, at once and for all, because no version of it is signed
that one operator does not know. What is served stays as it is, and its
signatures will expire; the keys stay in the keystore, for a zone that is added
again.`,
		Example:           "  zonesignerd zones remove example.org",
		Args:              between(1, 1),
		ValidArgsFunction: a.completeZones,
		RunE: func(cmd *cobra.Command, args []string) error {
			zone, err := zoneName(args[0])
			if err != nil {
				return err
			}
			ask := func(b api.Backend) (*api.Request, error) {
				return b.RemoveZone(cmd.Context(), api.RemoveZone{Zone: zone})
			}
			return a.ask(cmd.Context(), &w, ask, func(*api.Request) { a.printf("%s: removed", zone) })
		},
	}
	w.flags(cmd, ceremonyTimeout)
	return cmd
}

func (a *app) zonesListCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the zones and what each waits for",
		Example: "  zonesignerd zones list\n  zonesignerd zones list --json",
		Args:    between(0, 0),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			zones, err := c.Zones(cmd.Context())
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(zones)
			}
			a.printZones(zones, a.next)
			return nil
		},
	}
}

// printZones writes one line a zone; next says who or what comes next.
func (a *app) printZones(zones []api.ZoneStatus, next func(api.Next) string) {
	if len(zones) == 0 {
		return
	}
	t := newTable("ZONE", "STATE", "SOURCE", "SERVED", "EXPIRES", "NEXT")
	for _, z := range zones {
		text := next(z.Next)
		if z.Next.Kind == api.ActorClock {
			text = a.next(z.Next)
		}
		t.row(z.Zone, z.State, serial(z.SourceSerial), serial(z.ServedSerial), when(z.EarliestExpiry, a.now()), text)
		t.paint(1, stateColour(z.State))
	}
	a.printTable(t)
}

func (a *app) zonesShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "show ZONE",
		Short:             "Show a zone: state, refusals, keys, policy",
		Example:           "  zonesignerd zones show example.org",
		Args:              between(1, 1),
		ValidArgsFunction: a.completeZones,
		RunE: func(cmd *cobra.Command, args []string) error {
			zone, err := zoneName(args[0])
			if err != nil {
				return err
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			z, err := c.Zone(cmd.Context(), zone)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(z)
			}
			a.printZone(z)
			return nil
		},
	}
}

func (a *app) printZone(z *api.ZoneDetail) {
	now := a.now()
	t := &table{}
	t.row("zone", z.Zone)
	t.row("state", z.State)
	t.paint(1, stateColour(z.State))
	t.row("next", a.next(z.Next))
	t.row("source", z.SourceFrom+", "+serialWords(z.SourceSerial))
	if p := z.Approval; p != nil {
		t.row("approved", fmt.Sprintf("serial %d, content %s, from %s, %s: %s", p.Serial, shortDigest(p.Content), p.File, when(p.At, now), approvalWords(p.State)))
	}
	t.row("published", z.PublishTo+", "+serialWords(z.ServedSerial))
	t.row("signed", when(z.LastSigned, now))
	t.row("earliest expiry", when(z.EarliestExpiry, now))
	t.row("next refresh", when(z.NextRefresh, now))
	t.row("denial", z.Denial)
	if z.RRsets > 0 {
		t.row("rrsets", strconv.Itoa(z.RRsets)+", with "+strconv.Itoa(z.RRSIGs)+" RRSIG")
	}
	t.row("policy digest", z.PolicyDigest)
	a.printTable(t)
	for _, w := range z.Warnings {
		a.printf("warning: %s", w)
	}
	if len(z.Refusals) > 0 {
		a.printf("")
		a.printRefusals(z.Refusals)
	}
	if len(z.Lag) > 0 {
		a.printf("")
		t := newTable("OPERATOR", "POLICY", "SERVES", "SINCE", "BEHIND")
		for _, l := range z.Lag {
			behind := ""
			if l.Serial != 0 {
				behind = lag(l.Behind)
			}
			t.row(l.Peer, policyWords(l.Policy), serial(l.Serial), when(l.Since, now), behind)
		}
		a.printTable(t)
	}
	if len(z.Keys) > 0 {
		a.printf("")
		a.printKeys(z.Keys)
	}
	if len(z.Stages) > 0 && z.ServedSerial != 0 {
		a.printf("")
		t := newTable("STAGE", "SECONDS")
		for _, s := range z.Stages {
			t.row(s.Name, strconv.FormatFloat(s.Seconds, 'f', 3, 64))
		}
		a.printTable(t)
	}
}

func approvalWords(state string) string {
	switch state {
	case api.ApprovalStands:
		return "to be signed"
	case api.ApprovalSuperseded:
		return "void, another content was signed since"
	}
	return state
}

func policyWords(policy string) string {
	switch policy {
	case api.PolicyNone:
		return "has not added it"
	case api.PolicyUnknown:
		return "not heard of"
	}
	return policy
}

func (a *app) printRefusals(refusals []api.Refusal) {
	for _, r := range refusals {
		a.printf("%s: operator %s refuses: %s", when(r.At, a.now()), r.Peer, r.Reason)
		for _, record := range r.Records {
			a.printf("    %s", record)
		}
	}
}

// completeZones offers the daemon's zones to the shell.
func (a *app) completeZones(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	c, err := a.client()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	zones, err := c.Zones(cmd.Context())
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	names := make([]string, len(zones))
	for i, z := range zones {
		names[i] = strings.TrimSuffix(z.Zone, ".")
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// zoneName takes a name with or without its final dot.
func zoneName(text string) (string, error) {
	p := config.DefaultPolicy(text)
	if text == "" || p.Validate() != nil {
		return "", usageError("%q is no zone's name", text)
	}
	return p.Zone, nil
}

func serial(n uint32) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatUint(uint64(n), 10)
}

func serialWords(n uint32) string {
	if n == 0 {
		return "nothing yet"
	}
	return "serial " + serial(n)
}

func lag(seconds float64) string {
	if seconds <= 0 {
		return "level"
	}
	return strconv.FormatFloat(seconds, 'f', 0, 64) + " s"
}

func stateColour(state string) string {
	switch state {
	case api.ZoneSigned:
		return green
	case api.ZoneSigning, api.ZoneWaiting, api.ZoneNoKey:
		return yellow
	}
	return red
}

// actor is who acts next.
func actor(n api.Next) string {
	switch n.Kind {
	case api.ActorSelf:
		return "this operator"
	case api.ActorPeer:
		return "operator " + n.Name
	case api.ActorParent:
		return strings.TrimSpace("the parent zone " + n.Name)
	}
	return ""
}

// next says in words who acts next, and what is waited for.
func (a *app) next(n api.Next) string {
	text := n.WaitsFor
	if who := actor(n); who != "" && !strings.HasPrefix(text, "operator") && !strings.HasPrefix(text, "this operator") {
		text = strings.TrimSuffix(who+": "+text, ": ")
	}
	if !n.At.IsZero() {
		text = strings.TrimSpace(text + " " + relative(n.At, a.now()))
	}
	return text
}
