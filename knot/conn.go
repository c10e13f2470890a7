package knot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"
)

const (
	// trickle is the least speed, in bytes a second, at which a long reply
	// may go on past the timeout, so that no reply lasts for ever.
	trickle = 1 << 20
	// replyPause is the longest gap within a reply. knotd gives up on a
	// client that does not read for its control timeout (5 s by default),
	// drops what did not fit, and may end the reply as if it were whole;
	// after a gap of half that time a reply is not to be trusted.
	replyPause = 2500 * time.Millisecond
	readSize   = 256 << 10
)

// conn is one conversation on the control socket. knotd 3.2 has one control
// thread, which an idle connection holds up for everyone, so a conn lives for
// one action.
type conn struct {
	ctl  *Control
	c    net.Conn
	ctx  context.Context
	stop func() bool // ends the watch on ctx
	buf  []byte
}

// open waits for this Control's turn and connects.
func (c *Control) open(ctx context.Context) (*conn, error) {
	select {
	case c.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, unavailable(c.path, c.timeout, ctx.Err())
	}
	k := &conn{ctl: c, ctx: ctx, buf: make([]byte, readSize)}
	if err := k.connect(); err != nil {
		<-c.turn
		return nil, err
	}
	return k, nil
}

func (k *conn) connect() error {
	c, err := k.ctl.dial(k.ctx)
	if err != nil {
		return unavailable(k.ctl.path, k.ctl.timeout, err)
	}
	k.c = c
	k.stop = context.AfterFunc(k.ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	return nil
}

// hangUp says good-bye, so that knotd need not time out.
func (k *conn) hangUp() {
	k.stop()
	_ = k.c.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
	_, _ = k.c.Write([]byte{unitEnd})
	_ = k.c.Close()
}

// dial connects, and tries again while the socket's backlog is full.
func (c *Control) dial(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	var d net.Dialer
	for {
		nc, err := d.DialContext(ctx, "unix", c.path)
		if !errors.Is(err, syscall.EAGAIN) {
			return nc, err
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return nil, err
		}
	}
}

// close ends the conversation and gives up the turn.
func (k *conn) close() {
	k.hangUp()
	<-k.ctl.turn
}

// setDeadline is a deadline that does not undo an end of the context.
func (k *conn) setDeadline(t time.Time) {
	_ = k.c.SetDeadline(t)
	if k.ctx.Err() != nil {
		_ = k.c.SetDeadline(time.Unix(1, 0))
	}
}

// ask sends one block and reads the reply to its end. It writes and reads at
// once: knotd answers while it reads, and blocks when nobody takes the answer.
func (k *conn) ask(r *request, budget time.Duration) (string, error) {
	start := time.Now()
	k.setDeadline(start.Add(budget))
	written := make(chan error, 1)
	go func() {
		_, err := k.c.Write(r.block())
		written <- err
	}()
	reply, err := k.read(start.Add(budget))
	if err != nil {
		// Nothing more is to come or to be sent: free the writer.
		_ = k.c.SetDeadline(time.Unix(1, 0))
		werr := <-written
		switch {
		case k.ctx.Err() != nil:
			return "", fmt.Errorf("%s: %w", r.command, unavailable(k.ctl.path, k.ctl.timeout, k.ctx.Err()))
		case errors.Is(err, ErrProtocol), errors.Is(err, errSlow):
			return "", fmt.Errorf("%s: control socket %s: %w", r.command, k.ctl.path, err)
		case errors.Is(err, io.EOF) && werr != nil:
			err = io.ErrUnexpectedEOF
		}
		return "", fmt.Errorf("%s: %w", r.command, unavailable(k.ctl.path, k.ctl.timeout, err))
	}
	if err := <-written; err != nil {
		return "", fmt.Errorf("%s: %w", r.command, unavailable(k.ctl.path, k.ctl.timeout, err))
	}
	return reply, nil
}

// read collects a reply. Nothing is parsed but where it ends.
func (k *conn) read(deadline time.Time) (string, error) {
	var reply strings.Builder
	var f frame
	var last time.Time
	for {
		n, err := k.c.Read(k.buf)
		now := time.Now()
		if n > 0 {
			if reply.Len() > 0 && now.Sub(last) > k.ctl.pause {
				return "", errSlow
			}
			last = now
			if reply.Len()+n > k.ctl.maxReply {
				return "", fmt.Errorf("%w: reply of more than %d bytes", ErrProtocol, k.ctl.maxReply)
			}
			reply.Write(k.buf[:n])
			done, ferr := f.scan(k.buf[:n])
			if ferr != nil {
				return "", ferr
			}
			if done {
				return reply.String(), nil
			}
			if k.ctl.slowReader != nil {
				k.ctl.slowReader()
			}
			k.setDeadline(deadline.Add(time.Duration(reply.Len()) * time.Second / trickle))
		}
		if err != nil {
			return "", err
		}
	}
}

// units asks and calls fn for each unit of the reply; a unit with an ERROR is
// returned as a *ControlError instead.
func (k *conn) units(r *request, budget time.Duration, fn func(*unit) error) error {
	reply, err := k.ask(r, budget)
	if err != nil {
		return err
	}
	return eachUnit(reply, func(u *unit) error {
		if err := u.err(r.command); err != nil {
			return err
		}
		if fn == nil {
			return nil
		}
		return fn(u)
	})
}

// zoneCommand is a command that takes a zone and answers nothing.
func (k *conn) zoneCommand(command, zone string, budget time.Duration) error {
	r := newRequest(command)
	r.unit(zone)
	return k.units(r, budget, nil)
}
