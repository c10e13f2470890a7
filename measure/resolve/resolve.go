// Package resolve finds the name servers of domains and the addresses of name
// servers: through resolvers that are given (Stub), or by itself from the root
// (Iterative).
//
// Both share one client (Client), which sends over few UDP sockets, falls back
// to TCP, and keeps to rates: in all, and for each server. Time that a query
// waits for its turn is not counted as time that a server took. What was learnt
// of name servers and zone cuts is kept in caches of bounded size and shared by
// all lookups; a name that several lookups want at once is looked up once.
package resolve

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"zonesigner/measure"
)

// A Resolver finds name servers and addresses. It is safe for concurrent use,
// by thousands of goroutines.
type Resolver interface {
	// NameServers looks for a domain's name servers. The error is the
	// context's, ErrNoResolver or ErrOffline; whatever servers answer is in the List.
	NameServers(ctx context.Context, domain string) (List, error)
	// Host looks for a name server's addresses, once for each name as long
	// as its cache remembers.
	Host(ctx context.Context, name string) (Host, error)
	// Close ends everything that runs.
	Close()
}

// ErrNoResolver is when no resolver has answered for a long time.
var ErrNoResolver = errors.New("no resolver answers")

// A List is what became of the search for a domain's name servers. All names
// are in lower case without the dot at the end.
type List struct {
	Status     measure.Status
	Zone       string   // whose list it is: the domain, or the zone that the domain is inside of
	Names      []string // sorted
	Parent     []string // sorted: what the parent lists; known to Iterative alone
	FromParent bool     // Names are the parent's, since the zone gives none
	CNAME      string   // what the domain is an alias of
	From       string   // address of who answered last
	Lies       bool     // From gives answers for names that do not exist
	Queries    int
	Waited     time.Duration // for answers; at most Config.Timeout and a try
}

// A Host is what became of the search for a name server's addresses.
type Host struct {
	Status measure.Status // NoError where there is an address
	Addrs  []netip.Addr   // sorted, at most maxAddrs
	Alias  bool           // the name is a CNAME's
	Lies   bool           // a resolver said so that gives answers for names that do not exist
}

// Bounds on what answers make us keep or do.
const (
	maxNames   = 32  // name servers of a zone
	maxAddrs   = 16  // addresses of a name server
	maxAliases = 8   // CNAMEs in a row
	maxSteps   = 24  // referrals from the root on
	maxQueries = 120 // for one lookup, those for the addresses of servers that stand in its way included
	maxUnglued = 4   // name servers without glue that are looked up to get on
	maxDepth   = 6   // of such lookups within one another
)

// Config is what both resolvers need. The zero value of a field is its default.
type Config struct {
	Timeout time.Duration // for one lookup, all retries in it (15 s, as in the paper)
	Try     time.Duration // for the first try; each round doubles it (1 s)

	Rate         float64 // queries a second in all (1000); negative for no limit
	ServerRate   float64 // to one authoritative server (50); negative for no limit
	ResolverRate float64 // to one given resolver (500); negative for no limit

	Port    uint16 // of authoritative servers (53)
	Private bool   // ask servers at addresses that are not of the Internet, too, as in a test network
	NoIPv6  bool   // neither ask over IPv6 nor for IPv6 addresses
	Hosts   int    // name servers that the cache remembers (1,000,000)
	Zones   int    // zone cuts that the cache remembers (20,000)
	Sockets int    // UDP sockets for each IP version (8)

	// Event is told what people should know: a resolver that died, came back
	// or lies. It is called from any goroutine.
	Event func(kind, text string)
}

func (c Config) withDefaults() Config {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	number := func(n *int, v int) {
		if *n == 0 {
			*n = v
		}
	}
	rate := func(r *float64, v float64) {
		switch {
		case *r == 0:
			*r = v
		case *r < 0:
			*r = noLimit
		}
	}
	def(&c.Timeout, 15*time.Second)
	def(&c.Try, time.Second)
	rate(&c.Rate, 1000)
	rate(&c.ServerRate, 50)
	rate(&c.ResolverRate, 500)
	number(&c.Hosts, 1_000_000)
	number(&c.Zones, 20_000)
	number(&c.Sockets, 8)
	if c.Port == 0 {
		c.Port = 53
	}
	if c.Event == nil {
		c.Event = func(kind, text string) {}
	}
	return c
}

// usable leaves out addresses at which no server of the Internet can be:
// loopback, private, link-local, multicast and such. They would have this
// machine's own network asked, and operators joined who have nothing in common.
func (c *Config) usable(addrs []netip.Addr) []netip.Addr {
	if c.Private || !slices.ContainsFunc(addrs, special) {
		return addrs
	}
	return slices.DeleteFunc(slices.Clone(addrs), special)
}

// notGlobal are networks of IANA's special-purpose registries (RFC 6890) that
// netip has no method for.
var notGlobal = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("::/96"), netip.MustParsePrefix("100::/64"), netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("fec0::/10"),
}

func special(a netip.Addr) bool {
	a = a.Unmap()
	return !a.IsGlobalUnicast() || a.IsPrivate() || slices.ContainsFunc(notGlobal, func(p netip.Prefix) bool { return p.Contains(a) })
}

// Kinds of events.
const (
	EventDead  = "resolver-dead"
	EventAlive = "resolver-back"
	EventLies  = "resolver-lies"

	EventOffline = "offline" // nothing answers at all: lookups wait
	EventOnline  = "online-again"
)

// budget is what one lookup may still cost. It belongs to one goroutine.
type budget struct {
	left    time.Duration // of waiting for servers
	waited  time.Duration
	queries int
	silent  []asked // what was not answered in time
}

// asked is a question to a server.
type asked struct {
	of    netip.AddrPort
	name  string
	qtype uint16
}

// spend takes what a query or another lookup took.
func (b *budget) spend(d time.Duration) {
	b.left -= d
	b.waited += d
}

func (b *budget) spent() bool { return b.left <= 0 || b.queries >= maxQueries }
