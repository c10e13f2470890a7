package main

import (
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"zonesigner/zonesignerd/config"
	"zonesigner/zonesignerd/internal/api"
)

func (a *app) zonesCommand() *cobra.Command {
	return parent(&cobra.Command{Use: "zones", Short: "Add, remove, list and show zones"},
		a.zonesAddCommand(), a.zonesRemoveCommand(), a.zonesListCommand(), a.zonesShowCommand())
}

func (a *app) zonesAddCommand() *cobra.Command {
	var w waiting
	cmd := &cobra.Command{
		Use:   "add POLICY",
		Short: "Add a zone, or give it another policy",
		Long: `Add the zone of a policy file, or give it another policy. It comes into force
when every operator has added the same policy; its source and publish parts
are each operator's own. "zonesignerd init" leaves an example.`,
		Example: "  zonesignerd zones add example.org.yaml",
		Args:    between(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := config.LoadPolicy(args[0])
			if err != nil {
				return err
			}
			text, err := os.ReadFile(args[0])
			if err != nil {
				return err
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			r, err := c.AddZone(cmd.Context(), api.AddZone{Policy: string(text), File: args[0]})
			if err != nil {
				return err
			}
			return a.follow(cmd.Context(), c, &w, r, func(*api.Request) { a.printf("%s: the policy is in force", p.Zone) })
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
		Long: `Stop signing a zone, when every operator has asked for it. What is served stays
as it is; the keys stay in the keystore.`,
		Example:           "  zonesignerd zones remove example.org",
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
			r, err := c.RemoveZone(cmd.Context(), api.RemoveZone{Zone: zone})
			if err != nil {
				return err
			}
			return a.follow(cmd.Context(), c, &w, r, func(*api.Request) { a.printf("%s: removed", zone) })
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
			a.printZones(zones)
			return nil
		},
	}
}

// printZones writes one line a zone.
func (a *app) printZones(zones []api.ZoneStatus) {
	if len(zones) == 0 {
		return
	}
	t := newTable("ZONE", "STATE", "SOURCE", "SERVED", "EXPIRES", "NEXT")
	for _, z := range zones {
		t.row(z.Zone, z.State, serial(z.SourceSerial), serial(z.ServedSerial), when(z.EarliestExpiry, a.now()), a.next(z.Next))
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
	t.row("source", z.SourceFrom+", serial "+serial(z.SourceSerial))
	t.row("published", z.PublishTo+", serial "+serial(z.ServedSerial))
	t.row("signed", when(z.LastSigned, now))
	t.row("earliest expiry", when(z.EarliestExpiry, now))
	t.row("next refresh", when(z.NextRefresh, now))
	t.row("denial", z.Denial)
	if z.RRsets > 0 {
		t.row("rrsets", strconv.Itoa(z.RRsets)+", with "+strconv.Itoa(z.RRSIGs)+" RRSIG")
	}
	t.row("policy digest", z.PolicyDigest)
	a.printTable(t)
	a.printRefusals(z.Refusals)
	if len(z.Lag) > 0 {
		a.printf("")
		t := newTable("OPERATOR", "SERVES", "SINCE", "BEHIND")
		for _, l := range z.Lag {
			t.row(l.Peer, serial(l.Serial), when(l.Since, now), lag(l.Behind))
		}
		a.printTable(t)
	}
	if len(z.Keys) > 0 {
		a.printf("")
		a.printKeys(z.Keys)
	}
	if len(z.Stages) > 0 {
		a.printf("")
		t := newTable("STAGE", "SECONDS")
		for _, s := range z.Stages {
			t.row(s.Name, strconv.FormatFloat(s.Seconds, 'f', 3, 64))
		}
		a.printTable(t)
	}
}

func (a *app) printRefusals(refusals []api.Refusal) {
	for _, r := range refusals {
		a.printf("operator %s refuses: %s", r.Peer, r.Reason)
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

// next says in words who acts next, and what is waited for.
func (a *app) next(n api.Next) string {
	who := ""
	switch n.Kind {
	case api.ActorSelf:
		who = "this operator"
	case api.ActorPeer:
		who = "operator " + n.Name
	case api.ActorParent:
		who = "the parent zone"
		if n.Name != "" {
			who += " " + n.Name
		}
	}
	var parts []string
	for _, p := range []string{who, n.WaitsFor} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	text := strings.Join(parts, ": ")
	if !n.At.IsZero() {
		text = strings.TrimSpace(text + " " + relative(n.At, a.now()))
	}
	return text
}
