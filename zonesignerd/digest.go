package main

import (
	"bytes"
	"encoding/hex"

	"github.com/spf13/cobra"

	"zonesigner/dnssec"
	"zonesigner/zonesignerd/internal/api"
)

// digested is what digest computed, as JSON has it.
type digested struct {
	Zone      string `json:"zone"`
	Serial    uint32 `json:"serial"`
	Scheme    uint8  `json:"scheme"`
	Algorithm uint8  `json:"hash_algorithm"`
	Digest    string `json:"digest"`
	Record    string `json:"record"`
	InZone    string `json:"in_zone"` // same, differs, or none
}

func (a *app) digestCommand() *cobra.Command {
	var origin, hash string
	cmd := &cobra.Command{
		Use:   "digest ZONEFILE",
		Short: "Compute a zone's digest (ZONEMD), and compare it with the zone's own",
		Long: `Compute the digest of a zone as it stands in a file, signed or not (RFC 8976,
scheme SIMPLE), and print it as a ZONEMD record. It covers all records but the
ZONEMD records at the apex and the signatures over them.

Where the zone has a ZONEMD record of that hash algorithm the two are compared;
if they differ, the exit status is 5. Without --zonemd all of the zone's own
are, or SHA-384 where it has none.`,
		Example: "  zonesignerd digest example.org.signed\n  zonesignerd digest example.org.zone -z sha512",
		Args:    between(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			policies, err := digestPolicies(hash)
			if err != nil {
				return err
			}
			z, err := a.readZoneFile(args[0], origin)
			if err != nil {
				return err
			}
			return a.digest(z, policies)
		},
	}
	cmd.Flags().StringVarP(&origin, "origin", "o", "", "the `zone`'s name (default the owner of the SOA record)")
	cmd.Flags().StringVarP(&hash, "zonemd", "z", "", "sha384 or sha512 (default the zone's own, or sha384)")
	return cmd
}

// digestPolicies are those of the flag; none: what the zone has.
func digestPolicies(hash string) ([]dnssec.ZONEMDPolicy, error) {
	p, err := zonemdPolicy(hash)
	if err != nil || !p.Wanted() {
		return nil, err
	}
	return []dnssec.ZONEMDPolicy{p}, nil
}

func (a *app) digest(z *dnssec.ZoneFile, policies []dnssec.ZONEMDPolicy) error {
	own := z.ZONEMD()
	if len(policies) == 0 {
		for _, p := range []dnssec.ZONEMDPolicy{dnssec.ZONEMDSHA384, dnssec.ZONEMDSHA512} {
			for _, d := range own {
				if d.Policy() == p {
					policies = append(policies, p)
					break
				}
			}
		}
	}
	if len(policies) == 0 {
		policies = []dnssec.ZONEMDPolicy{dnssec.ZONEMDSHA384}
	}
	var all []digested
	var wrong error
	for _, p := range policies {
		d, err := z.PolicyDigest(p)
		if err != nil {
			return badArgument(err)
		}
		r := digested{Zone: z.Apex().String(), Serial: d.Serial, Scheme: d.Scheme, Algorithm: d.Algorithm, Digest: hex.EncodeToString(d.Digest),
			Record: z.Apex().String() + " IN ZONEMD " + d.String(), InZone: "none"}
		for _, o := range own {
			if o.Policy() != p {
				continue
			}
			if r.InZone = "same"; o.Serial != d.Serial || !bytes.Equal(o.Digest, d.Digest) {
				r.InZone = "differs"
				wrong = api.Errorf(api.CodeVerification, "the zone's ZONEMD record differs: %s", o)
				break
			}
		}
		all = append(all, r)
	}
	if a.json {
		if err := a.printJSON(all); err != nil {
			return err
		}
		return wrong
	}
	for _, r := range all {
		a.printf("%s", r.Record)
		if r.InZone == "same" {
			a.printf("%s", "the zone has this record")
		}
	}
	return wrong
}
