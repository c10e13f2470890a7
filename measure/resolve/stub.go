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
	"sync"
	"time"

	"github.com/miekg/dns"

	"zonesigner/measure"
)

// Stub resolves through resolvers. One that does not answer is left out until
// it does; when none answers, lookups wait. One that gives answers for names
// that do not exist is left out while another is honest, and what comes from it
// otherwise is marked.
type Stub struct {
	*Client
	mu        sync.Mutex
	upstreams []*upstream
	changed   chan struct{} // closed and made anew when a resolver comes back
	hosts     *hosts
	patience  time.Duration // how long to wait when no resolver answers

	life context.Context // ends with Close; tests of resolvers run in it
	stop context.CancelFunc
	wg   sync.WaitGroup
}

// upstream is one resolver. Its fields are under Stub.mu.
type upstream struct {
	addr     netip.AddrPort
	down     bool
	lies     bool
	checking bool
	silent   int       // tries in a row without an answer
	answered time.Time // when it last answered
	queries  int       // since it was last tested for lies
}

const (
	// deadAfter is how many tries in a row go without an answer before a
	// resolver has to show that it is alive.
	deadAfter = 10
	// honestFor is how many queries a resolver is trusted for between two
	// tests for lies.
	honestFor = 5000
	// Patience is how long lookups wait when no resolver answers.
	Patience = 10 * time.Minute
)

// NewStub resolves through the resolvers given, each of which has to answer
// now, or is left out until it does. It fails when none does.
func NewStub(ctx context.Context, cfg Config, resolvers []netip.AddrPort) (*Stub, error) {
	c, err := NewClient(cfg)
	if err != nil {
		return nil, err
	}
	s := &Stub{Client: c, changed: make(chan struct{}), hosts: newHosts(c.cfg.Hosts), patience: Patience}
	s.network.lost, s.network.patience = ErrNoResolver, Patience
	s.network.alive = func(ctx context.Context) bool {
		u := s.pick()
		if u == nil {
			return false
		}
		alive, _ := s.test(ctx, u)
		return alive
	}
	s.life, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	for _, addr := range resolvers {
		// A resolver's silence is often that of a name's servers, and says
		// little about its limits.
		c.servers.get(addr, c.cfg.ResolverRate, time.Now()).floor = c.cfg.ResolverRate / 10
		s.upstreams = append(s.upstreams, &upstream{addr: addr})
	}
	var wg sync.WaitGroup
	for _, u := range s.upstreams {
		wg.Go(func() {
			alive, lies := s.test(ctx, u)
			s.judge(u, alive, lies)
			if !alive {
				s.wg.Go(func() { s.revive(u) })
			}
		})
	}
	wg.Wait()
	if s.pick() == nil {
		s.Close()
		return nil, fmt.Errorf("%w: asked %v", ErrNoResolver, resolvers)
	}
	return s, nil
}

// Close waits for what runs.
func (s *Stub) Close() {
	s.stop()
	s.wg.Wait()
	s.Client.Close()
}

// test asks a resolver for the root's name servers, and for two names that do
// not exist: one that no resolver may have (RFC 6761, section 6.4), and one
// below com, where those that sell mistyped names have theirs.
func (s *Stub) test(ctx context.Context, u *upstream) (alive, lies bool) {
	try := func(q question) *dns.Msg {
		for range 2 {
			b := &budget{left: s.cfg.Try}
			q.recurse, q.ahead = true, true
			if m, _, err := s.send(ctx, b, u.addr, s.cfg.ResolverRate, q, s.cfg.Try); err == nil {
				return m
			}
		}
		return nil
	}
	if try(question{qtype: dns.TypeNS}) == nil {
		return false, false
	}
	for _, suffix := range []string{"invalid", "com"} {
		name := fmt.Sprintf("zonesigner-measure-%016x.%s", rand.Uint64(), suffix) //nolint:gosec // it has to be new, not secret
		m := try(question{name: name, qtype: dns.TypeA})
		if m == nil {
			return true, s.liar(u) // it says nothing: it is what it was
		}
		if m.Rcode == dns.RcodeSuccess && len(m.Answer) > 0 {
			return true, true
		}
	}
	return true, false
}

// judge keeps what a test found, and tells people what changed.
func (s *Stub) judge(u *upstream, alive, lies bool) {
	s.mu.Lock()
	was := *u
	u.checking, u.down, u.queries = false, !alive, 0
	if alive {
		u.lies, u.silent, u.answered = lies, 0, time.Now()
		close(s.changed)
		s.changed = make(chan struct{})
	}
	s.mu.Unlock()
	switch {
	case !alive && !was.down:
		s.cfg.Event(EventDead, fmt.Sprintf("resolver %s does not answer", u.addr))
	case alive && was.down:
		s.cfg.Event(EventAlive, fmt.Sprintf("resolver %s answers again", u.addr))
	}
	if alive && lies && !was.lies {
		s.cfg.Event(EventLies, fmt.Sprintf("resolver %s gives answers for names that do not exist", u.addr))
	}
}

// revive tests a resolver until it answers.
func (s *Stub) revive(u *upstream) {
	for wait := s.cfg.Try; ; wait = min(2*wait, 30*time.Second) {
		if pause(s.life, wait) != nil {
			return
		}
		if alive, lies := s.test(s.life, u); alive {
			s.judge(u, true, lies)
			return
		}
	}
}

// check tests a resolver beside what goes on, and again until it answers.
func (s *Stub) check(u *upstream) {
	s.mu.Lock()
	due := !u.checking && !u.down && s.life.Err() == nil
	u.checking = u.checking || due
	s.mu.Unlock()
	if !due {
		return
	}
	s.wg.Go(func() {
		alive, lies := s.test(s.life, u)
		if s.life.Err() != nil {
			return
		}
		s.judge(u, alive, lies)
		if !alive {
			s.revive(u)
		}
	})
}

// pick chooses a resolver by chance: of those that answer, an honest one if
// there is one; nil when none answers.
func (s *Stub) pick() *upstream {
	s.mu.Lock()
	defer s.mu.Unlock()
	var honest, up []*upstream
	for _, u := range s.upstreams {
		if !u.down {
			up = append(up, u)
			if !u.lies {
				honest = append(honest, u)
			}
		}
	}
	if len(honest) > 0 {
		up = honest
	}
	if len(up) == 0 {
		return nil
	}
	return up[rand.IntN(len(up))] //nolint:gosec // to share out the load
}

// await is pick, waiting where none answers.
func (s *Stub) await(ctx context.Context) (*upstream, error) {
	if u := s.pick(); u != nil {
		return u, nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.patience, ErrNoResolver)
	defer cancel()
	for {
		s.mu.Lock()
		changed := s.changed
		s.mu.Unlock()
		if u := s.pick(); u != nil {
			return u, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// heard notes what became of a try, and has the resolver tested when that is
// due.
func (s *Stub) heard(u *upstream, answered bool) {
	s.mu.Lock()
	u.queries++
	if answered {
		u.silent, u.answered = 0, time.Now()
	} else {
		u.silent++
	}
	due := u.silent >= deadAfter || u.queries >= honestFor
	s.mu.Unlock()
	if due {
		s.check(u)
	}
}

// resolve asks resolvers until one gives an answer that is no failure of its
// own, or two have failed. Silence costs the budget; but when nobody answers
// anything at all, that is the resolvers' fault, not the name's: then it waits
// for one to come back and starts again.
func (s *Stub) resolve(ctx context.Context, b *budget, q question) (*dns.Msg, *upstream, measure.Status, error) {
	q.recurse = true
	worst := measure.Timeout
	tried, whole := time.Now(), *b // tried is when the last try began
	var lost time.Duration         // in tries during which nobody got an answer
	failures := 0
	for timeout := 2 * s.cfg.Try; ; {
		u, err := s.await(ctx)
		if err != nil {
			return nil, nil, "", err
		}
		if b.spent() {
			if worst != measure.Timeout || s.proven(tried) {
				return nil, u, worst, nil
			}
			if alive, lies := s.test(ctx, u); !alive {
				s.check(u)
				if err := pause(ctx, s.cfg.Try); err != nil {
					return nil, nil, "", err
				}
			} else {
				s.judge(u, alive, lies)
				return nil, u, worst, nil
			}
			queries := b.queries
			*b, lost = whole, 0
			b.queries, timeout = queries-whole.queries, 2*s.cfg.Try
			if b.queries >= maxQueries {
				b.queries = 0
			}
			continue
		}
		left := b.left
		m, sent, err := s.send(ctx, b, u.addr, s.cfg.ResolverRate, q, timeout)
		tried = sent
		s.heard(u, err == nil)
		switch {
		case errors.Is(err, errTimeout):
			if !s.proven(sent) {
				lost += left - b.left
			}
			timeout = min(2*timeout, s.cfg.Timeout/2)
			continue
		case errors.Is(err, errUnreachable):
			s.heard(u, false)
			if err := pause(ctx, s.cfg.Try); err != nil {
				return nil, nil, "", err
			}
			b.spend(s.cfg.Try)
			continue
		case err != nil:
			return nil, nil, "", err
		case m.Rcode == dns.RcodeSuccess, m.Rcode == dns.RcodeNameError:
			b.spend(-lost) // what comes next has not to pay for resolvers that were dead
			return m, u, measure.NoError, nil
		}
		worst = statusOf(m.Rcode)
		if failures++; failures == 2 {
			return nil, u, worst, nil
		}
	}
}

// proven reports whether a resolver has answered anything since t.
func (s *Stub) proven(t time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.upstreams, func(u *upstream) bool { return u.answered.After(t) })
}

// NameServers asks a resolver for the list. For a name that is an alias, which
// a resolver follows, it asks the parent's servers themselves whether the name
// is a zone.
func (s *Stub) NameServers(ctx context.Context, domain string) (List, error) {
	return anew(func() (List, error) {
		b := &budget{left: s.cfg.Timeout}
		l, err := s.nameServers(ctx, b, domain, domain)
		l.Queries, l.Waited = b.queries, b.waited
		return l, err
	})
}

func (s *Stub) nameServers(ctx context.Context, b *budget, domain, zone string) (List, error) {
	l := List{Zone: zone}
	q := question{name: zone, qtype: dns.TypeNS}
	m, u, status, err := s.resolve(ctx, b, q)
	if u != nil {
		l.From, l.Lies = u.addr.String(), s.liar(u)
	}
	if err != nil || status != measure.NoError {
		l.Status = status
		return l, err
	}
	rep := readAnswer(m, q)
	switch rep.kind {
	case kindAnswer:
		l.Status, l.Names = measure.NoError, rep.names
		return l, nil
	case kindNXDomain:
		l.Status = measure.NXDomain
		return l, nil
	case kindAlias:
		l.CNAME = rep.target
		return s.delegated(ctx, b, l, domain)
	}
	if zone == domain && rep.zone != "" && rep.zone != domain {
		return s.nameServers(ctx, b, domain, rep.zone)
	}
	return s.delegated(ctx, b, l, domain)
}

// liar reports whether a resolver is known to lie.
func (s *Stub) liar(u *upstream) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return u.lies
}

// delegated settles by the parent's servers whether a name that has no list of
// name servers, for a CNAME or otherwise, is a zone or inside the one above.
func (s *Stub) delegated(ctx context.Context, b *budget, l List, domain string) (List, error) {
	_, above, ok := strings.Cut(l.Zone, ".")
	if !ok || l.Zone != domain {
		l.Status = measure.NoAnswer
		return l, nil
	}
	parent, err := s.nameServers(ctx, b, above, above)
	if err != nil {
		return l, err
	}
	if parent.Status != measure.NoError {
		l.Status = parent.Status
		return l, nil
	}
	var addrs []netip.Addr
	for _, name := range parent.Names {
		if len(addrs) >= maxUnglued {
			break
		}
		h, err := s.Host(ctx, name)
		if err != nil {
			return l, err
		}
		addrs = append(addrs, h.Addrs...)
	}
	q := question{name: domain, qtype: dns.TypeNS}
	worst := measure.NoAddress
	if len(addrs) > 0 {
		worst = measure.Timeout
	}
	for timeout := s.cfg.Try; len(addrs) > 0 && !b.spent(); timeout *= 2 {
		var silent []netip.Addr
		for _, a := range addrs {
			if b.spent() {
				break
			}
			m, err := s.ask(ctx, b, netip.AddrPortFrom(a, s.cfg.Port), s.cfg.ServerRate, q, timeout)
			switch {
			case errors.Is(err, errTimeout):
				silent = append(silent, a)
				continue
			case errors.Is(err, errUnreachable):
				continue
			case err != nil:
				return l, err
			}
			switch rep := readAuthoritative(m, parent.Zone, q); {
			case rep.kind == kindReferral && rep.zone == domain:
				l.Status, l.Names, l.Parent, l.FromParent = measure.NoError, rep.names, rep.names, true
				return l, nil
			case rep.kind == kindAnswer: // the parent's server has the zone, too
				l.Status, l.Names = measure.NoError, rep.names
				return l, nil
			case rep.kind == kindAlias || rep.kind == kindNoData:
				parent.CNAME = l.CNAME
				return parent, nil
			case rep.kind == kindFailure && telling[rep.status] > telling[worst]:
				worst = rep.status
			}
		}
		addrs = silent
	}
	l.Status = worst
	return l, nil
}

// Host asks a resolver for the addresses.
func (s *Stub) Host(ctx context.Context, name string) (Host, error) {
	return s.hosts.get(ctx, nil, nil, name, func(*flight) (Host, budget, error) {
		b := &budget{left: s.cfg.Timeout}
		lies := false
		h, err := addresses(&s.cfg, func(qtype uint16) (reply, error) {
			q := question{name: name, qtype: qtype}
			m, u, status, err := s.resolve(ctx, b, q)
			lies = lies || u != nil && s.liar(u)
			if err != nil || status != measure.NoError {
				return failure(cmp.Or(status, measure.Failed)), err
			}
			return readChain(m, q), nil
		})
		h.Lies = lies
		return h, *b, err
	})
}

// readChain reads an answer that a resolver has put together from CNAMEs.
func readChain(m *dns.Msg, q question) reply {
	target := ""
	for range maxAliases {
		r := readAnswer(m, q)
		if r.kind != kindAlias {
			r.target = target
			return r
		}
		target, q.name = r.target, r.target
	}
	f := failure(measure.Loop)
	f.target = target
	return f
}
