package api

import (
	"log/slog"
	"net"
	"sync"
)

// most is how many connections the callers of one level may hold at once.
// Each level has its own, so that nobody keeps one who may do more out.
const most = 64

// limiter accepts connections up to most for each level and closes what goes
// beyond. A connection knows its caller.
type limiter struct {
	net.Listener
	level func(caller) Level
	log   *slog.Logger

	mu   sync.Mutex
	held map[Level]int
}

func limit(l net.Listener, level func(caller) Level, log *slog.Logger) *limiter {
	return &limiter{Listener: l, level: level, log: log, held: map[Level]int{}}
}

// client is a connection whose other end the kernel has named.
type client struct {
	net.Conn
	caller caller
	once   sync.Once
	done   func()
}

func (c *client) Close() error {
	c.once.Do(c.done)
	return c.Conn.Close()
}

// Accept waits for a connection that is within its level's number.
func (l *limiter) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		who, err := peer(conn)
		if err != nil {
			l.log.Error("command socket: who connected is not known", "error", err)
			conn.Close()
			continue
		}
		level := l.level(who)
		if !l.take(level) {
			l.log.Warn("command socket: too many connections", "uid", who.uid, "held", most)
			conn.Close()
			continue
		}
		return &client{Conn: conn, caller: who, done: func() { l.give(level) }}, nil
	}
}

func (l *limiter) take(level Level) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held[level] >= most {
		return false
	}
	l.held[level]++
	return true
}

func (l *limiter) give(level Level) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held[level]--
}
