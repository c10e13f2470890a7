package run

import (
	"context"
	"errors"
	"time"

	"zonesigner/measure"
	"zonesigner/measure/classify"
	"zonesigner/measure/list"
	"zonesigner/measure/operator"
	"zonesigner/measure/resolve"
	"zonesigner/measure/whois"
)

// Measurer measures single domains.
type Measurer struct {
	table    *operator.Table
	resolver resolve.Resolver
	client   *resolve.Client
	whois    *whois.Client // nil without WHOIS
	whoisTop int
}

// NewMeasurer opens a resolver as the options say. It keeps owners in cache.
func NewMeasurer(ctx context.Context, o Options, table *operator.Table, cache whois.Cache) (*Measurer, error) {
	m := &Measurer{table: table, whoisTop: o.WhoisTop}
	if len(o.Resolvers) > 0 {
		s, err := resolve.NewStub(ctx, o.Resolve, o.Resolvers)
		if err != nil {
			return nil, err
		}
		m.resolver, m.client = s, s.Client
	} else {
		it, err := resolve.NewIterative(ctx, o.Resolve, o.Roots)
		if err != nil {
			return nil, err
		}
		m.resolver, m.client = it, it.Client
	}
	if o.WhoisTop > 0 {
		m.whois = &whois.Client{Server: o.Whois, Rate: o.WhoisRate, Cache: cache}
		if m.whois.Server == "" {
			m.whois.Server = whois.DefaultServer
		}
		if m.whois.Rate <= 0 {
			m.whois.Rate = whois.DefaultRate
		}
	}
	return m, nil
}

// Close ends the resolver.
func (m *Measurer) Close() { m.resolver.Close() }

// Measure measures one domain, WHOIS included where that is wanted at all. The
// error is the context's, resolve.ErrNoResolver or resolve.ErrOffline.
func (m *Measurer) Measure(ctx context.Context, e list.Entry) (*measure.Record, error) {
	f, err := m.look(ctx, e.Name)
	if err != nil {
		return nil, err
	}
	if m.wantsOwners(e.Rank, f) {
		if err := m.owners(ctx, f); err != nil {
			return nil, err
		}
	}
	return f.Record(e), nil
}

// finding is a domain on its way to a verdict.
type finding struct {
	at       time.Time
	evidence classify.Evidence
	groups   *classify.Groups
}

// Record is the verdict.
func (f *finding) Record(e list.Entry) *measure.Record {
	status, data := f.groups.Verdict(&f.evidence)
	return &measure.Record{Name: e.Name, Unicode: list.Unicode(e.Name), Rank: e.Rank, Status: status, Timestamp: f.at, Data: data}
}

// look finds out all but the owners.
func (m *Measurer) look(ctx context.Context, name string) (*finding, error) {
	f := &finding{at: time.Now().UTC().Truncate(time.Millisecond)}
	f.evidence = classify.Evidence{Domain: name, Hosts: map[string]resolve.Host{}}
	e := &f.evidence
	var err error
	if e.List, err = m.resolver.NameServers(ctx, name); err != nil {
		return nil, err
	}
	if e.List.Status == measure.NoError {
		for _, ns := range e.List.Names {
			if e.Hosts[ns], err = m.resolver.Host(ctx, ns); err != nil {
				return nil, err
			}
		}
	}
	f.groups = classify.NewGroups(m.table, e)
	if e.List.Status == measure.NoError && (len(f.groups.IDs) > 1 || f.groups.Vanity(e.List.Zone)) {
		e.Probes = map[string]measure.Probe{}
		for _, id := range f.groups.IDs {
			if err := m.probe(ctx, f, id); err != nil {
				return nil, err
			}
		}
	}
	return f, nil
}

// maxProbed is how many servers of an operator are asked for the zone until
// one has it.
const maxProbed = 3

// probe asks an operator's servers for the zone.
func (m *Measurer) probe(ctx context.Context, f *finding, id string) error {
	probed := 0
	for ns := range f.groups.Of(id) {
		for _, a := range ns.Addresses {
			if probed == maxProbed {
				return nil
			}
			probed++
			p, err := m.client.Probe(ctx, a, f.evidence.List.Zone)
			if err != nil {
				return err
			}
			p.Server = ns.Name + " " + a.String()
			if f.evidence.Probes[id] = p; p.Status == measure.NoError {
				return nil
			}
		}
	}
	return nil
}

// wantsOwners reports whether WHOIS may change the verdict, or confirm it, on
// a domain of the ranks that it is asked for.
func (m *Measurer) wantsOwners(rank int, f *finding) bool {
	return m.whois != nil && rank <= m.whoisTop && f.evidence.List.Status == measure.NoError && len(f.groups.IDs) > 1
}

// owners asks who the operators' addresses are registered to; an operator's
// owner is known where all that was said of its addresses is the same.
func (m *Measurer) owners(ctx context.Context, f *finding) error {
	var errs []error
	f.evidence.Owners = map[string]string{}
	for _, id := range f.groups.IDs {
		owner, err := m.owner(ctx, f, id)
		if err != nil {
			errs = append(errs, err)
		} else if owner != "" {
			f.evidence.Owners[id] = owner
		}
	}
	return errors.Join(errs...)
}

// owner is what was said of all of an operator's addresses that are asked for,
// "" where that is not the same.
func (m *Measurer) owner(ctx context.Context, f *finding, id string) (owner string, err error) {
	asked := 0
	for ns := range f.groups.Of(id) {
		for _, a := range ns.Addresses {
			if asked == maxProbed {
				return owner, nil
			}
			asked++
			o, err := m.whois.Owner(ctx, a)
			if err != nil || asked > 1 && o != owner {
				return "", err
			}
			owner = o
		}
	}
	return owner, nil
}
