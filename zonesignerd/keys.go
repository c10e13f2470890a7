package main

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"zonesigner/zonesignerd/config"
	"zonesigner/zonesignerd/internal/api"
)

// ceremonyTimeout is how long people at the other operators are waited for.
const ceremonyTimeout = 10 * time.Minute

func (a *app) keysCommand() *cobra.Command {
	return parent(&cobra.Command{Use: "keys", Short: "Make, list and show the shared keys"},
		a.keysGenerateCommand(), a.keysDealCommand(), a.keysImportCommand(), a.keysListCommand(), a.keysShowCommand(), a.keysDSCommand(), a.keysResumeCommand())
}

func (a *app) keysGenerateCommand() *cobra.Command {
	var w waiting
	var g api.GenerateKeys
	var ksk, zsk, csk bool
	cmd := &cobra.Command{
		Use:   "generate ZONE",
		Short: "Make a zone's keys, together with all operators",
		Long: `Make a zone's keys. This starts when every operator has run the same command,
and needs all of them; should one drop out, nothing is lost and it starts
again when it is back. In the end a test signature has been verified, all
operators hold equal signed transcripts, and the keys are shown.`,
		Example:           "  zonesignerd keys generate example.org\n  zonesignerd keys generate example.org --csk --timeout 1h",
		Args:              between(1, 1),
		ValidArgsFunction: a.completeZones,
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if g.Zone, err = zoneName(args[0]); err != nil {
				return err
			}
			if g.Roles, err = roles(ksk, zsk, csk); err != nil {
				return err
			}
			ask := func(b api.Backend) (*api.Request, error) { return b.GenerateKeys(cmd.Context(), g) }
			return a.ask(cmd.Context(), &w, ask, func(r *api.Request) { a.printKeys(r.Keys) })
		},
	}
	cmd.Flags().BoolVar(&ksk, "ksk", false, "a key that signs the DNSKEY records (without a role: as the policy says)")
	cmd.Flags().BoolVar(&zsk, "zsk", false, "a key that signs the zone")
	cmd.Flags().BoolVar(&csk, "csk", false, "one key that signs everything")
	cmd.Flags().StringVar(&g.Engine, "engine", "", config.Engines()+" (default as the policy says)")
	w.flags(cmd, ceremonyTimeout)
	return cmd
}

// roles is what the flags ask for, in one order, so that requests are equal.
func roles(ksk, zsk, csk bool) ([]string, error) {
	var chosen []string
	if csk {
		if ksk || zsk {
			return nil, usageError("--csk is one key for everything: it goes with neither --ksk nor --zsk")
		}
		return []string{"CSK"}, nil
	}
	if ksk {
		chosen = append(chosen, "KSK")
	}
	if zsk {
		chosen = append(chosen, "ZSK")
	}
	return chosen, nil
}

func (a *app) keysListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list [ZONE]",
		Short: "List keys, their states and who confirmed them",
		Long: `List keys, their states and who confirmed them, and below them what keys were
asked for and are not there yet, and who is waited for.`,
		Example:           "  zonesignerd keys list\n  zonesignerd keys list example.org",
		Args:              between(0, 1),
		ValidArgsFunction: a.completeZones,
		RunE: func(cmd *cobra.Command, args []string) error {
			keys, err := a.findKeys(cmd, args)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(keys)
			}
			a.printKeys(keys)
			return a.printKeyRequests(cmd, args)
		},
	}
}

// printKeyRequests tells what keys of the zone in args, or of all, were asked
// for and are not there yet.
func (a *app) printKeyRequests(cmd *cobra.Command, args []string) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	s, err := c.Status(cmd.Context())
	if err != nil {
		return err
	}
	for _, r := range s.Requests {
		if r.Kind != api.KindKeysGenerate && r.Kind != api.KindKeysImport {
			continue
		}
		if len(args) > 0 {
			if zone, err := zoneName(args[0]); err != nil || zone != r.Subject {
				continue
			}
		}
		a.printf("%s of %s: %s", r.Kind, r.Subject, describe(&r))
		if r.Command != "" {
			a.printf("they have to run: %s", r.Command)
		}
	}
	return nil
}

// findKeys is the daemon's keys of the zone in args, or all.
func (a *app) findKeys(cmd *cobra.Command, args []string) ([]api.Key, error) {
	zone := ""
	if len(args) > 0 {
		var err error
		if zone, err = zoneName(args[0]); err != nil {
			return nil, err
		}
	}
	c, err := a.client()
	if err != nil {
		return nil, err
	}
	return c.Keys(cmd.Context(), zone)
}

func (a *app) printKeys(keys []api.Key) {
	if len(keys) == 0 {
		return
	}
	t := newTable("ZONE", "ROLE", "TAG", "STATE", "ENGINE", "CREATED", "CONFIRMED BY", "KEY")
	for _, k := range keys {
		state := k.State
		if k.Suspended {
			state += ", suspended"
		}
		t.row(k.Zone, k.Role, tag(k.Tag), state, k.Engine, when(k.Created, a.now()), strings.Join(k.Confirmed, ","), k.ID)
	}
	a.printTable(t)
	for _, k := range keys {
		if k.Problem != "" {
			a.printf("%s", k.Problem)
		}
	}
}

func (a *app) keysShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show KEY",
		Short: "Show a key, its DNSKEY and its DS",
		Long: `Show a key, named by its id, by the beginning of its id, or by its tag. No part
of the private key is ever shown, and no operator has it whole.`,
		Example: "  zonesignerd keys show 34812",
		Args:    between(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			k, err := a.findKey(cmd, args[0])
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(k)
			}
			a.printKey(k)
			return nil
		},
	}
}

// findKey is the one of the daemon's keys that name means: an id, the beginning
// of one, or a tag.
func (a *app) findKey(cmd *cobra.Command, name string) (*api.Key, error) {
	keys, err := a.findKeys(cmd, nil)
	if err != nil {
		return nil, err
	}
	var found []*api.Key
	for i, k := range keys {
		if k.ID == name || tag(k.Tag) == name {
			found = append(found, &keys[i])
		} else if len(name) >= 6 && strings.HasPrefix(k.ID, name) {
			found = append(found, &keys[i])
		}
	}
	switch len(found) {
	case 0:
		return nil, api.Errorf(api.CodeNotFound, "there is no key %q", name)
	case 1:
		return found[0], nil
	}
	return nil, usageError("%q is %d keys: give more of the id", name, len(found))
}

func (a *app) printKey(k *api.Key) {
	t := &table{}
	t.row("key", k.ID)
	t.row("zone", k.Zone)
	t.row("role", k.Role)
	t.row("tag", tag(k.Tag))
	t.row("algorithm", strconv.Itoa(int(k.Algorithm)))
	t.row("state", k.State)
	t.row("engine", k.Engine)
	t.row("created", when(k.Created, a.now()))
	t.row("confirmed by", strings.Join(k.Confirmed, ", "))
	a.printTable(t)
	if k.Problem != "" {
		a.printf("%s", k.Problem)
	}
	if k.DNSKEY == "" {
		return // blocked
	}
	a.printf("%s", k.DNSKEY)
	for _, ds := range k.DS {
		a.printf("%s", ds)
	}
}

func (a *app) keysDSCommand() *cobra.Command {
	var published bool
	cmd := &cobra.Command{
		Use:   "ds ZONE",
		Short: "Print the DS records to give to the parent zone",
		Long: `Print the DS records to give to the parent zone. With --published, say that the
parent has them: until then, status names it as the one who has to act. The
daemon does not look for itself; ask a resolver that you trust first.`,
		Example:           "  zonesignerd keys ds example.org\n  zonesignerd keys ds example.org --published",
		Args:              between(1, 1),
		ValidArgsFunction: a.completeZones,
		RunE: func(cmd *cobra.Command, args []string) error {
			if published {
				zone, err := zoneName(args[0])
				if err != nil {
					return err
				}
				c, err := a.client()
				if err != nil {
					return err
				}
				if _, err := c.ConfirmDS(cmd.Context(), api.ConfirmDS{Zone: zone}); err != nil {
					return err
				}
			}
			keys, err := a.findKeys(cmd, args)
			if err != nil {
				return err
			}
			records := []string{}
			for _, k := range keys {
				if !slices.Contains([]string{"pre-active", "retired", "post-active", "removed"}, k.State) {
					records = append(records, k.DS...)
				}
			}
			if a.json {
				return a.printJSON(records)
			}
			if len(records) == 0 {
				return api.Errorf(api.CodeNotFound, "%s has no key that a DS could name", args[0])
			}
			for _, r := range records {
				a.printf("%s", r)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&published, "published", false, "the parent has them")
	return cmd
}

func (a *app) keysResumeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "resume KEY",
		Short: "Let a suspended key sign again at this operator",
		Long: `Let a key sign again that this operator's daemon has suspended, named by its
id, by the beginning of its id, or by its tag. A key of mascot-minus is
suspended when a signature of it does not verify: somebody's daemon altered
what it sent. Find out whose before you lift it; every operator that has
suspended the key does so for itself.`,
		Example: "  zonesignerd keys resume 34812",
		Args:    between(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			k, err := a.findKey(cmd, args[0])
			if err != nil {
				return err
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			r, err := c.ResumeKey(cmd.Context(), api.ResumeKey{Key: k.ID})
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(r)
			}
			a.printf("key %s signs again here", k.ID)
			return nil
		},
	}
}

func tag(n uint16) string { return strconv.Itoa(int(n)) }
