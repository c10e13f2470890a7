package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"zonesigner/zonesignerd/internal/api"
	"zonesigner/zonesignerd/internal/lab"
)

// formGroup is how three operators come to have a group and keys.
func (d *demo) formGroup(ctx context.Context) error {
	var lines []string
	for _, o := range d.operators {
		address := fmt.Sprintf("127.0.0.1:%d", o.port)
		line, err := o.run(ctx, "init", "--name", o.name, "--address", address, "--listen", address,
			"--state", filepath.Join(o.dir, "state"), "--run", filepath.Join(o.dir, "run"),
			"--hidden", o.hidden.socket, "--public", o.public.socket, filepath.Join(o.dir, "etc"))
		if err != nil {
			return err
		}
		lines = append(lines, line)
		if err := o.hurry(); err != nil {
			return err
		}
	}
	all := filepath.Join(d.dir, "lines")
	if err := os.WriteFile(all, []byte(strings.Join(lines, "")), 0o644); err != nil {
		return err
	}
	for _, o := range d.operators {
		if _, err := o.run(ctx, "group", "make", "--name", "demo", "--out", filepath.Join(o.dir, "etc", "group.yaml"), all); err != nil {
			return err
		}
	}
	d.ok("each has made the group file from the lines of all; the fingerprints are equal")
	for _, o := range d.operators {
		if err := o.up(ctx); err != nil {
			return err
		}
	}
	for _, o := range d.operators {
		if err := o.ready(ctx, d.others(o)); err != nil {
			return err
		}
	}
	a := d.operators[0]
	if _, err := a.run(ctx, "group", "check", filepath.Join(a.dir, "etc", "group.yaml")); err != nil {
		return err
	}
	d.ok("three daemons run, and each has had an answer from the two others")
	if err := d.setPolicy(ctx, "1h", "20m"); err != nil {
		return err
	}
	if err := d.together(ctx, "keys", "generate", zone); err != nil {
		return err
	}
	d.keysAt = time.Now()
	return d.checkKeys(ctx)
}

// hurry shortens two waits of an operator's configuration, so that nobody has
// to watch them.
func (o *operator) hurry() error {
	text, err := os.ReadFile(o.config())
	if err != nil {
		return err
	}
	for _, edit := range [][2]string{{"poll-interval: 2s", "poll-interval: 1s"}, {"settle: 30s", "settle: 2s"}} {
		if !strings.Contains(string(text), edit[0]) {
			return fmt.Errorf("%s has no %q", o.config(), edit[0])
		}
		text = []byte(strings.ReplaceAll(string(text), edit[0], edit[1]))
	}
	return os.WriteFile(o.config(), text, 0o644)
}

// ready waits until an operator's daemon has had an answer from the peers.
func (o *operator) ready(ctx context.Context, peers []*operator) error {
	return lab.Until(ctx, lab.Patience, "operator "+o.name+" to reach "+names(peers), func() (bool, string) {
		if o.daemon.Ended() {
			return false, "its daemon has ended"
		}
		s, err := read[api.Status](ctx, o, "status")
		if err != nil {
			return false, err.Error()
		}
		for _, p := range s.Peers {
			wanted := slices.ContainsFunc(peers, func(o *operator) bool { return o.name == p.Name })
			if wanted != p.Ready {
				return false, fmt.Sprintf("operator %s: ready %t %s", p.Name, p.Ready, p.Reason)
			}
		}
		return true, ""
	})
}

// setPolicy writes the zone's next policy and adds it at all operators.
func (d *demo) setPolicy(ctx context.Context, lifetime, refresh string) error {
	d.policy++
	path := filepath.Join(d.dir, fmt.Sprintf("policy-%d.yaml", d.policy))
	text := fmt.Sprintf("version: 1\nzone: %s\nrrsig-lifetime: %s\nrrsig-refresh: %s\ndnskey-ttl: 1m\npropagation-delay: 1m\n", zone, lifetime, refresh)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		return err
	}
	return d.together(ctx, "zones", "add", path)
}

// together runs what takes effect once all operators have asked for the same:
// the last one waits for it.
func (d *demo) together(ctx context.Context, args ...string) error {
	last := len(d.operators) - 1
	for _, o := range d.operators[:last] {
		if _, err := o.run(ctx, append(args[:len(args):len(args)], "--wait=false")...); err != nil {
			return err
		}
	}
	_, err := d.operators[last].run(ctx, args...)
	return err
}

// checkKeys shows the keys, and that all operators have the same.
func (d *demo) checkKeys(ctx context.Context) error {
	a := d.operators[0]
	first, err := read[[]api.Key](ctx, a, "keys", "list", zone)
	if err != nil {
		return err
	}
	for _, o := range d.operators {
		var keys []api.Key
		err := lab.Until(ctx, lab.Patience, "operator "+o.name+" to use the keys", func() (bool, string) {
			var err error
			if keys, err = read[[]api.Key](ctx, o, "keys", "list", zone); err != nil {
				return false, err.Error()
			}
			for _, k := range keys {
				if k.State != "active" || len(k.Confirmed) != len(d.operators) {
					return false, fmt.Sprintf("%s %d is %s, confirmed by %v", k.Role, k.Tag, k.State, k.Confirmed)
				}
			}
			return len(keys) == 2, fmt.Sprintf("it has %d keys", len(keys))
		})
		if err != nil {
			return err
		}
		same := slices.EqualFunc(first, keys, func(x, y api.Key) bool { return x.ID == y.ID && x.DNSKEY == y.DNSKEY && slices.Equal(x.DS, y.DS) })
		if !same {
			return fmt.Errorf("operators a and %s show different keys", o.name)
		}
	}
	for _, k := range first {
		if k.Role == "KSK" {
			d.ds = append(d.ds, k.DS...)
		}
		d.note("%s", k.DNSKEY)
	}
	if _, err := a.run(ctx, "keys", "ds", zone); err != nil {
		return err
	}
	d.fact("KSK and ZSK, algorithm 13, confirmed by a, b and c",
		"all three show the same KSK and ZSK (P-256, algorithm 13); each keystore holds one share, sealed, and nobody holds a key")
	return nil
}

// fillPools waits until all signatures that are to be kept ready are.
func (d *demo) fillPools(ctx context.Context) error {
	total := 0
	err := lab.Until(ctx, 3*lab.Patience, "the pools to be full", func() (bool, string) {
		depth, wanted := 0, 0
		for _, o := range d.operators {
			pools, err := read[[]api.Pool](ctx, o, "pools", zone)
			if err != nil {
				return false, err.Error()
			}
			for _, p := range pools {
				if p.Stripe == o.name { // each fills those that it proposes from
					depth, wanted = depth+min(p.Depth, p.Wanted), wanted+p.Wanted
				}
			}
		}
		total = depth
		if wanted > 0 {
			d.bar("signatures preprocessed", depth, wanted)
		}
		return wanted > 0 && depth >= wanted, fmt.Sprintf("%d of %d", depth, wanted)
	})
	if err != nil {
		return err
	}
	took := time.Since(d.keysAt)
	if _, err := d.operators[0].run(ctx, "pools", zone); err != nil {
		return err
	}
	d.fact(fmt.Sprintf("%d signatures preprocessed in %s", total, seconds(took)),
		"%d signatures are preprocessed, %s after the keys were made, for a+b+c and for each two of them", total, seconds(took))
	return nil
}

// signZone gives the owner's zone to all hidden Knots, and checks what comes
// out of the public ones.
func (d *demo) signZone(ctx context.Context) error {
	knotc, err := lab.Program("knotc")
	if err != nil {
		return err
	}
	for _, o := range d.operators {
		if err := os.WriteFile(filepath.Join(o.hidden.dir, "demo.zone"), zoneFile(), 0o644); err != nil {
			return err
		}
		r, err := runCommand(ctx, o.dir, nil, "", knotc, "-b", "-s", o.hidden.socket, "zone-reload", zone)
		if err != nil {
			return err
		}
		if r.status != 0 {
			return fmt.Errorf("knotc at operator %s: %s", o.name, r.err+r.out)
		}
	}
	d.note("the zone's owner has given serial 1 to the three hidden Knots")
	t, err := d.level(ctx, d.operators, nil, nil)
	if err != nil {
		return err
	}
	d.signed = t
	d.ok("read, planned, agreed on, signed, validated, published: the three public Knots serve serial %d, with %d RRSIG", t.serial, len(t.signatures))
	if err := d.stages(ctx, d.operators[0]); err != nil {
		return err
	}
	if err := d.showAnswers(ctx, "www."+zone); err != nil {
		return err
	}
	d.fact(fmt.Sprintf("%d RRSIG, the same at a, b and c", len(t.signatures)), "all %d records are the same at all three, every RRSIG included (AXFR compared)", len(t.records))
	for _, v := range []struct{ what, name, qtype, words string }{
		{"a positive answer", "www." + zone, "A", "fully validated"},
		{"an alias", "ftp." + zone, "AAAA", "fully validated"},
		{"a wildcard", "any.apps." + zone, "A", "fully validated"},
		{"NODATA", "www." + zone, "MX", "negative response, fully validated"},
		{"NXDOMAIN", "nobody." + zone, "A", "negative response, fully validated"},
		{"an insecure delegation", "www." + child, "A", "unsigned answer"},
	} {
		for _, o := range d.operators {
			if err := d.validate(ctx, o, v.name, v.qtype, v.words); err != nil {
				return fmt.Errorf("%s: %w", v.what, err)
			}
		}
		d.note("delv %-24s %-5s %-23s %s", strings.TrimSuffix(v.name, "."), v.qtype, v.what, v.words)
	}
	d.fact("delv validates six kinds of answers from the DS", "delv validates at all three, from the DS that was shown")
	return nil
}

// stages shows how long each part of the last signing took at an operator.
func (d *demo) stages(ctx context.Context, o *operator) error {
	z, err := read[api.ZoneDetail](ctx, o, "zones", "show", zone)
	if err != nil {
		return err
	}
	var parts []string
	for _, s := range z.Stages {
		parts = append(parts, fmt.Sprintf("%s %.3f s", s.Name, s.Seconds))
	}
	d.note("at operator %s: %s", o.name, strings.Join(parts, ", "))
	return nil
}

// showAnswers has kdig show each public server's answer for a name.
func (d *demo) showAnswers(ctx context.Context, name string) error {
	for _, o := range d.operators {
		args := []string{"@127.0.0.1", "-p", strconv.Itoa(o.public.port), name, "A", "+dnssec", "+short"}
		r, err := runCommand(ctx, d.dir, nil, "", "kdig", args...)
		if err != nil {
			return err
		}
		if r.status != 0 || !strings.Contains(r.out, "A 13 3 ") {
			return fmt.Errorf("kdig at operator %s ended with status %d: %s", o.name, r.status, r.err+r.out)
		}
		d.command(o.name, "kdig "+strings.Join(args, " "), r.out)
	}
	return nil
}

// changeRecord has all copies of the zone change alike.
func (d *demo) changeRecord(ctx context.Context) error {
	for _, o := range d.operators {
		if err := d.update(ctx, o, "192.0.2.81"); err != nil {
			return err
		}
	}
	d.note("the owner changes www to 192.0.2.81 at the three hidden Knots (knsupdate)")
	t, err := d.level(ctx, d.operators, d.signed, func(t *transfer) bool { return t.has("www."+zone, "192.0.2.81") })
	if err != nil {
		return err
	}
	made := t.made(d.signed)
	if most := 4; made > most {
		return fmt.Errorf("%d signatures were made anew for one record, expected at most %d", made, most)
	}
	if err := d.stages(ctx, d.operators[0]); err != nil {
		return err
	}
	d.fact(fmt.Sprintf("%d of %d signatures made anew", made, len(t.signatures)),
		"serial %d: %d of %d signatures were made anew, those of www A and the SOA", t.serial, made, len(t.signatures))
	d.signed = t
	return nil
}
