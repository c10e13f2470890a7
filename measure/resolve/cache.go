package resolve

import (
	"context"
	"sync"
	"time"

	"zonesigner/measure"
)

// lru maps names to values and forgets what was not used for longest. It may
// hold a million: an entry is one piece of memory.
type lru[V any] struct {
	mu   sync.Mutex
	max  int
	ring entry[V] // its next is the entry that was used last, its prev the one that goes first
	by   map[string]*entry[V]
}

type entry[V any] struct {
	prev, next *entry[V]
	name       string
	value      V
}

func newLRU[V any](limit int) *lru[V] {
	l := &lru[V]{max: limit, by: map[string]*entry[V]{}}
	l.ring.prev, l.ring.next = &l.ring, &l.ring
	return l
}

func (e *entry[V]) unlink() { e.prev.next, e.next.prev = e.next, e.prev }

// use puts e, which is in no ring, first.
func (l *lru[V]) use(e *entry[V]) {
	e.prev, e.next = &l.ring, l.ring.next
	e.prev.next, e.next.prev = e, e
}

func (l *lru[V]) get(name string) (v V, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, ok := l.by[name]
	if !ok {
		return v, false
	}
	e.unlink()
	l.use(e)
	return e.value, true
}

func (l *lru[V]) put(name string, v V) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, ok := l.by[name]
	switch {
	case ok:
		e.unlink()
	case len(l.by) >= l.max:
		e = l.ring.prev
		e.unlink()
		delete(l.by, e.name)
		e.name = name
	default:
		e = &entry[V]{name: name}
	}
	e.value = v
	l.by[name] = e
	l.use(e)
}

// hosts looks up the addresses of name servers, each once, and remembers them.
type hosts struct {
	cache *lru[known]
	mu    sync.Mutex
	under map[string]*flight
}

// known is a host with the time until which it is believed, Unix nanoseconds;
// zero for good.
type known struct {
	Host
	until int64
}

// failureLife is how long a failed lookup stands for those to come: a server
// that was out for a while is no fact of the whole run.
const failureLife = 2 * time.Minute

// fails reports whether an address could not be found out, which is not the
// same as that there is none.
func (h Host) fails() bool {
	switch h.Status {
	case measure.NoError, measure.NXDomain, measure.NoAnswer:
		return false
	}
	return true
}

// flight is a lookup of a name server's addresses that is under way. It waits
// for at most one other, so that a loop shows as a chain that leads back.
type flight struct {
	done  chan struct{}
	waits *flight // under hosts.mu
	depth int
	host  Host
	cost  budget // what it took
	short bool   // it failed for want of queries or time that its first asker had spent before
	err   error
}

func newHosts(limit int) *hosts {
	return &hosts{cache: newLRU[known](limit), under: map[string]*flight{}}
}

// known returns a host that is in the cache and still believed.
func (h *hosts) known(name string) (Host, bool) {
	k, ok := h.cache.get(name)
	return k.Host, ok && (k.until == 0 || time.Now().UnixNano() < k.until)
}

// get returns a host from the cache, from a lookup that is under way, or from
// find. inside is the lookup that needs this one, nil for a domain's own. What
// this lookup took is b's to pay, in queries when it was made for b, and in time
// also when it was under way. One that failed because its first asker had few
// queries or little time left is made again for others. A chain of lookups that would wait for itself,
// and one too deep, gives Loop at once.
func (h *hosts) get(ctx context.Context, b *budget, inside *flight, name string, find func(f *flight) (Host, budget, error)) (Host, error) {
	for {
		host, again, err := h.once(ctx, b, inside, name, find)
		if !again {
			return host, err
		}
	}
}

// once is get, without beginning again.
func (h *hosts) once(ctx context.Context, b *budget, inside *flight, name string, find func(f *flight) (Host, budget, error)) (host Host, again bool, err error) {
	if host, ok := h.known(name); ok {
		return host, false, nil
	}
	h.mu.Lock()
	f, running := h.under[name]
	if !running { // it may have come to its end since
		if host, ok := h.known(name); ok {
			h.mu.Unlock()
			return host, false, nil
		}
	}
	if running && inside != nil {
		for g := f; g != nil; g = g.waits {
			if g == inside {
				h.mu.Unlock()
				return Host{Status: measure.Loop}, false, nil
			}
		}
	}
	if !running {
		f = &flight{done: make(chan struct{})}
		if inside != nil {
			f.depth = inside.depth + 1
		}
		if f.depth > maxDepth {
			h.mu.Unlock()
			return Host{Status: measure.Loop}, false, nil
		}
		h.under[name] = f
	}
	if inside != nil {
		inside.waits = f
	}
	h.mu.Unlock()
	if running {
		select {
		case <-f.done:
		case <-ctx.Done():
			return Host{}, false, ctx.Err()
		}
	} else {
		f.host, f.cost, f.err = find(f)
		f.short = b != nil && f.host.fails() && (b.queries > 0 && f.cost.queries+b.queries >= maxQueries || b.waited > 0 && f.cost.left <= 0)
	}
	h.mu.Lock()
	if inside != nil {
		inside.waits = nil
	}
	if !running {
		// A loop that was met on the way of another lookup may be none on its own.
		if f.err == nil && !f.short && (f.host.Status != measure.Loop || inside == nil) {
			k := known{Host: f.host}
			if k.fails() {
				k.until = time.Now().Add(failureLife).UnixNano()
			}
			h.cache.put(name, k)
		}
		delete(h.under, name)
		close(f.done)
	}
	h.mu.Unlock()
	if f.err != nil {
		return Host{}, false, f.err
	}
	if running && f.short {
		if b != nil {
			b.spend(f.cost.waited)
		}
		if b == nil || !b.spent() {
			return Host{}, true, nil
		}
		return f.host, false, nil
	}
	if b != nil {
		b.spend(f.cost.waited)
		if !running {
			b.queries += f.cost.queries
		}
	}
	return f.host, false, nil
}
