package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"zonesigner/dnssec"
	"zonesigner/zonesignerd/internal/api"
)

// shownManifest is a manifest as JSON has it.
type shownManifest struct {
	Digest string            `json:"digest"`
	Header map[string]string `json:"header"` // by the manifest's own words
	Keys   []manifestKey     `json:"keys"`
	Items  []manifestItem    `json:"items"`
}

type manifestKey struct {
	ID        string `json:"id"`
	Flags     uint16 `json:"flags"`
	CSK       bool   `json:"csk"`
	Algorithm uint8  `json:"algorithm"`
	Tag       uint16 `json:"tag"`
	State     string `json:"state"`
}

type manifestItem struct {
	Owner      string    `json:"owner"`
	Type       string    `json:"type"`
	Tag        uint16    `json:"tag"`
	Inception  time.Time `json:"inception"`
	Expiration time.Time `json:"expiration"`
	Message    string    `json:"message_sha256"`
}

// manifestDifference is one line of manifest compare, as JSON has it.
type manifestDifference struct {
	Field string `json:"field"`
	What  string `json:"what"`
	A     string `json:"a"`
	B     string `json:"b"`
	Why   string `json:"why,omitempty"`
}

func (a *app) manifestCommand() *cobra.Command {
	var items, group, raw bool
	var at time.Time
	cmd := &cobra.Command{
		Use:   "manifest (FILE | --group ZONE)",
		Short: "Show a manifest in words: what is to be signed",
		Long: `Show a manifest in words. A manifest says all that is to be signed for one
version of a zone, and under what terms; its digest is what operators agree on.
"zonesignerd sign --dry-run" prints one. The file has to be in canonical form:
what is not, byte for byte, is refused.

With --group it is the manifest of what the daemon of this machine would propose
now for one of the group's zones, from its own copy: the newest content that it
read, or the last agreed one again. Nothing is proposed. Operators come to the
same one for one time, which --at gives, where they have the same content, keys,
policy and last signed zone.`,
		Example: `  zonesignerd manifest example.org.manifest
  zonesignerd sign --dry-run -o example.org --key ksk:ksk.pem --key zsk:zsk.pem example.org.zone | zonesignerd manifest --items -
  zonesignerd manifest --group example.org
  zonesignerd manifest --group example.org --at 2026-11-21T12:00:00Z --raw > a.manifest`,
		Args: between(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !group {
				if raw || cmd.Flags().Changed("at") {
					return usageError("manifest: --at and --raw are for --group")
				}
				m, err := a.readManifest(args[0])
				if err != nil {
					return err
				}
				return a.showManifest(m, items)
			}
			if raw {
				return a.groupManifest(cmd.Context(), args[0], at, a.out)
			}
			var text bytes.Buffer
			if err := a.groupManifest(cmd.Context(), args[0], at, &text); err != nil {
				return err
			}
			m, err := dnssec.ParseManifest(&text)
			if err != nil {
				return err
			}
			return a.showManifest(m, items)
		},
	}
	cmd.Flags().BoolVar(&items, "items", false, "list each signature that is to be made")
	cmd.Flags().BoolVar(&group, "group", false, "of what the daemon would propose for a zone")
	cmd.Flags().BoolVar(&raw, "raw", false, "with --group: the manifest itself, as \"manifest compare\" reads it")
	cmd.Flags().Var(moment{&at, a.now}, "at", "with --group: the `time` that all times in it follow from, as \"verify\" reads it (default now)")
	cmd.AddCommand(a.manifestCompareCommand())
	return cmd
}

// groupManifest writes the manifest of what the daemon would propose for a zone.
func (a *app) groupManifest(ctx context.Context, zone string, at time.Time, w io.Writer) error {
	zone, err := zoneName(zone)
	if err != nil {
		return err
	}
	d := api.Draft{Zone: zone}
	if !at.IsZero() {
		d.At = uint32(at.Unix())
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	return c.Manifest(ctx, d, w)
}

func (a *app) manifestCompareCommand() *cobra.Command {
	var most int
	cmd := &cobra.Command{
		Use:   "compare A B",
		Short: "Say how two manifests differ, and how that comes about",
		Long: `Say how two manifests differ, and how that comes about: it is what to do when
signers of one zone do not come to the same. "zonesignerd sign --dry-run" prints a
manifest where the keys are in files or a token, or with --group of what this
operator's daemon would propose; "zonesignerd manifest --group ZONE --raw" that of
the daemon's own copy.

The exit status is 0 if they are the same and 1 if they differ.`,
		Example: "  zonesignerd manifest compare a.manifest b.manifest",
		Args:    between(2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			x, err := a.readManifest(args[0])
			if err != nil {
				return err
			}
			y, err := a.readManifest(args[1])
			if err != nil {
				return err
			}
			if most < 0 {
				return usageError("--most %d: want a number of differences, or 0 for all", most)
			}
			found := dnssec.CompareManifests(x, y, most)
			if err := a.printManifestDifferences(found, most); err != nil || len(found) == 0 {
				return err
			}
			return api.Errorf(api.CodeFailure, "%s and %s differ", args[0], args[1])
		},
	}
	cmd.Flags().IntVar(&most, "most", 50, "differences to list at most; 0: all")
	return cmd
}

func (a *app) readManifest(name string) (*dnssec.Manifest, error) {
	_, r, err := a.open(name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	m, err := dnssec.ParseManifest(r)
	if err != nil {
		return nil, api.Errorf(api.CodeUsage, "%s: %w", name, err)
	}
	return m, nil
}

// printManifest writes a manifest as it is, or as JSON.
func (a *app) printManifest(text []byte) error {
	if !a.json {
		_, err := a.out.Write(text)
		return err
	}
	m, err := dnssec.ParseManifest(bytes.NewReader(text))
	if err != nil {
		return err
	}
	return a.showManifest(m, true)
}

func (a *app) showManifest(m *dnssec.Manifest, items bool) error {
	sum := sha256.Sum256(m.Bytes())
	if a.json {
		return a.printJSON(manifestJSON(m, sum[:]))
	}
	t := &table{}
	t.row("digest", hex.EncodeToString(sum[:]))
	for _, f := range m.Fields() {
		t.row(f.What, f.Value)
	}
	a.printTable(t)
	a.printf("")
	t = newTable("KEY", "FLAGS", "ALGORITHM", "TAG", "STATE", "SIGNS")
	for _, k := range m.Keys {
		n := 0
		for i := range m.List {
			if m.List[i].KeyTag == k.KeyTag() {
				n++
			}
		}
		t.row(k.ID, fmt.Sprint(k.Flags), fmt.Sprint(k.Algorithm), fmt.Sprint(k.KeyTag()), string(k.State), fmt.Sprint(n))
	}
	a.printTable(t)
	if !items {
		return nil
	}
	a.printf("")
	t = newTable("NAME", "TYPE", "TAG", "FROM", "TO", "SHA-256 OF WHAT IS SIGNED")
	for i := range m.List {
		it := &m.List[i]
		t.row(it.Owner.String(), dnssec.TypeName(it.Type), fmt.Sprint(it.KeyTag), utc(it.Inception).Format(time.RFC3339),
			utc(it.Expiration).Format(time.RFC3339), hex.EncodeToString(it.Message[:]))
	}
	a.printTable(t)
	return nil
}

func manifestJSON(m *dnssec.Manifest, sum []byte) shownManifest {
	s := shownManifest{Digest: hex.EncodeToString(sum), Header: map[string]string{}, Keys: []manifestKey{}, Items: []manifestItem{}}
	for _, f := range m.Fields() {
		s.Header[f.Field] = f.Value
	}
	for _, k := range m.Keys {
		s.Keys = append(s.Keys, manifestKey{k.ID, k.Flags, k.CSK, k.Algorithm, k.KeyTag(), string(k.State)})
	}
	for i := range m.List {
		it := &m.List[i]
		s.Items = append(s.Items, manifestItem{it.Owner.String(), dnssec.TypeName(it.Type), it.KeyTag, utc(it.Inception), utc(it.Expiration),
			hex.EncodeToString(it.Message[:])})
	}
	return s
}

func utc(t uint32) time.Time { return time.Unix(int64(t), 0).UTC() }

func (a *app) printManifestDifferences(found []dnssec.ManifestDifference, most int) error {
	if a.json {
		all := []manifestDifference{}
		for _, d := range found {
			all = append(all, manifestDifference{d.Field, d.What, d.Here, d.There, d.Why})
		}
		return a.printJSON(struct {
			Same        bool                 `json:"same"`
			Differences []manifestDifference `json:"differences"`
		}{len(all) == 0, all})
	}
	if len(found) == 0 {
		a.printf("they are the same")
		return nil
	}
	for _, d := range found {
		a.printf("%s", d.What)
		a.printf("  here   %s", d.Here)
		a.printf("  there  %s", d.There)
		if d.Why != "" {
			a.printf("  %s", d.Why)
		}
	}
	if len(found) == most {
		a.printf("no more than %d are listed: --most 0 lists all", most)
	}
	return nil
}
