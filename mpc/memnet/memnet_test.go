package memnet

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"zonesigner/mpc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, h *Hub) (a, b, c mpc.Session) {
	t.Helper()
	ends, err := h.Open(mpc.SessionID{1})
	if err != nil {
		t.Fatal(err)
	}
	return ends[0], ends[1], ends[2]
}

func hub(t *testing.T) *Hub {
	t.Helper()
	h := New("a", "b", "c")
	t.Cleanup(h.Close)
	return h
}

func TestExchangeManyRounds(t *testing.T) {
	h := hub(t)
	a, b, c := open(t, h)
	var wg sync.WaitGroup
	for _, s := range []mpc.Session{a, b, c} {
		wg.Go(func() {
			for i := range 200 {
				got, err := mpc.Exchange(t.Context(), s, fmt.Sprint(i), []byte(s.Self()))
				if err != nil {
					t.Error(err)
					return
				}
				for from, m := range got {
					if string(m) != string(from) {
						t.Errorf("round %d: got %q from %s", i, m, from)
					}
				}
			}
		})
	}
	wg.Wait()
}

func TestMessageBeforeOpenIsKept(t *testing.T) {
	h := hub(t)
	a, err := h.Transport("a").Open(mpc.SessionID{7}, []mpc.PartyID{"a", "b"})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Send(t.Context(), "b", "r", []byte("early")); err != nil {
		t.Fatal(err)
	}
	b, err := h.Transport("b").Open(mpc.SessionID{7}, []mpc.PartyID{"a", "b"})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := b.Recv(t.Context(), "a", "r"); err != nil || string(got) != "early" {
		t.Fatalf("got %q, %v", got, err)
	}
}

func TestEarlySessionsAreBounded(t *testing.T) {
	h := hub(t)
	for i := range maxEarly + 10 {
		h.Deliver(Message{From: "a", To: "b", Session: mpc.SessionID{byte(i), 1}, Round: "r"})
	}
	if n := len(h.Transport("b").sessions); n != maxEarly {
		t.Fatalf("%d sessions are kept, want %d", n, maxEarly)
	}
}

func TestFaults(t *testing.T) {
	ctx := context.Background()
	t.Run("duplicate", func(t *testing.T) {
		h := hub(t)
		a, b, _ := open(t, h)
		h.SetFault(func(m Message) []Message { return []Message{m, m} })
		must(t, a.Send(ctx, "b", "r", []byte("x")))
		if _, err := b.Recv(ctx, "a", "r"); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("two different messages", func(t *testing.T) {
		h := hub(t)
		a, b, _ := open(t, h)
		must(t, a.Send(ctx, "b", "r", []byte("x")))
		if _, err := b.Recv(ctx, "a", "r"); err != nil {
			t.Fatal(err)
		}
		must(t, a.Send(ctx, "b", "r", []byte("y")))
		_, err := b.Recv(ctx, "a", "later")
		cheat, ok := mpc.AsCheat(err)
		if !ok || cheat.Disputed || cheat.Parties[0] != "a" {
			t.Fatalf("got %v", err)
		}
	})
	t.Run("drop", func(t *testing.T) {
		h := hub(t)
		a, b, _ := open(t, h)
		h.SetFault(func(m Message) []Message { return nil })
		must(t, a.Send(ctx, "b", "r", []byte("x")))
		short, cancel := context.WithCancel(ctx)
		cancel()
		_, err := b.Recv(short, "a", "r")
		if absent, ok := mpc.AsAbsent(err); !ok || absent.Parties[0] != "a" || !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v", err)
		}
	})
	t.Run("reorder, delay and replay", func(t *testing.T) {
		h := hub(t)
		a, b, _ := open(t, h)
		var kept []Message
		h.SetFault(func(m Message) []Message {
			if m.Round == "1" {
				kept = append(kept, m)
				return nil
			}
			return append([]Message{m}, kept...)
		})
		must(t, a.Send(ctx, "b", "1", []byte("one")))
		must(t, a.Send(ctx, "b", "2", []byte("two")))
		h.Deliver(kept[0])
		for _, r := range []string{"1", "2"} {
			if _, err := b.Recv(ctx, "a", r); err != nil {
				t.Fatal(err)
			}
		}
	})
	t.Run("down", func(t *testing.T) {
		h := hub(t)
		h.SetDown("c", true)
		for _, p := range h.Transport("a").Peers() {
			if p.Ready != (p.ID == "b") {
				t.Errorf("peer %s: ready %v", p.ID, p.Ready)
			}
		}
	})
}

func TestFloodIsBlamed(t *testing.T) {
	h := hub(t)
	a, b, _ := open(t, h)
	big := make([]byte, maxMessage)
	for i := range maxSessionBytes/maxMessage + 1 {
		must(t, a.Send(t.Context(), "b", fmt.Sprint(i), big))
	}
	if _, err := b.Recv(t.Context(), "a", "0"); err == nil || !strings.Contains(err.Error(), "operator a cheated") {
		t.Fatalf("got %v", err)
	}
}

func TestControlKeepsOrder(t *testing.T) {
	h := hub(t)
	got := make(chan string, 100)
	h.Transport("b").Handle(func(from mpc.PartyID, msg []byte) { got <- string(from) + string(msg) })
	for i := range 100 {
		must(t, h.Transport("a").Send(t.Context(), "b", []byte(fmt.Sprint(i))))
	}
	for i := range 100 {
		if g := <-got; g != "a"+fmt.Sprint(i) {
			t.Fatalf("message %d is %q", i, g)
		}
	}
}

func TestCloseWakesReceiver(t *testing.T) {
	h := hub(t)
	a, _, _ := open(t, h)
	done := make(chan error)
	go func() {
		_, err := a.Recv(context.Background(), "b", "never")
		done <- err
	}()
	a.Close()
	if err := <-done; !errors.Is(err, errClosed) {
		t.Fatalf("got %v", err)
	}
	a.Close()
	if _, err := h.Transport("a").Open(mpc.SessionID{1}, []mpc.PartyID{"a", "b"}); err == nil {
		t.Fatal("a closed session was opened again")
	}
}

func TestArguments(t *testing.T) {
	h := hub(t)
	a, _, _ := open(t, h)
	var bad *mpc.ArgumentError
	if err := a.Send(t.Context(), "z", "r", nil); !errors.As(err, &bad) {
		t.Errorf("stranger: got %v", err)
	}
	if err := a.Send(t.Context(), "b", strings.Repeat("r", maxRound+1), nil); !errors.As(err, &bad) {
		t.Errorf("long round: got %v", err)
	}
	if err := h.Transport("a").Send(t.Context(), "b", make([]byte, mpc.MaxControl+1)); !errors.As(err, &bad) {
		t.Errorf("long control message: got %v", err)
	}
	if _, err := h.Transport("a").Open(mpc.SessionID{9}, []mpc.PartyID{"b", "c"}); !errors.As(err, &bad) {
		t.Errorf("not a member: got %v", err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// What is delayed comes in order and on time, and a second message does not
// wait for the first to arrive.
func TestDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const oneWay = 120 * time.Millisecond
		h := New("a", "b")
		defer h.Close()
		h.SetDelay(oneWay)
		ends, err := h.Open(mpc.SessionID{1})
		must(t, err)
		begin := time.Now()
		for i := range 10 {
			must(t, ends[0].Send(t.Context(), "b", fmt.Sprint(i), []byte{byte(i)}))
			time.Sleep(time.Millisecond)
		}
		for i := range 10 {
			b, err := ends[1].Recv(t.Context(), "a", fmt.Sprint(i))
			if err != nil || len(b) != 1 || b[0] != byte(i) {
				t.Fatalf("message %d: got %v, %v", i, b, err)
			}
			if took, want := time.Since(begin), oneWay+time.Duration(i)*time.Millisecond; took != want {
				t.Errorf("message %d arrived after %v, want %v", i, took, want)
			}
		}
		// One that is under way at the end is lost, as are all.
		must(t, ends[0].Send(t.Context(), "b", "last", nil))
	})
}

func TestDelayKeepsOrderOfControl(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := New("a", "b")
		defer h.Close()
		h.SetDelay(time.Second)
		got := make(chan string, 100)
		h.Transport("b").Handle(func(_ mpc.PartyID, msg []byte) { got <- string(msg) })
		for i := range 100 {
			must(t, h.Transport("a").Send(t.Context(), "b", fmt.Append(nil, i)))
		}
		for i := range 100 {
			if g := <-got; g != fmt.Sprint(i) {
				t.Fatalf("message %d is %q", i, g)
			}
		}
	})
}
