package figures

import (
	"context"
	"net"
	"slices"
	"sync"
	"time"

	"zonesigner/mpc/memnet"
)

// proxy stands before a TCP listener and makes the way to it longer: what
// comes in on either side goes out on the other after oneWay, in order, however
// much is under way.
type proxy struct {
	listener net.Listener
	oneWay   time.Duration
	ctx      context.Context // ends with close
	cancel   context.CancelFunc
	wg       sync.WaitGroup
	known    chan struct{} // closed when target is set
	target   string
}

// newProxy listens on a free port of loopback. Connections wait until
// forwardTo says what for.
func newProxy(oneWay time.Duration) (*proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{listener: l, oneWay: oneWay, known: make(chan struct{})}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.wg.Go(p.accept)
	return p, nil
}

func (p *proxy) addr() string { return p.listener.Addr().String() }

// forwardTo sets the address behind the proxy, once.
func (p *proxy) forwardTo(addr string) {
	p.target = addr
	close(p.known)
}

// close ends all connections and waits for them.
func (p *proxy) close() {
	p.cancel()
	_ = p.listener.Close()
	p.wg.Wait()
}

func (p *proxy) accept() {
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.wg.Go(func() { p.serve(conn) })
	}
}

// serve carries one connection until a side closes it.
func (p *proxy) serve(conn net.Conn) {
	defer conn.Close()
	select {
	case <-p.known:
	case <-p.ctx.Done():
		return
	}
	var dialer net.Dialer
	behind, err := dialer.DialContext(p.ctx, "tcp", p.target)
	if err != nil {
		return
	}
	defer behind.Close()
	ctx, cancel := context.WithCancel(p.ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		_ = conn.Close()
		_ = behind.Close()
	})
	defer stop()
	var wg sync.WaitGroup
	for _, way := range [][2]net.Conn{{conn, behind}, {behind, conn}} {
		l := memnet.NewLine[[]byte]()
		wg.Go(func() { read(way[0], l, p.oneWay) })
		wg.Go(func() {
			l.Carry(ctx, func(b []byte) bool {
				if b == nil {
					return false
				}
				_, err := way[1].Write(b)
				return err == nil
			})
			cancel()
		})
	}
	wg.Wait()
}

// read puts what comes on a line; nil is the end.
func read(from net.Conn, l *memnet.Line[[]byte], oneWay time.Duration) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		due := time.Now().Add(oneWay)
		if n > 0 {
			l.Put(slices.Clone(buf[:n]), due)
		}
		if err != nil {
			l.Put(nil, due)
			return
		}
	}
}
