package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// notifier speaks systemd's notification protocol (sd_notify(3)). Without
// $NOTIFY_SOCKET it says nothing.
type notifier struct {
	socket   string
	watchdog time.Duration // 0: not wanted
}

func newNotifier() *notifier {
	n := &notifier{socket: os.Getenv("NOTIFY_SOCKET")}
	pid := os.Getenv("WATCHDOG_PID")
	if pid == "" || pid == strconv.Itoa(os.Getpid()) {
		if usec, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64); err == nil && usec > 0 {
			n.watchdog = time.Duration(usec) * time.Microsecond
		}
	}
	return n
}

// say sends assignments, as in "READY=1\nSTATUS=...".
func (n *notifier) say(state string) error {
	if n.socket == "" {
		return nil
	}
	// A name that begins with @ is abstract; the net package takes it so.
	conn, err := net.Dial("unixgram", n.socket)
	if err != nil {
		return fmt.Errorf("telling systemd: %w", err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(state)); err != nil {
		return fmt.Errorf("telling systemd: %w", err)
	}
	return nil
}

func (n *notifier) ready() error    { return n.say("READY=1") }
func (n *notifier) stopping() error { return n.say("STOPPING=1") }

// reloading carries the time by which systemd orders it.
func (n *notifier) reloading() error {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return err
	}
	return n.say(fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", now.Nano()/1000))
}

// watch pings the watchdog at half its interval for as long as alive says so.
func (n *notifier) watch(ctx context.Context, alive func(context.Context) error, failed func(error)) {
	if n.watchdog == 0 {
		return
	}
	ticks := time.NewTicker(n.watchdog / 2)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
		check, cancel := context.WithTimeout(ctx, n.watchdog/2)
		err := alive(check)
		cancel()
		if err == nil {
			err = n.say("WATCHDOG=1")
		}
		if err != nil && ctx.Err() == nil {
			failed(err)
		}
	}
}
