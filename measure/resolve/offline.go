package resolve

import (
	"context"
	"errors"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
)

// ErrOffline is when no root server has answered for a long time.
var ErrOffline = errors.New("no root server answers")

// errAgain is that a try failed while this machine was cut off, and that it no
// longer is: what the try was for has to begin anew.
var errAgain = errors.New("this machine was cut off")

// network tells servers that are silent from this machine being cut off, when
// all of them are. A try that fails while others get answers is its server's
// fault. When nobody gets any, those who always answer are asked (alive); while
// they do not, everybody waits.
type network struct {
	alive    func(ctx context.Context) bool // nil: what is silent is silent
	lost     error                          // when patience is at its end
	patience time.Duration
	heard    [64]atomic.Int64 // spans in which an answer came, by their last bits
	ended    atomic.Int64     // when this machine was last cut off, Unix nanoseconds
	watch    singleflight.Group

	heardSix atomic.Int64 // when an answer last came over IPv6, Unix nanoseconds
	sixless  atomic.Int64 // until when there is no way out over IPv6, likewise
}

// sixlessFor is how long IPv6 is left out, or believed to work, by the last try.
const sixlessFor = time.Minute

// withoutIPv6 reports whether this machine has no way out over IPv6.
func (c *Client) withoutIPv6() bool {
	return len(c.udp.v6) == 0 || time.Now().UnixNano() < c.network.sixless.Load()
}

// span is how exactly the network remembers when answers came.
const span = 250 * time.Millisecond

func spanOf(t time.Time) int64 { return t.UnixNano() / int64(span) }

// answer notes that one came from an address.
func (n *network) answer(from netip.Addr, now time.Time) {
	if from.Is6() {
		n.heardSix.Store(now.UnixNano())
	}
	s := spanOf(now)
	n.heard[s%int64(len(n.heard))].Store(s)
}

// works reports whether answers came within a second after t.
func (n *network) works(t time.Time) bool {
	for s := spanOf(t); s <= spanOf(t)+4; s++ {
		if n.heard[s%int64(len(n.heard))].Load() == s {
			return true
		}
	}
	return false
}

// blame returns err, that of a try that began at sent, when it is the server's;
// otherwise errAgain once this machine reaches others again, lost when it does
// not for too long, or the context's error. That there is no IPv6 here is found
// out once a while, since finding out asks a root server or a resolver.
func (c *Client) blame(ctx context.Context, to netip.Addr, sent time.Time, err error) error {
	n := &c.network
	six := to.Is6() && errors.Is(err, errUnreachable)
	switch {
	case n.alive == nil, errors.Is(err, errUnaskable), six && c.withoutIPv6():
		return err
	case sent.UnixNano() < n.ended.Load():
		return errAgain
	case errors.Is(err, errTimeout) && n.works(sent):
		return err
	case !errors.Is(err, errTimeout) && !errors.Is(err, errUnreachable):
		return err
	}
	was, failed, _ := n.watch.Do("", func() (any, error) { return c.reconnect(ctx) })
	if failed != nil {
		return failed
	} else if was == true {
		return errAgain
	}
	if now := time.Now(); six && now.UnixNano()-n.heardSix.Load() > int64(sixlessFor) {
		n.sixless.Store(now.Add(sixlessFor).UnixNano())
	}
	return err
}

// reconnect waits until those who always answer do, and reports whether they
// did not at first.
func (c *Client) reconnect(ctx context.Context) (was bool, err error) {
	n := &c.network
	began := time.Now()
	for wait := c.cfg.Try; !n.alive(ctx); wait = min(2*wait, 30*time.Second) {
		if err := ctx.Err(); err != nil {
			return was, err
		}
		if !was {
			was = true
			c.cfg.Event(EventOffline, "nothing answers; waiting")
		}
		if time.Since(began) > n.patience {
			return was, n.lost
		}
		if err := pause(ctx, wait); err != nil {
			return was, err
		}
	}
	if was {
		n.ended.Store(time.Now().UnixNano())
		c.cfg.Event(EventOnline, "there are answers again after "+time.Since(began).Round(time.Second).String())
	}
	return was, nil
}

// anew calls f until it does not end with errAgain.
func anew[T any](f func() (T, error)) (T, error) {
	for {
		v, err := f()
		if !errors.Is(err, errAgain) {
			return v, err
		}
	}
}
