// Package tasks holds the goroutines of something that peers and commands give
// work to until the moment it closes.
package tasks

import "sync"

// Group is a sync.WaitGroup that can be waited for while others still add to
// it: what comes once Wait has begun is not started. The zero Group is ready.
type Group struct {
	mu     sync.Mutex
	closed bool
	wg     sync.WaitGroup
}

// Go runs f in a goroutine, unless Wait has begun.
func (g *Group) Go(f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		g.wg.Go(f)
	}
}

// Wait lets nothing new begin and returns when all that runs has ended.
func (g *Group) Wait() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.wg.Wait()
}
