package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/miekg/dns"
	"github.com/spf13/cobra"

	"zonesigner/knot"
	"zonesigner/zonesignerd/config"
	"zonesigner/zonesignerd/internal/api"
)

func (a *app) checkConfigCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check-config [POLICY...]",
		Short: "Check the configuration, the files it names, and policies",
		Long: `Check the daemon's configuration (--config), that the files it names can be
used, that the group knows this operator by this identity, and the policies
that are given. A policy whose source is a file is compared with the zone in
it, and, where the daemon runs, with the keys that the zone has. All that is
wrong is listed; the exit status is then 2.`,
		Example: "  zonesignerd check-config\n  zonesignerd check-config --config ./zonesignerd.yaml example.org.yaml",
		Args:    between(0, -1),
		RunE:    func(cmd *cobra.Command, args []string) error { return a.checkConfig(cmd.Context(), args) },
	}
}

type checkResult struct {
	File   string   `json:"file"`
	OK     bool     `json:"ok"`
	Faults []string `json:"faults"`
}

func (a *app) checkConfig(ctx context.Context, policies []string) error {
	var results []checkResult
	var all config.Faults
	add := func(file string, err error) {
		found := asFaults(file, err)
		r := checkResult{File: file, OK: len(found) == 0, Faults: []string{}}
		for _, f := range found {
			r.Faults = append(r.Faults, f.Error())
		}
		results = append(results, r)
		all = append(all, found...)
	}
	var group *config.Group
	path := a.configPath()
	c, err := config.LoadDaemon(path)
	add(path, err)
	if err == nil {
		group, err = config.LoadGroup(c.Group)
		add(c.Group, err)
		add(c.Identity, checkIdentity(c, group))
		if secret := c.Keystore.KeyFile + c.Keystore.PassphraseFile; secret != "" {
			_, err = config.ReadSecret(secret, 4096)
			add(secret, err)
		}
		if file := c.Knot.Transfer.TSIG; file != "" {
			_, err = knot.LoadTSIG(file)
			add(file, err)
		}
		if c.NATS.CA != "" {
			_, err = config.ReadCA(c.NATS.CA)
			add(c.NATS.CA, err)
		}
	}
	for _, file := range policies {
		add(file, a.checkPolicy(ctx, file, group))
	}
	switch {
	case a.json:
		if err := a.printJSON(results); err != nil {
			return err
		}
	default:
		for _, r := range results {
			if r.OK {
				a.printf("%s: good", r.File)
			}
		}
	}
	if len(all) > 0 {
		return all
	}
	return nil
}

// asFaults brings an error to the form of the loaders.
func asFaults(file string, err error) config.Faults {
	var faults config.Faults
	switch {
	case err == nil:
		return nil
	case errors.As(err, &faults):
		for i := range faults {
			if faults[i].File == "" {
				faults[i].File = file
			}
		}
		return faults
	}
	return config.Faults{{Message: err.Error()}}
}

// checkIdentity compares the seed with the group file, which is nil when it
// could not be read.
func checkIdentity(c *config.Daemon, g *config.Group) error {
	key, err := config.ReadIdentity(c.Identity)
	if err != nil || g == nil {
		return err
	}
	nkey, err := config.NKey(key.Public().(ed25519.PublicKey))
	if err != nil {
		return err
	}
	o, ok := g.Operator(c.Operator)
	if !ok {
		return fmt.Errorf("%s: operator %q is not in the group of %s", c.Identity, c.Operator, c.Group)
	}
	if o.NKey != nkey {
		return fmt.Errorf("%s: its public key is %s, and the group has %s for operator %s", c.Identity, nkey, o.NKey, o.Name)
	}
	return nil
}

// checkPolicy compares the policy with its zone, where that is a file, with the
// keys that the zone has, and with the group, unless it is nil.
func (a *app) checkPolicy(ctx context.Context, file string, g *config.Group) error {
	p, err := config.LoadPolicy(file)
	if err != nil {
		return err
	}
	if g != nil && p.Engine != "" {
		err := g.CheckEngine(p.Engine)
		if err == nil {
			_, err = g.CommonSets(p.Engine)
		}
		if err != nil {
			return config.Faults{{File: file, Path: "engine", Message: err.Error()}}
		}
	}
	if err := checkAlgorithms(p, g, a.keysOf(ctx, p.Zone)); err != nil {
		return config.Faults{{File: file, Path: "algorithm-rollover", Message: err.Error()}}
	}
	if p.Source.Type != "file" {
		return nil
	}
	expire, maxTTL, err := zoneFacts(p)
	if err != nil {
		return err
	}
	return p.CheckZone(expire, maxTTL)
}

// keysOf are the zone's keys as the running daemon has them; none where it does
// not run or is not for this user to ask: there is nothing to compare with.
func (a *app) keysOf(ctx context.Context, zone string) []api.Key {
	c, err := a.client()
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	keys, err := c.Keys(ctx, zone)
	if err != nil {
		return nil
	}
	return keys
}

// checkAlgorithms reports a policy that does not allow the algorithms of the
// keys that its zone has and is to get.
func checkAlgorithms(p *config.Policy, g *config.Group, keys []api.Key) error {
	if p.AlgorithmRollover || len(keys) == 0 {
		return nil
	}
	first := keys[0]
	for _, k := range keys[1:] {
		if k.Algorithm != first.Algorithm {
			return fmt.Errorf("%s has keys of algorithms %d and %d: want true while there are keys of both", p.Zone, first.Algorithm, k.Algorithm)
		}
	}
	engine := p.Engine
	if engine == "" && g != nil {
		engine = g.Engine
	}
	if engine != "" && config.Algorithm(engine) != first.Algorithm {
		return fmt.Errorf("engine %s makes keys of algorithm %d, and %s has keys of %d: want true to change from one to the other", engine, config.Algorithm(engine), p.Zone, first.Algorithm)
	}
	return nil
}

// zoneFacts reads the zone file of a policy for what its margins depend on.
func zoneFacts(p *config.Policy) (expire, maxTTL uint32, err error) {
	f, err := os.Open(p.Source.File)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	found := false
	records := dns.NewZoneParser(f, p.Zone, p.Source.File)
	records.SetIncludeAllowed(true)
	for rr, ok := records.Next(); ok; rr, ok = records.Next() {
		maxTTL = max(maxTTL, rr.Header().Ttl)
		if soa, ok := rr.(*dns.SOA); ok {
			expire, found = soa.Expire, true
		}
	}
	if err := records.Err(); err != nil {
		return 0, 0, err
	}
	if !found {
		return 0, 0, fmt.Errorf("%s: no SOA record of %s", p.Source.File, p.Zone)
	}
	return expire, maxTTL, nil
}
