package resolve

import (
	"context"
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
			r, err := NewIterative(t.Context(), Config{Port: n.Port, Private: true, Rate: -1, ServerRate: -1, Timeout: time.Second, Try: 100 * time.Millisecond,
				Event: func(kind, _ string) { mu.Lock(); events = append(events, kind); mu.Unlock() }}, n.Roots())
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			r.udp.unplugged.Store(fault)
			time.AfterFunc(3*time.Second, func() { r.udp.unplugged.Store(nil) })
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
			if want := []string{EventOffline, EventOnline}; !slices.Equal(events, want) {
				t.Errorf("events %v, want %v", events, want)
			}
			r.network.patience = 500 * time.Millisecond
			r.udp.unplugged.Store(fault)
			if l, err := r.NameServers(t.Context(), "example.com"); !errors.Is(err, ErrOffline) {
				t.Errorf("for good: %s, %v", l.Status, err)
			}
		})
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := NewIterative(ctx, Config{Port: 9, Try: 50 * time.Millisecond}, []netip.Addr{netip.MustParseAddr("127.0.0.1")}); !errors.Is(err, ErrOffline) {
		t.Errorf("roots that are silent from the beginning: %v", err)
	}
}
