package main

import (
	"context"
	"fmt"
	"log/slog"
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
	log      *slog.Logger
}

func newNotifier(log *slog.Logger) *notifier {
	n := &notifier{socket: os.Getenv("NOTIFY_SOCKET"), log: log}
	pid := os.Getenv("WATCHDOG_PID")
	if pid == "" || pid == strconv.Itoa(os.Getpid()) {
		if usec, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64); err == nil && usec > 0 {
			n.watchdog = time.Duration(usec) * time.Microsecond
		}
	}
	return n
}

// say sends assignments, as in "READY=1\nSTATUS=...". That systemd could not
// be told is no reason to stop.
func (n *notifier) say(state string) {
	if n.socket == "" {
		return
	}
	// A name that begins with @ is abstract; the net package takes it so.
	conn, err := net.Dial("unixgram", n.socket)
	if err == nil {
		_, err = conn.Write([]byte(state))
		conn.Close()
	}
	if err != nil {
		n.log.Warn("systemd was not told", "state", state, "error", err)
	}
}

func (n *notifier) ready()    { n.say("READY=1") }
func (n *notifier) stopping() { n.say("STOPPING=1") }

// reloading carries the time by which systemd orders it.
func (n *notifier) reloading() {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) // fails for no clock that Linux has
	n.say(fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", now.Nano()/1000))
}

// watch pings the watchdog at half its interval for as long as alive returns
// nil in time.
func (n *notifier) watch(ctx context.Context, alive func(context.Context) error) {
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
		switch {
		case err == nil:
			n.say("WATCHDOG=1")
		case ctx.Err() == nil:
			n.log.Error("the daemon does not answer itself", "error", err)
		}
	}
}
