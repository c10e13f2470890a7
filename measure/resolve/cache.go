package resolve

import (
	"container/list"
	"context"
	"sync"
	"time"

	"zonesigner/measure"
)

// lru maps names to values and forgets what was not used for longest.
type lru[V any] struct {
	mu    sync.Mutex
	max   int
	order *list.List // of *entry[V], the latest first
	by    map[string]*list.Element
}

type entry[V any] struct {
	name  string
	value V
}

func newLRU[V any](limit int) *lru[V] {
	return &lru[V]{max: limit, order: list.New(), by: map[string]*list.Element{}}
}

func (l *lru[V]) get(name string) (v V, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, ok := l.by[name]
	if !ok {
		return v, false
	}
	l.order.MoveToFront(e)
	return e.Value.(*entry[V]).value, true
}

func (l *lru[V]) put(name string, v V) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, ok := l.by[name]; ok {
		e.Value.(*entry[V]).value = v
		l.order.MoveToFront(e)
		return
	}
	if l.order.Len() >= l.max {
		oldest := l.order.Back()
		delete(l.by, oldest.Value.(*entry[V]).name)
		l.order.Remove(oldest)
	}
	l.by[name] = l.order.PushFront(&entry[V]{name, v})
}

// hosts looks up the addresses of name servers, each once, and remembers them.
type hosts struct {
	cache *lru[Host]
	mu    sync.Mutex
	under map[string]*flight
}

// flight is a lookup of a name server's addresses that is under way. It waits
// for at most one other, so that a loop shows as a chain that leads back.
type flight struct {
	done   chan struct{}
	waits  *flight // under hosts.mu
	depth  int
	host   Host
	waited time.Duration
	err    error
}

func newHosts(limit int) *hosts {
	return &hosts{cache: newLRU[Host](limit), under: map[string]*flight{}}
}

// get returns a host from the cache, from a lookup that is under way, or from
// find. inside is the lookup that needs this one, nil for a domain's own. What
// this lookup took is b's to pay. A chain of lookups that would wait for itself,
// and one too deep, gives Loop at once.
func (h *hosts) get(ctx context.Context, b *budget, inside *flight, name string, find func(f *flight) (Host, time.Duration, error)) (Host, error) {
	if host, ok := h.cache.get(name); ok {
		return host, nil
	}
	h.mu.Lock()
	f, running := h.under[name]
	if running && inside != nil {
		for g := f; g != nil; g = g.waits {
			if g == inside {
				h.mu.Unlock()
				return Host{Status: measure.Loop}, nil
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
			return Host{Status: measure.Loop}, nil
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
			return Host{}, ctx.Err()
		}
	} else {
		f.host, f.waited, f.err = find(f)
	}
	h.mu.Lock()
	if inside != nil {
		inside.waits = nil
	}
	if !running {
		delete(h.under, name)
		close(f.done)
	}
	h.mu.Unlock()
	if f.err != nil {
		return Host{}, f.err
	}
	// A loop that was met on the way of another lookup may be none on its own.
	if !running && (f.host.Status != measure.Loop || inside == nil) {
		h.cache.put(name, f.host)
	}
	if b != nil {
		b.spend(f.waited)
	}
	return f.host, nil
}
