package knot

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
)

// DefaultTimeout bounds one answer when NewControl is given none.
const DefaultTimeout = 30 * time.Second

// Control is a client of one Knot's control socket. It may be used from
// several goroutines: actions take turns, since knotd before 3.4 serves one
// connection at a time. Use one Control for one socket.
//
// Every method connects, acts and closes. Its errors are ErrUnavailable with
// the path and what to do, *ControlError with Knot's words, or one of the
// other errors of this package.
type Control struct {
	path    string
	timeout time.Duration
	turn    chan struct{} // holds one element while an action runs

	mu       sync.Mutex
	leftOpen map[string]bool // zones in which our abort was not confirmed

	maxReply   int           // bytes in one reply
	pause      time.Duration // see replyPause
	slowReader func()        // test hook: called between two reads of a reply
	slowWorker func()        // test hook: called while a difference is made
}

// NewControl makes a client for the socket at path. timeout is how long one
// answer may take; a long answer gets a second more for each MiB received,
// and a commit a second more for each 2,000 records. Zero means
// DefaultTimeout.
func NewControl(path string, timeout time.Duration) *Control {
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	return &Control{
		path:     path,
		timeout:  timeout,
		turn:     make(chan struct{}, 1),
		leftOpen: map[string]bool{},
		maxReply: 2 << 30,
		pause:    replyPause,
	}
}

// Path is the socket's path.
func (c *Control) Path() string { return c.path }

// do runs fn within one conversation.
func (c *Control) do(ctx context.Context, fn func(*conn) error) error {
	k, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer k.close()
	return fn(k)
}

// Version asks which Knot this is, as in "3.2.6".
func (c *Control) Version(ctx context.Context) (string, error) {
	var v string
	err := c.do(ctx, func(k *conn) (err error) {
		v, err = k.version()
		return err
	})
	return v, err
}

func (k *conn) version() (string, error) {
	r := newRequest("status")
	r.unit("")
	r.item(itemType, "version")
	var v string
	err := k.units(r, k.ctl.timeout, func(u *unit) error {
		v = strings.TrimPrefix(u.get(itemData), "Version: ")
		return nil
	})
	if err == nil && v == "" {
		err = fmt.Errorf("%w: control socket %s: no version in the answer", ErrProtocol, k.ctl.path)
	}
	return v, err
}

// WaitReady returns when Knot answers, or with the last error when ctx ends.
func (c *Control) WaitReady(ctx context.Context) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		_, err := c.Version(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return err
		}
	}
}

// ZoneStatus asks for one zone's state. A zone that is not configured is no
// error: Exists is false.
func (c *Control) ZoneStatus(ctx context.Context, zone string) (Status, error) {
	var st Status
	err := c.do(ctx, func(k *conn) (err error) {
		st, err = k.status(canonicalZone(zone))
		return err
	})
	return st, err
}

// Zones asks for the states of all zones in one request, in Knot's order. Ten
// thousand zones cost one answer of about 1 MB.
func (c *Control) Zones(ctx context.Context) ([]Status, error) {
	var all []Status
	err := c.do(ctx, func(k *conn) (err error) {
		all, err = k.statuses("")
		return err
	})
	return all, err
}

func (k *conn) status(zone string) (Status, error) {
	all, err := k.statuses(zone)
	switch {
	case errors.Is(err, ErrZoneUnknown):
		return Status{Zone: zone}, nil
	case err != nil:
		return Status{}, err
	case len(all) != 1 || canonicalZone(all[0].Zone) != zone:
		return Status{}, fmt.Errorf("%w: control socket %s: status of %d zones in answer to a question for %s", ErrProtocol, k.ctl.path, len(all), zone)
	}
	all[0].Zone = zone
	return all[0], nil
}

// statuses asks with the filter "st", serial and transaction, which is cheap.
func (k *conn) statuses(zone string) ([]Status, error) {
	r := newRequest("zone-status")
	r.unit(zone)
	r.item(itemFilter, "st")
	var all []Status
	err := k.units(r, k.ctl.timeout, func(u *unit) error {
		name := u.get(itemZone)
		if len(all) == 0 || all[len(all)-1].Zone != name {
			all = append(all, Status{Zone: name, Exists: true})
		}
		return all[len(all)-1].set(u.get(itemType), u.get(itemData))
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// set takes one unit of an answer; "-" stands for none.
func (s *Status) set(name, value string) error {
	switch name {
	case "serial":
		if value == "-" || value == "none" {
			return nil
		}
		n, err := strconv.ParseUint(value, 10, 32)
		if err != nil {
			return fmt.Errorf("%w: serial %q of zone %s is not a number below 2^32", ErrProtocol, value, s.Zone)
		}
		s.Serial, s.HasSerial = uint32(n), true
	case "transaction":
		s.TransactionOpen = value == "open"
	}
	return nil
}

// AbortStale aborts a transaction that is open on the zone and reports
// whether there was one. Use it on the public Knot at start: only the daemon
// writes there, so the transaction is a leftover of a crash, and until the next
// push it blocks Knot's reloads. On the hidden Knot it may be the owner's edit: look at
// Status.TransactionOpen there and report.
func (c *Control) AbortStale(ctx context.Context, zone string) (bool, error) {
	zone = canonicalZone(zone)
	aborted := false
	err := c.do(ctx, func(k *conn) error {
		err := k.zoneCommand("zone-abort", zone, c.timeout)
		switch {
		case errors.Is(err, errNoTransaction):
			err = nil
		case err == nil:
			aborted = true
		}
		if err == nil {
			c.setLeftOpen(zone, false)
		}
		return err
	})
	return aborted, err
}

func (c *Control) setLeftOpen(zone string, open bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if open {
		c.leftOpen[zone] = true
	} else {
		delete(c.leftOpen, zone)
	}
}

func (c *Control) isLeftOpen(zone string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.leftOpen[zone]
}
