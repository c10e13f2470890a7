package figures

import (
	"context"
	"net"
	"slices"
	"sync"
	"time"
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
		l := &lane{more: make(chan struct{}, 1)}
		wg.Go(func() { l.read(way[0], p.oneWay) })
		wg.Go(func() {
			l.write(ctx, way[1])
			cancel()
		})
	}
	wg.Wait()
}

// lane is one direction of a connection.
type lane struct {
	mu    sync.Mutex
	queue []piece
	more  chan struct{} // capacity 1: there is something in queue
}

// piece is what was read at once; without data, the end.
type piece struct {
	due  time.Time
	data []byte
}

func (l *lane) read(from net.Conn, oneWay time.Duration) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		due := time.Now().Add(oneWay)
		l.mu.Lock()
		if n > 0 {
			l.queue = append(l.queue, piece{due, slices.Clone(buf[:n])})
		}
		if err != nil {
			l.queue = append(l.queue, piece{due: due})
		}
		l.mu.Unlock()
		select {
		case l.more <- struct{}{}:
		default:
		}
		if err != nil {
			return
		}
	}
}

func (l *lane) write(ctx context.Context, to net.Conn) {
	for {
		l.mu.Lock()
		queue := l.queue
		l.queue = nil
		l.mu.Unlock()
		for _, p := range queue {
			select {
			case <-time.After(time.Until(p.due)):
			case <-ctx.Done():
				return
			}
			if p.data == nil {
				return
			}
			if _, err := to.Write(p.data); err != nil {
				return
			}
		}
		select {
		case <-l.more:
		case <-ctx.Done():
			return
		}
	}
}
