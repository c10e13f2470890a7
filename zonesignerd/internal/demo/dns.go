package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"

	"zonesigner/zonesignerd/internal/lab"
)

// transfer is a signed zone as a public server gives it to a secondary.
type transfer struct {
	serial     uint32
	records    map[string]bool // all records in text form
	signatures map[string]bool // the RRSIG records among them
}

// addr is where a server answers.
func (s *server) addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// axfr transfers the zone from an operator's public server.
func (o *operator) axfr(ctx context.Context) (*transfer, error) {
	q := new(dns.Msg)
	q.SetAxfr(zone)
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", o.public.addr())
	if err != nil {
		return nil, err
	}
	tr := &dns.Transfer{Conn: &dns.Conn{Conn: conn}}
	defer conn.Close()
	envelopes, err := tr.In(q, "")
	if err != nil {
		return nil, err
	}
	t := &transfer{records: map[string]bool{}, signatures: map[string]bool{}}
	for e := range envelopes {
		if e.Error != nil {
			err = errors.Join(err, e.Error)
		}
		for _, rr := range e.RR {
			t.add(rr)
		}
	}
	return t, err
}

func (t *transfer) add(rr dns.RR) {
	text := rr.String()
	t.records[text] = true
	switch rr := rr.(type) {
	case *dns.SOA:
		t.serial = rr.Serial
	case *dns.RRSIG:
		t.signatures[text] = true
	}
}

// made counts the signatures that were not there before.
func (t *transfer) made(before *transfer) int {
	n := 0
	for s := range t.signatures {
		if !before.signatures[s] {
			n++
		}
	}
	return n
}

// ask asks an operator's public server, with DNSSEC records wanted.
func (o *operator) ask(ctx context.Context, name string, t uint16) (*dns.Msg, error) {
	q := new(dns.Msg)
	q.SetQuestion(name, t)
	q.SetEdns0(1232, true)
	m, _, err := (&dns.Client{Timeout: 2 * time.Second}).ExchangeContext(ctx, q, o.public.addr())
	return m, err
}

// serves reports the serial that an operator's public server answers with.
func (o *operator) serves(ctx context.Context) (uint32, error) {
	m, err := o.ask(ctx, zone, dns.TypeSOA)
	if err != nil {
		return 0, err
	}
	for _, rr := range m.Answer {
		if soa, ok := rr.(*dns.SOA); ok {
			return soa.Serial, nil
		}
	}
	return 0, fmt.Errorf("no SOA record, %s", dns.RcodeToString[m.Rcode])
}

// level waits until the public servers of operators have one serial, which is
// not before's, and all that ok wants of it, and compares what they serve.
func (d *demo) level(ctx context.Context, operators []*operator, before *transfer, ok func(*transfer) bool) (*transfer, error) {
	var found *transfer
	err := lab.Until(ctx, lab.Patience, "one new version at "+names(operators), func() (bool, string) {
		var serials []string
		same := true
		var first uint32
		for i, o := range operators {
			s, err := o.serves(ctx)
			if err != nil {
				return false, fmt.Sprintf("operator %s: %v", o.name, err)
			}
			serials = append(serials, fmt.Sprintf("%s serves serial %d", o.name, s))
			if i == 0 {
				first = s
			}
			same = same && s == first
		}
		state := strings.Join(serials, ", ")
		if !same || before != nil && first == before.serial {
			return false, state
		}
		t, err := operators[0].axfr(ctx)
		if err != nil {
			return false, fmt.Sprintf("operator %s: %v", operators[0].name, err)
		}
		found = t
		return ok == nil || ok(t), state + ", which is not yet what is waited for"
	})
	if err != nil {
		return nil, err
	}
	for _, o := range operators[1:] {
		t, err := o.axfr(ctx)
		if err != nil {
			return nil, fmt.Errorf("operator %s: %w", o.name, err)
		}
		if err := found.differs(t); err != nil {
			return nil, fmt.Errorf("operators %s and %s: %w", operators[0].name, o.name, err)
		}
	}
	return found, nil
}

// differs says what is in one transfer and not in the other.
func (t *transfer) differs(other *transfer) error {
	for _, pair := range [][2]*transfer{{t, other}, {other, t}} {
		for _, r := range slices.Sorted(maps.Keys(pair[0].records)) {
			if !pair[1].records[r] {
				return fmt.Errorf("serials %d and %d: only one has %s", t.serial, other.serial, r)
			}
		}
	}
	return nil
}

// has reports whether the zone has an A record of that owner and address.
func (t *transfer) has(owner, address string) bool {
	rr, err := dns.NewRR(owner + " 60 A " + address)
	return err == nil && t.records[rr.String()]
}

// update has the zone's owner change the address of www at an operator's
// hidden Knot, by DNS UPDATE.
func (d *demo) update(ctx context.Context, o *operator, address string) error {
	script := fmt.Sprintf("server 127.0.0.1 %d\nzone %s\ndel www.%s A\nadd www.%s 60 A %s\nsend\n", o.hidden.port, zone, zone, zone, address)
	r, err := runCommand(ctx, o.dir, nil, script, "knsupdate")
	if err != nil {
		return err
	}
	if r.status != 0 {
		return fmt.Errorf("knsupdate at operator %s ended with status %d: %s", o.name, r.status, r.err+r.out)
	}
	return nil
}

// anchors writes the trust anchor that the printed DS records are, in the
// form that delv reads.
func (d *demo) anchors() (string, error) {
	var b strings.Builder
	b.WriteString("trust-anchors {\n")
	for _, line := range d.ds {
		rr, err := dns.NewRR(line)
		if err != nil {
			return "", fmt.Errorf("%q is no DS record: %w", line, err)
		}
		ds, ok := rr.(*dns.DS)
		if !ok {
			return "", fmt.Errorf("%q is no DS record", line)
		}
		fmt.Fprintf(&b, "\t%s static-ds %d %d %d %q;\n", zone, ds.KeyTag, ds.Algorithm, ds.DigestType, ds.Digest)
	}
	b.WriteString("};\n")
	path := filepath.Join(d.dir, "anchors")
	return path, os.WriteFile(path, []byte(b.String()), 0o644)
}

// validate has BIND's delv validate one answer of an operator's public
// server, from the printed DS records, and wants it to say the words.
func (d *demo) validate(ctx context.Context, o *operator, name string, qtype, words string) error {
	anchors, err := d.anchors()
	if err != nil {
		return err
	}
	r, err := runCommand(ctx, d.dir, nil, "", "delv", "@127.0.0.1", "-p", strconv.Itoa(o.public.port), "-a", anchors, "+root="+zone, name, qtype)
	if err != nil {
		return err
	}
	for line := range strings.Lines(r.out) {
		if strings.TrimSpace(strings.TrimPrefix(line, ";")) == words {
			return nil
		}
	}
	return fmt.Errorf("delv at operator %s, %s %s: expected %q, got\n%s", o.name, name, qtype, words, r.out+r.err)
}

func names(operators []*operator) string {
	var list []string
	for _, o := range operators {
		list = append(list, o.name)
	}
	return strings.Join(list, ", ")
}
