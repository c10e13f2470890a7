package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"zonesigner/zonesignerd/internal/api"
	"zonesigner/zonesignerd/internal/lab"
)

// dispute has one operator's copy of the zone differ from the others'.
func (d *demo) dispute(ctx context.Context) error {
	a, b, c := d.operators[0], d.operators[1], d.operators[2]
	for _, u := range []struct {
		o       *operator
		address string
	}{{a, "192.0.2.82"}, {b, "203.0.113.66"}, {c, "192.0.2.82"}} {
		if err := d.update(ctx, u.o, u.address); err != nil {
			return err
		}
	}
	d.note("www becomes 192.0.2.82 at a and c, and 203.0.113.66 at b, under one serial")
	for _, o := range d.operators {
		if err := o.sees(ctx, map[string]string{"a": "203.0.113.66", "b": "192.0.2.82", "c": "203.0.113.66"}); err != nil {
			return err
		}
	}
	d.ok("b refuses the version of a and c, and a and c refuse b's; each names the record")
	for _, o := range []*operator{a, b} {
		if err := o.status(ctx); err != nil {
			return err
		}
	}
	if err := d.unchanged(ctx, d.operators); err != nil {
		return err
	}
	d.fact("refused by both sides, with the record; serial "+fmt.Sprint(d.signed.serial)+" stays", "nothing new is signed: all serve serial %d as before", d.signed.serial)

	d.note("the operators agree on longer-lived signatures, which makes all of them due")
	if err := d.setPolicy(ctx, "4h", "2h"); err != nil {
		return err
	}
	t, err := d.level(ctx, d.operators, d.signed, func(t *transfer) bool { return t.made(d.signed) == len(t.signatures) })
	if err != nil {
		return err
	}
	if !t.has("www."+zone, "192.0.2.81") {
		return fmt.Errorf("serial %d does not have the last agreed content, www A 192.0.2.81", t.serial)
	}
	d.fact(fmt.Sprintf("all %d signatures renewed in the dispute", len(t.signatures)),
		"serial %d: the last agreed content, www A 192.0.2.81, has %d fresh signatures; a dispute lets none expire", t.serial, len(t.signatures))
	d.signed = t

	if err := d.update(ctx, b, "192.0.2.82"); err != nil {
		return err
	}
	d.note("b's copy is mended")
	t, err = d.level(ctx, d.operators, d.signed, func(t *transfer) bool { return t.has("www."+zone, "192.0.2.82") })
	if err != nil {
		return err
	}
	d.fact("level again once b's copy was mended", "serial %d is signed: www is 192.0.2.82 at all three", t.serial)
	d.signed = t
	return nil
}

// sees waits until an operator's zone is disputed and it knows who refuses
// what: of each operator, a refusal that names www and the other side's address.
func (o *operator) sees(ctx context.Context, refusers map[string]string) error {
	return lab.Until(ctx, lab.Patience, "the refusals to be known at operator "+o.name, func() (bool, string) {
		z, err := read[api.ZoneDetail](ctx, o, "zones", "show", zone)
		if err != nil {
			return false, err.Error()
		}
		found := 0
		for _, r := range z.Refusals {
			text := r.Reason + "\n" + strings.Join(r.Records, "\n")
			if strings.Contains(text, "www."+zone) && strings.Contains(text, refusers[r.Peer]) {
				found++
			}
		}
		return found == len(refusers) && z.State == api.ZoneDisputed, fmt.Sprintf("state %s, refusals %+v", z.State, z.Refusals)
	})
}

// unchanged wants the operators to serve, byte for byte, what all served last.
func (d *demo) unchanged(ctx context.Context, operators []*operator) error {
	for _, o := range operators {
		t, err := o.axfr(ctx)
		if err != nil {
			return fmt.Errorf("operator %s: %w", o.name, err)
		}
		if err := d.signed.differs(t); err != nil {
			return fmt.Errorf("operator %s serves something else: %w", o.name, err)
		}
	}
	return nil
}

// outage is one operator down, and back; and then two down.
func (d *demo) outage(ctx context.Context) error {
	a, b, c := d.operators[0], d.operators[1], d.operators[2]
	pair := []*operator{a, b}
	c.down()
	d.note("operator c stops: its daemon and its two Knots")
	for _, o := range pair {
		if err := o.ready(ctx, d.others(o)[:1]); err != nil {
			return err
		}
	}
	if err := a.status(ctx); err != nil {
		return err
	}
	before, err := a.depth(ctx, b)
	if err != nil {
		return err
	}
	for _, o := range pair {
		if err := d.update(ctx, o, "192.0.2.83"); err != nil {
			return err
		}
	}
	t, err := d.level(ctx, pair, d.signed, func(t *transfer) bool { return t.has("www."+zone, "192.0.2.83") })
	if err != nil {
		return err
	}
	after, err := a.depth(ctx, b)
	if err != nil {
		return err
	}
	made := t.made(d.signed)
	if spent := before - after; spent < made {
		return fmt.Errorf("%d signatures were made, but the pool of a+b has only %d less", made, spent)
	}
	d.fact("a and b sign without c, from the pool of a+b",
		"serial %d: a and b signed a change without c, %d signatures from the pool of a+b", t.serial, made)
	d.signed = t
	if err := d.validate(ctx, b, "www."+zone, "A", "fully validated"); err != nil {
		return err
	}

	if err := c.up(ctx); err != nil {
		return err
	}
	if err := d.update(ctx, c, "192.0.2.83"); err != nil {
		return err
	}
	d.note("operator c starts again, and the owner's change reaches its hidden Knot")
	if _, err := d.level(ctx, d.operators, nil, func(t *transfer) bool { return t.serial == d.signed.serial }); err != nil {
		return err
	}
	if err := d.unchanged(ctx, d.operators); err != nil {
		return err
	}
	if err := c.caughtUp(d.signed.serial); err != nil {
		return err
	}
	d.fact("c is back and fetched what it missed; no session", "c serves serial %d: it fetched the signatures that it missed and verified all of them; nothing was signed again", t.serial)
	return d.alone(ctx)
}

// caughtUp wants an operator's log to tell that it fetched a signed zone.
func (o *operator) caughtUp(serial uint32) error {
	log, err := os.ReadFile(o.daemon.Log)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(log)) {
		if strings.Contains(line, `msg="caught up"`) && strings.Contains(line, fmt.Sprintf("serial=%d ", serial)) {
			return nil
		}
	}
	return fmt.Errorf("operator %s serves serial %d, but its log does not tell that it fetched it", o.name, serial)
}

// depth is how many signatures two operators have ready for the two of them.
func (o *operator) depth(ctx context.Context, other *operator) (int, error) {
	pools, err := read[[]api.Pool](ctx, o, "pools", zone)
	n := 0
	for _, p := range pools {
		if p.SignerSet == o.name+"+"+other.name {
			n += p.Depth
		}
	}
	return n, err
}

// alone shows that one operator cannot sign.
func (d *demo) alone(ctx context.Context) error {
	a, b, c := d.operators[0], d.operators[1], d.operators[2]
	for _, o := range d.operators {
		if err := o.ready(ctx, d.others(o)); err != nil {
			return err
		}
	}
	b.daemon.Stop()
	c.daemon.Stop()
	if err := a.ready(ctx, nil); err != nil {
		return err
	}
	d.note("the daemons of b and c stop")
	r, err := a.try(ctx, "sign-now", zone, "--timeout", "10s")
	if err != nil {
		return err
	}
	d.command("a", "zonesignerd sign-now "+zone, r.err+r.out)
	if r.status != api.CodeNoQuorum.Exit() {
		return fmt.Errorf("sign-now at operator a, alone, ended with status %d, expected %d", r.status, api.CodeNoQuorum.Exit())
	}
	if err := d.unchanged(ctx, []*operator{a}); err != nil {
		return err
	}
	d.fact("a alone signs nothing", "a alone signs nothing, and serves on what is signed")
	for _, o := range []*operator{b, c} {
		if err := o.start(); err != nil {
			return err
		}
	}
	for _, o := range d.operators {
		if err := o.ready(ctx, d.others(o)); err != nil {
			return err
		}
	}
	d.note("b and c are back")
	if _, err := a.run(ctx, "sign-now", zone); err != nil {
		return err
	}
	t, err := d.level(ctx, d.operators, d.signed, nil)
	if err != nil {
		return err
	}
	d.signed = t
	for _, o := range d.operators {
		err := lab.Until(ctx, lab.Patience, "the zone to be signed at operator "+o.name, func() (bool, string) {
			z, err := read[api.ZoneDetail](ctx, o, "zones", "show", zone)
			if err != nil {
				return false, err.Error()
			}
			return z.State == api.ZoneSigned && z.ServedSerial == t.serial, z.State + ", " + z.Next.WaitsFor
		})
		if err != nil {
			return err
		}
	}
	d.ok("with b and c it is signed: serial %d at all three", t.serial)
	return a.status(ctx)
}
