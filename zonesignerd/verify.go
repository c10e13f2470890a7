package main

import (
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"zonesigner/dnssec"
	"zonesigner/zonesignerd/config"
	"zonesigner/zonesignerd/internal/api"
	"zonesigner/zonesignerd/internal/proof"
)

// verified is what verify found, as JSON has it.
type verified struct {
	Zone       string        `json:"zone"`
	Serial     *uint32       `json:"serial,omitempty"`
	RRsets     int           `json:"rrsets"`
	Signatures int           `json:"signatures"`
	At         time.Time     `json:"at"`
	Trusted    bool          `json:"trusted"` // by a trust anchor
	Earliest   *time.Time    `json:"earliest_expiration,omitempty"`
	Good       bool          `json:"good"`
	Faults     []verifyFault `json:"faults"`
}

type verifyFault struct {
	Code  string `json:"code"`
	Owner string `json:"owner"`
	Type  string `json:"type"`
	What  string `json:"what"`
}

func (a *app) verifyCommand() *cobra.Command {
	var origin string
	var anchors []string
	var warn config.Duration
	var at time.Time
	var threads int
	cmd := &cobra.Command{
		Use:   "verify ZONEFILE",
		Short: "Check a signed zone in a file, and list all that is wrong with it",
		Long: `Check a signed zone in a file, by whomever it was signed, and list all that is
wrong with it, one fault a line: its code, the name and type that it is about,
and what was found and what was expected. docs/verifying.md explains each code.

Checked are the signature of every RRset and each of its fields, the keys, the
whole chain of NSEC or NSEC3 records, the zone's digest (ZONEMD) where it has
one, and what no zone may hold. Algorithms 8, 13, 14 and 15 are verified.

Without a trust anchor the zone's own keys are taken as they are: the zone is
then whole, but anybody may have signed it. An anchor is a DS or DNSKEY record,
or a file of them, such as BIND's dsset-ZONE and K*.key.`,
		Example: `  zonesignerd verify example.org.signed --trust-anchor dsset-example.org. --warn 3d
  zonesignerd verify example.org.signed --trust-anchor "example.org. DS 11967 13 2 3bd7..."
  kdig @192.0.2.1 example.org AXFR +noall +answer | zonesignerd verify - --at 20261201000000`,
		Args: between(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkThreads(threads); err != nil {
				return err
			}
			z, err := a.readZoneFile(args[0], origin)
			if err != nil {
				return err
			}
			if at.IsZero() {
				at = a.now()
			}
			o := dnssec.VerifyOptions{Unanchored: len(anchors) == 0, At: uint32(at.Unix()), Warn: uint32(warn.Seconds()),
				Threads: threads, Batch: proof.NewBatches().Verify}
			for _, text := range anchors {
				more, err := readAnchors(text, z.Apex())
				if err != nil {
					return err
				}
				o.Anchors = append(o.Anchors, more...)
			}
			return a.verifyDone(z, at, len(anchors) > 0, z.Verify(o))
		},
	}
	cmd.Flags().StringVarP(&origin, "origin", "o", "", "the `zone`'s name (default the owner of the SOA record)")
	cmd.Flags().StringArrayVar(&anchors, "trust-anchor", nil, "a DS or DNSKEY `record` that is trusted, or a file of them; may be repeated")
	cmd.Flags().Var(moment{&at, a.now}, "at", "the `time` at which signatures must be valid: "+timeForms+" (default now)")
	cmd.Flags().Var(seconds{&warn}, "warn", "signatures that expire within this time are faults")
	cmd.Flags().IntVar(&threads, "threads", 0, "processors to use (default all)")
	return cmd
}

// readAnchors reads a record, or the file that the text names.
func readAnchors(text string, zone dnssec.Name) ([]dnssec.Anchor, error) {
	f, err := os.Open(text)
	if err == nil {
		defer f.Close()
		anchors, err := dnssec.ParseAnchors(f, zone, text)
		return anchors, badArgument(err)
	}
	if !strings.ContainsAny(text, " \t") { // no record has none
		return nil, badArgument(err)
	}
	if first, _, _ := strings.Cut(text, " "); strings.EqualFold(first, "DS") || strings.EqualFold(first, "DNSKEY") {
		text = "@ " + text
	}
	anchors, err := dnssec.ParseAnchors(strings.NewReader(text+"\n"), zone, "trust anchor")
	return anchors, badArgument(err)
}

// badArgument makes an error one of the command line.
func badArgument(err error) error {
	if err == nil {
		return nil
	}
	return api.Errorf(api.CodeUsage, "%w", err)
}

// verifyDone prints what was found; faults are a failed verification.
func (a *app) verifyDone(z *dnssec.ZoneFile, at time.Time, trusted bool, faults []dnssec.Fault) error {
	v := verified{Zone: z.Apex().String(), RRsets: z.Len(), Signatures: z.Signatures(), At: at.UTC(), Trusted: trusted,
		Good: len(faults) == 0, Faults: []verifyFault{}}
	if serial, ok := z.Serial(); ok {
		v.Serial = &serial
	}
	if e := z.Earliest(); e != 0 {
		t := time.Unix(int64(e), 0).UTC()
		v.Earliest = &t
	}
	for _, f := range faults {
		v.Faults = append(v.Faults, verifyFault{string(f.Code), f.Owner.String(), dnssec.TypeName(f.Type), f.What})
	}
	if a.json {
		if err := a.printJSON(v); err != nil {
			return err
		}
	} else {
		a.printVerified(&v)
	}
	if v.Good {
		return nil
	}
	return api.Errorf(api.CodeVerification, "zone %s has %s", v.Zone, plural(len(faults), "fault"))
}

func (a *app) printVerified(v *verified) {
	if len(v.Faults) > 0 {
		t := newTable("FAULT", "NAME", "TYPE", "WHAT")
		for _, f := range v.Faults {
			t.row(f.Code, f.Owner, f.Type, f.What)
			t.paint(0, red)
		}
		a.printTable(t)
		return
	}
	line := "zone " + v.Zone
	if v.Serial != nil {
		line += " serial " + serial(*v.Serial)
	}
	line += " is good: " + plural(v.RRsets, "RRset") + ", " + plural(v.Signatures, "signature")
	if v.Earliest != nil {
		line += ", the first expires " + when(*v.Earliest, v.At)
	}
	a.printf("%s", line)
	if !v.Trusted {
		a.printf("%s", "its keys were taken as they are: no --trust-anchor says whose they are")
	}
}
