package resolve

import (
	"context"
	"errors"
	"net/netip"
	"slices"

	"github.com/miekg/dns"

	"zonesigner/measure"
)

// Probe asks one server for the zone's SOA and DNSKEY RRsets with their
// signatures, without recursion. Status is NoError only when the server has
// the zone. The error is the context's, ErrNoResolver
// or ErrOffline.
func (c *Client) Probe(ctx context.Context, addr netip.Addr, zone string) (measure.Probe, error) {
	return anew(func() (measure.Probe, error) { return c.probe(ctx, addr, zone) })
}

func (c *Client) probe(ctx context.Context, addr netip.Addr, zone string) (measure.Probe, error) {
	var p measure.Probe
	b := &budget{left: c.cfg.Timeout / 3}
	m, status, err := c.direct(ctx, b, addr, question{name: zone, qtype: dns.TypeSOA, dnssec: true})
	if err != nil || status != measure.NoError {
		p.Status = status
		return p, err
	}
	p.Status = measure.Lame
	for _, rr := range m.Answer {
		if canonical(rr.Header().Name) != zone {
			continue
		}
		switch rr := rr.(type) {
		case *dns.SOA:
			p.Status, p.Serial, p.MName, p.RName = measure.NoError, rr.Serial, canonical(rr.Ns), canonical(rr.Mbox)
		case *dns.RRSIG:
			if rr.TypeCovered == dns.TypeSOA {
				p.Tags = append(p.Tags, measure.KeyTag{Tag: rr.KeyTag, Algorithm: rr.Algorithm})
			}
		}
	}
	p.Tags = sortedTags(p.Tags)
	if p.Status != measure.NoError || len(p.Tags) == 0 {
		return p, nil
	}
	b = &budget{left: c.cfg.Timeout / 3}
	m, status, err = c.direct(ctx, b, addr, question{name: zone, qtype: dns.TypeDNSKEY, dnssec: true})
	if err != nil || status != measure.NoError {
		return p, err
	}
	for _, rr := range m.Answer {
		if k, ok := rr.(*dns.DNSKEY); ok && canonical(k.Hdr.Name) == zone {
			p.Keys = append(p.Keys, measure.KeyTag{Tag: k.KeyTag(), Algorithm: k.Algorithm})
		}
	}
	p.Keys = sortedTags(p.Keys)
	return p, nil
}

// direct asks a server that should have the zone, with retries.
func (c *Client) direct(ctx context.Context, b *budget, addr netip.Addr, q question) (*dns.Msg, measure.Status, error) {
	for timeout := c.cfg.Try; !b.spent(); timeout *= 2 {
		m, err := c.ask(ctx, b, netip.AddrPortFrom(addr, c.cfg.Port), c.cfg.ServerRate, q, timeout)
		switch {
		case errors.Is(err, errTimeout):
			continue
		case errors.Is(err, errUnreachable):
			return nil, measure.Timeout, nil
		case err != nil:
			return nil, "", err
		case m.Rcode == dns.RcodeNameError:
			return nil, measure.NXDomain, nil
		case m.Rcode != dns.RcodeSuccess:
			return nil, statusOf(m.Rcode), nil
		case !m.Authoritative:
			return nil, measure.Lame, nil
		}
		return m, measure.NoError, nil
	}
	return nil, measure.Timeout, nil
}

// maxTags bounds what a server can make us keep.
const maxTags = 16

func sortedTags(tags []measure.KeyTag) []measure.KeyTag {
	slices.SortFunc(tags, func(a, b measure.KeyTag) int {
		if a.Tag != b.Tag {
			return int(a.Tag) - int(b.Tag)
		}
		return int(a.Algorithm) - int(b.Algorithm)
	})
	tags = slices.Compact(tags)
	return tags[:min(len(tags), maxTags)]
}
