package natsnet

import (
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"zonesigner/mpc"
)

// node is this daemon's place in NATS: the embedded server, if there is one,
// and the daemon's own connection.
type node struct {
	srv  *server.Server // nil with external servers
	nc   *nats.Conn
	addr string // of the cluster listener
	max  int    // bytes of data in a packet
}

const startTimeout = 10 * time.Second

func startNode(t *Transport) (*node, error) {
	n := &node{}
	name := "zonesigner " + string(t.cfg.Self)
	public, err := publicNKey(t.cfg.Key.Public().(ed25519.PublicKey))
	if err != nil {
		return nil, err
	}
	options := []nats.Option{
		nats.Name(name),
		nats.Nkey(public, nonceSigner(t.cfg.Key, t.cfg.hooks.anyNonce)),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(250 * time.Millisecond),
		nats.ReconnectBufSize(-1), // what was sent into a gap is lost anyway, so say so at once
		nats.WriteBufferSize(1),   // packets go out as they are published: links put together what goes together
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err == nil {
				err = errors.New("connection closed")
			}
			t.resetAll(n, fmt.Errorf("connection to the NATS servers: %w", err))
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			t.log.Warn("nats", "error", err)
		}),
	}
	where := strings.Join(t.cfg.URLs, ",")
	if where == "" {
		if err := n.serve(t, public); err != nil {
			return nil, err
		}
		where = n.srv.ClientURL()
		options = append(options, nats.InProcessServer(n.srv), nats.FlusherTimeout(0))
	} else {
		options = append(options, nats.RetryOnFailedConnect(true))
		if t.cfg.RootCAs != nil {
			options = append(options, nats.Secure(&tls.Config{MinVersion: tls.VersionTLS12, RootCAs: t.cfg.RootCAs}))
		}
	}
	if n.nc, err = nats.Connect(where, options...); err != nil {
		n.stop()
		return nil, fmt.Errorf("connect to NATS at %s: %w", where, err)
	}
	n.max = maxPacket
	if m := n.nc.MaxPayload(); m > packetHeader+1024 {
		n.max = min(n.max, int(m)-packetHeader)
	}
	return n, nil
}

// serve starts the embedded server.
func (n *node) serve(t *Transport, public string) error {
	host, portText, err := net.SplitHostPort(t.cfg.Listen)
	if err != nil {
		return &mpc.ArgumentError{Msg: fmt.Sprintf("network: listen address %q: expected host:port: %v", t.cfg.Listen, err)}
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return &mpc.ArgumentError{Msg: fmt.Sprintf("network: listen address %q: expected a port number: %v", t.cfg.Listen, err)}
	}
	// The server only logs that it cannot listen, so ask first.
	if l, err := net.Listen("tcp", t.cfg.Listen); err != nil {
		return fmt.Errorf("cluster listener: %w", err)
	} else if err := l.Close(); err != nil {
		return fmt.Errorf("cluster listener: %w", err)
	}
	members := map[string]bool{}
	var routes []*url.URL
	var own string // what servers tell each other of us: the group's address, not one behind it
	for _, p := range t.cfg.Peers {
		if p.ID == t.cfg.Self {
			own = p.Address
			continue
		}
		members[string(p.Key)] = true
		if p.Address != "" {
			routes = append(routes, &url.URL{Scheme: "nats-route", Host: p.Address})
		}
	}
	// Any member's key will do here: servers tell each other of further
	// servers, and the server does not let us know whom it dials. A member
	// that stands in for another gains what a NATS server has anyway; links
	// pin the very peer.
	tlsConfig := pinned(t.cert, func(key ed25519.PublicKey) bool {
		return members[string(key)] || t.cfg.hooks.routeKey
	})
	clusterPort := int(port)
	if clusterPort == 0 {
		clusterPort = server.RANDOM_PORT
	}
	opts := &server.Options{
		// DontListen would keep routes from forming, so clients get a port on
		// loopback, where only our own nkey is let in.
		Host:    "127.0.0.1",
		Port:    server.RANDOM_PORT,
		Nkeys:   []*server.NkeyUser{{Nkey: public}},
		MaxConn: 8,
		NoSigs:  true,
		// Every peer may have a window on its way to us. A server that holds
		// more for a client cuts it off.
		MaxPending: int64(len(t.cfg.Peers)) * maxWindow,
		Cluster: server.ClusterOpts{
			Name:        subjectToken(t.cfg.GroupName),
			Host:        host,
			Port:        clusterPort,
			Advertise:   own,
			TLSConfig:   tlsConfig,
			TLSTimeout:  5,
			PoolSize:    -1, // one account, so one connection for each pair
			Compression: server.CompressionOpts{Mode: server.CompressionOff},
		},
		Routes: routes,
	}
	if n.srv, err = server.NewServer(opts); err != nil {
		return fmt.Errorf("NATS server: %w", err)
	}
	fatal := &serverLog{log: t.log}
	n.srv.SetLoggerV2(fatal, t.log.Enabled(t.ctx, slog.LevelDebug), false, false)
	n.srv.Start()
	if !n.srv.ReadyForConnections(startTimeout) {
		n.stop()
		return fmt.Errorf("NATS server on %s did not start in %v: %s", t.cfg.Listen, startTimeout, fatal.last())
	}
	n.addr = n.srv.ClusterAddr().String()
	return nil
}

func (n *node) stop() {
	if n.nc != nil {
		n.nc.Close()
	}
	if n.srv != nil {
		n.srv.Shutdown()
		n.srv.WaitForShutdown()
	}
}

// subjectToken writes a name as one token of a NATS subject; different names
// give different tokens.
func subjectToken(name string) string {
	var b strings.Builder
	for _, c := range []byte(name) {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "=%02X", c)
		}
	}
	return b.String()
}

// subject is where packets between two operators of a group go.
func subject(group string, from, to mpc.PartyID) string {
	return "zonesigner.v1." + subjectToken(group) + "." + subjectToken(string(from)) + "." + subjectToken(string(to))
}

// serverLog passes the embedded server's log on at debug level: what matters
// of it shows in the peers' states, in our words.
type serverLog struct {
	log *slog.Logger

	mu    sync.Mutex
	fatal string
}

func (l *serverLog) last() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fatal
}

func (l *serverLog) debug(format string, v []any) {
	l.log.Debug("nats server", "what", fmt.Sprintf(format, v...))
}

func (l *serverLog) Noticef(format string, v ...any) { l.debug(format, v) }
func (l *serverLog) Warnf(format string, v ...any)   { l.debug(format, v) }
func (l *serverLog) Errorf(format string, v ...any)  { l.debug(format, v) }
func (l *serverLog) Debugf(format string, v ...any)  { l.debug(format, v) }
func (l *serverLog) Tracef(format string, v ...any)  {}
func (l *serverLog) Fatalf(format string, v ...any) {
	l.mu.Lock()
	l.fatal = fmt.Sprintf(format, v...)
	l.mu.Unlock()
	l.log.Error("nats server", "what", fmt.Sprintf(format, v...))
}
