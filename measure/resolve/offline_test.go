package resolve

import (
	"errors"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"zonesigner/measure"
	"zonesigner/measure/testnet"
)

// TestOffline takes the network away while lookups are under way, so that
// sending fails at once, or so that datagrams get lost: lookups wait, and none
// blames a server. Without a return they end with an error.
func TestOffline(t *testing.T) {
	t.Parallel()
	n, err := testnet.Start(200)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	none := error(nil)
	down := error(syscall.ENETUNREACH)
	for name, fault := range map[string]*error{"no route": &down, "lost": &none} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			var events []string
			var r *Iterative
			r, err := NewIterative(t.Context(), Config{Port: n.Port, Private: true, Rate: -1, ServerRate: -1, Timeout: time.Minute, Try: 500 * time.Millisecond,
				Event: func(kind, _ string) {
					mu.Lock()
					defer mu.Unlock()
					if events = append(events, kind); len(events) == 1 { // others have time to fail, too
						time.AfterFunc(2*time.Second, func() { r.udp.unplugged.Store(nil) })
					}
				}}, n.Roots())
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			r.udp.unplugged.Store(fault)
			var wg sync.WaitGroup
			for i := range 60 {
				d := testnet.At(i)
				if d.Kind != "single" && d.Kind != "pair" {
					continue
				}
				wg.Go(func() {
					if l, err := r.NameServers(t.Context(), d.Name); err != nil || l.Status != measure.NoError {
						t.Errorf("%s: %s, %v", d.Name, l.Status, err)
					}
					if h, err := r.Host(t.Context(), "ns1.p43.dynect.net"); err != nil || h.Status != measure.NoError {
						t.Errorf("host: %s, %v", h.Status, err)
					}
				})
			}
			wg.Wait()
			if want := []string{EventOffline, EventOnline}; len(events) < 2 || !slices.Equal(events[:2], want) {
				t.Errorf("events %v, want %v first", events, want)
			}
			r.network.patience = 500 * time.Millisecond
			r.udp.unplugged.Store(fault)
			if l, err := r.NameServers(t.Context(), "example.com"); !errors.Is(err, ErrOffline) {
				t.Errorf("for good: %s, %v", l.Status, err)
			}
		})
	}
	if _, err := NewIterative(t.Context(), Config{Port: 9, Try: 50 * time.Millisecond}, []netip.Addr{netip.MustParseAddr("127.0.0.1")}); !errors.Is(err, ErrOffline) {
		t.Errorf("roots that are silent from the beginning: %v", err)
	}
}
