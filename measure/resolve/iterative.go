package resolve

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/singleflight"

	"zonesigner/measure"
)

// Iterative resolves from the root (RFC 1034, section 5.3.3), without asking
// any resolver.
type Iterative struct {
	*Client
	root  *cut
	cuts  *lru[*cut]
	tops  singleflight.Group
	hosts *hosts
}

// cut is a zone and who serves it, as its parent says.
type cut struct {
	zone    string
	names   []string
	glue    map[string][]netip.Addr
	expires time.Time
}

// cutLife is how long a delegation is believed. A run of the usual length sees
// each once.
const cutLife = 6 * time.Hour

// NewIterative resolves by the root servers at the addresses given; none means
// those of IANA's root hints. One of them has to answer.
func NewIterative(ctx context.Context, cfg Config, roots []netip.Addr) (*Iterative, error) {
	c, err := NewClient(cfg)
	if err != nil {
		return nil, err
	}
	root := &cut{names: []string{"root-servers"}, glue: map[string][]netip.Addr{"root-servers": roots}}
	if len(roots) == 0 {
		root = rootHints()
	}
	r := &Iterative{Client: c, root: root, cuts: newLRU[*cut](c.cfg.Zones), hosts: newHosts(c.cfg.Hosts)}
	r.network.lost, r.network.patience = ErrOffline, Patience
	r.network.alive = r.rooted
	for range 3 {
		if r.rooted(ctx) {
			return r, nil
		}
	}
	c.Close()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(roots) > 0 {
		return nil, fmt.Errorf("%w: asked %v at port %d", ErrOffline, roots, c.cfg.Port)
	}
	return nil, ErrOffline
}

// maxSilentRoots is how many root servers are asked in vain.
const maxSilentRoots = 4

// rooted reports whether a root server answers, of a few that are asked. Those
// that this machine has no route to, as to those of IPv6 where there is none,
// cost nothing.
func (r *Iterative) rooted(ctx context.Context) bool {
	var addrs []netip.Addr
	for _, glue := range r.root.glue {
		addrs = append(addrs, r.reachable(glue)...)
	}
	rand.Shuffle(len(addrs), func(i, j int) { addrs[i], addrs[j] = addrs[j], addrs[i] })
	silent := 0
	for _, a := range addrs {
		_, _, err := r.send(ctx, &budget{left: r.cfg.Try}, netip.AddrPortFrom(a, r.cfg.Port), r.cfg.ServerRate, question{qtype: dns.TypeNS, ahead: true}, r.cfg.Try)
		switch {
		case err == nil:
			return true
		case errors.Is(err, errUnreachable):
			continue
		}
		if silent++; silent == maxSilentRoots || ctx.Err() != nil {
			return false
		}
	}
	return false
}

// NameServers looks for the domain's delegation at its parent, and then asks
// the domain's own servers for their list, which counts (RFC 2181, section
// 5.4.1).
func (r *Iterative) NameServers(ctx context.Context, domain string) (List, error) {
	return anew(func() (List, error) {
		b := &budget{left: r.cfg.Timeout}
		l, err := r.nameServers(ctx, b, domain, domain)
		l.Queries, l.Waited = b.queries, b.waited
		return l, err
	})
}

// nameServers looks for the list of zone, which domain is, or is inside of.
func (r *Iterative) nameServers(ctx context.Context, b *budget, domain, zone string) (List, error) {
	l := List{Zone: zone}
	found, err := r.find(ctx, b, nil, question{name: zone, qtype: dns.TypeNS})
	if err != nil {
		return l, err
	}
	l.From = found.from
	own := found.cut.zone == zone && zone != ""
	if own {
		l.Parent = found.cut.names
	}
	switch found.kind {
	case kindAnswer:
		l.Status, l.Names = measure.NoError, found.names
	case kindFailure:
		l.Status = found.status
	case kindNXDomain:
		l.Status = measure.NXDomain
	case kindAlias, kindNoData:
		l.CNAME = found.target
		switch inside := cmp.Or(found.reply.zone, found.cut.zone); {
		case own && found.reply.zone != "" && found.reply.zone != zone:
			l.Status = measure.Lame // it answers for a zone above
		case own:
			l.Status, l.Names, l.FromParent = measure.NoError, l.Parent, true
		case zone == domain && inside != domain && inside != "":
			l, err = r.nameServers(ctx, b, domain, inside)
			l.CNAME = found.target
			return l, err
		default:
			l.Status = measure.NoAnswer
		}
	}
	if l.Status != measure.NoError && len(l.Names) == 0 {
		l.Names = l.Parent
	}
	return l, nil
}

// Host resolves the name's addresses.
func (r *Iterative) Host(ctx context.Context, name string) (Host, error) {
	return r.host(ctx, nil, nil, name)
}

func (r *Iterative) host(ctx context.Context, b *budget, inside *flight, name string) (Host, error) {
	return r.hosts.get(ctx, b, inside, name, func(f *flight) (Host, budget, error) {
		var own *budget
		host, err := anew(func() (Host, error) {
			own = &budget{left: r.cfg.Timeout}
			if b != nil { // what stands in a lookup's way ends with it
				own.left, own.queries = min(own.left, b.left), b.queries
			}
			return addresses(&r.cfg, func(qtype uint16) (reply, error) {
				return r.follow(ctx, own, f, question{name: name, qtype: qtype})
			})
		})
		if b != nil {
			own.queries -= b.queries
		}
		return host, *own, err
	})
}

// addresses puts a host together from both types of records.
func addresses(cfg *Config, lookup func(qtype uint16) (reply, error)) (Host, error) {
	v4, err := lookup(dns.TypeA)
	if err != nil {
		return Host{}, err
	}
	h := Host{Status: v4.hostStatus(), Addrs: cfg.usable(v4.addrs), Alias: v4.target != ""}
	// A name that does not exist has no records of another type, either.
	if len(h.Addrs) == 0 && len(v4.addrs) > 0 {
		h.Status = measure.NoAddress
	}
	if cfg.NoIPv6 || v4.kind == kindNXDomain {
		return h, nil
	}
	v6, err := lookup(dns.TypeAAAA)
	if err != nil {
		return Host{}, err
	}
	h.Addrs = sortedAddrs(append(h.Addrs, cfg.usable(v6.addrs)...))
	switch {
	case len(h.Addrs) > 0:
		h.Status = measure.NoError
	case len(v4.addrs)+len(v6.addrs) > 0:
		h.Status = measure.NoAddress
	case v4.kind == kindNoData && v6.kind == kindFailure:
		h.Status = v6.status
	}
	return h, nil
}

func (r reply) hostStatus() measure.Status {
	switch r.kind {
	case kindAnswer:
		return measure.NoError
	case kindNXDomain:
		return measure.NXDomain
	case kindFailure:
		return r.status
	}
	return measure.NoAnswer
}

// follow finds what q asks for, through CNAMEs.
func (r *Iterative) follow(ctx context.Context, b *budget, inside *flight, q question) (reply, error) {
	target := ""
	for range maxAliases {
		found, err := r.find(ctx, b, inside, q)
		if err != nil || found.kind != kindAlias {
			found.target = target
			return found.reply, err
		}
		target, q.name = found.target, found.target
	}
	f := failure(measure.Loop)
	f.target = target
	return f, nil
}

// found is an answer, the deepest zone that was reached, and the server of it
// that answered.
type found struct {
	reply
	cut  *cut
	from string
}

// find walks down from the closest zone that is known.
func (r *Iterative) find(ctx context.Context, b *budget, inside *flight, q question) (found, error) {
	at := r.closest(q.name)
	if at == r.root {
		if err := r.top(ctx, q.name); err != nil {
			return found{}, err
		}
		at = r.closest(q.name)
	}
	for range maxSteps {
		rep, from, err := r.askZone(ctx, b, inside, at, q)
		if err != nil {
			return found{}, err
		}
		if rep.kind != kindReferral {
			return found{rep, at, from}, nil
		}
		at = r.remember(rep)
	}
	return found{failure(measure.Loop), at, ""}, nil
}

// top learns who serves the name's top-level domain, once for all lookups that
// want it at the same time.
func (r *Iterative) top(ctx context.Context, name string) error {
	tld := name[strings.LastIndexByte(name, '.')+1:]
	if tld == name {
		return nil
	}
	_, err, _ := r.tops.Do(tld, func() (any, error) {
		if r.closest(tld) != r.root {
			return nil, nil // the cache holds it
		}
		b := &budget{left: r.cfg.Timeout}
		rep, _, err := r.askZone(ctx, b, nil, r.root, question{name: tld, qtype: dns.TypeNS})
		if err == nil && rep.kind == kindReferral {
			r.remember(rep)
		}
		return nil, err
	})
	return err
}

// remember keeps a delegation.
func (r *Iterative) remember(rep reply) *cut {
	c := &cut{zone: rep.zone, names: rep.names, glue: rep.glue, expires: time.Now().Add(cutLife)}
	r.cuts.put(c.zone, c)
	return c
}

// closest is the zone nearest above name, or name itself, that is known.
func (r *Iterative) closest(name string) *cut {
	for zone := name; zone != ""; {
		if c, ok := r.cuts.get(zone); ok && time.Now().Before(c.expires) {
			return c
		}
		_, zone, _ = strings.Cut(zone, ".")
	}
	return r.root
}

// telling orders failures: of several servers, the most telling counts.
var telling = map[measure.Status]int{
	measure.Timeout: 1, measure.NoAddress: 2, measure.Loop: 3, measure.Failed: 4, measure.NotImp: 5, measure.FormErr: 6,
	measure.ServFail: 7, measure.Refused: 8, measure.Lame: 9,
}

// askZone asks the servers of a zone until one gives an answer that is no
// failure: those with glue first, then those whose addresses have to be looked
// up. Servers that are silent are asked again, with twice the time each round,
// until the budget is spent; those that failed otherwise are not.
func (r *Iterative) askZone(ctx context.Context, b *budget, inside *flight, at *cut, q question) (reply, string, error) {
	var addrs []netip.Addr
	var bare []string
	for _, name := range at.names {
		if glue := r.reachable(r.glueOf(at, name)); len(glue) > 0 {
			addrs = append(addrs, glue...)
		} else {
			bare = append(bare, name)
		}
	}
	worst := measure.Status("")
	note := func(s measure.Status) {
		if worst == "" || telling[s] > telling[worst] {
			worst = s
		}
	}
	asked := 0
	bareLookups := func() error {
		for len(bare) > 0 && asked < maxUnglued && !b.spent() {
			asked++
			name := bare[0]
			bare = bare[1:]
			h, err := r.host(ctx, b, inside, name)
			if err != nil {
				return err
			}
			if more := r.reachable(h.Addrs); len(more) > 0 {
				addrs = append(addrs, more...)
				return nil
			}
			switch h.Status {
			case measure.Loop, measure.Timeout:
				note(h.Status)
			default:
				note(measure.NoAddress)
			}
		}
		return nil
	}
	timeout := r.cfg.Try
	for {
		if len(addrs) == 0 {
			if err := bareLookups(); err != nil {
				return reply{}, "", err
			}
		}
		if len(addrs) == 0 {
			break
		}
		var again []netip.Addr
		r.order(addrs)
		for _, a := range addrs {
			if b.spent() {
				break
			}
			m, err := r.ask(ctx, b, netip.AddrPortFrom(a, r.cfg.Port), r.cfg.ServerRate, q, timeout)
			switch {
			case errors.Is(err, errTimeout):
				note(measure.Timeout)
				again = append(again, a)
				continue
			case errors.Is(err, errUnreachable):
				note(measure.Timeout)
				continue
			case err != nil:
				return reply{}, "", err
			}
			rep := readAuthoritative(m, at.zone, q)
			if rep.kind != kindFailure {
				return rep, a.String(), nil
			}
			note(rep.status)
		}
		if b.spent() {
			break
		}
		// Servers that were not known before get their turn with those that
		// were silent.
		addrs = again
		if err := bareLookups(); err != nil {
			return reply{}, "", err
		}
		timeout *= 2
	}
	if worst == "" {
		worst = measure.NoAddress
		if b.spent() {
			worst = measure.Timeout
		}
	}
	return failure(worst), "", nil
}

// glueOf is a name server's glue. That of the root is given, not found.
func (r *Iterative) glueOf(at *cut, name string) []netip.Addr {
	if at == r.root {
		return at.glue[name]
	}
	return r.cfg.usable(at.glue[name])
}

// reachable leaves out what this machine cannot send to.
func (r *Iterative) reachable(addrs []netip.Addr) []netip.Addr {
	if !r.withoutIPv6() {
		return addrs
	}
	return slices.DeleteFunc(slices.Clone(addrs), func(a netip.Addr) bool { return a.Is6() })
}

// order puts servers that answer before silent ones, and among them those
// first that can take a query soonest, otherwise by chance.
func (r *Iterative) order(addrs []netip.Addr) {
	rand.Shuffle(len(addrs), func(i, j int) { addrs[i], addrs[j] = addrs[j], addrs[i] })
	if len(addrs) == 1 {
		return
	}
	now := time.Now()
	load := make(map[netip.Addr]time.Duration, len(addrs))
	for _, a := range addrs {
		s := r.servers.get(netip.AddrPortFrom(a, r.cfg.Port), r.cfg.ServerRate, now)
		load[a] = s.backlog(now).Truncate(time.Millisecond) + time.Duration(min(s.silences(), 10))*r.cfg.Try
	}
	slices.SortStableFunc(addrs, func(x, y netip.Addr) int { return cmp.Compare(load[x], load[y]) })
}
