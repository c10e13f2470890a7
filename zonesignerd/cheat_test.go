package main

import (
	"context"
	"io"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"zonesigner/mpc"
	"zonesigner/mpc/natsnet"
	"zonesigner/zonesignerd/config"
	"zonesigner/zonesignerd/internal/node"
)

// liar is an operator's transport that alters what it sends of its shares of R,
// which it committed itself to when the tuples were made, while it lies.
type liar struct {
	mpc.Transport
	lies *atomic.Bool
}

func (l liar) Open(id mpc.SessionID, parties []mpc.PartyID) (mpc.Session, error) {
	s, err := l.Transport.Open(id, parties)
	if err != nil {
		return nil, err
	}
	return lyingSession{s, l.lies}, nil
}

type lyingSession struct {
	mpc.Session
	lies *atomic.Bool
}

func (s lyingSession) Send(ctx context.Context, to mpc.PartyID, round string, b []byte) error {
	if s.lies.Load() && strings.HasSuffix(round, "/statement") { // which they end
		b = slices.Clone(b)
		b[len(b)-1] ^= 1
	}
	return s.Session.Send(ctx, to, round, b)
}

// runLiar runs an operator's daemon in this process, over a transport that can
// lie.
func (tr *trio) runLiar(name string, lies *atomic.Bool) (end func()) {
	tr.t.Helper()
	honest := startNode
	startNode = func(ctx context.Context, cfg *config.Daemon, o node.Options) (daemon, error) {
		key, err := config.ReadIdentity(cfg.Identity)
		if err != nil {
			return nil, err
		}
		g, err := config.LoadGroup(cfg.Group)
		if err != nil {
			return nil, err
		}
		c := natsnet.Config{Self: mpc.PartyID(cfg.Operator), Key: key, Group: g.Digest(), GroupName: g.Name, Listen: cfg.NATS.Listen, Logger: o.Logger}
		for _, op := range g.Operators {
			public, err := config.PublicKey(op.NKey)
			if err != nil {
				return nil, err
			}
			c.Peers = append(c.Peers, natsnet.Peer{ID: mpc.PartyID(op.Name), Key: public, Address: op.Address})
		}
		t, err := natsnet.Start(ctx, c)
		if err != nil {
			return nil, err
		}
		tr.t.Cleanup(func() { t.Close() })
		o.Transport = liar{t, lies}
		return node.Start(ctx, cfg, o)
	}
	log, err := os.OpenFile(tr.path(name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		tr.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(tr.t.Context())
	a := &app{in: strings.NewReader(""), out: io.Discard, err: log, now: time.Now}
	done := make(chan int, 1)
	go func() { done <- a.run(ctx, []string{"run", "--config", tr.path(name, "zonesignerd.yaml")}) }()
	end = func() {
		cancel()
		<-done
		startNode = honest
		log.Close()
	}
	tr.soon(name, "^zonesignerd ", "status")
	return end
}

// An operator that sends a false share ends a sign-now of another with exit
// status 5, and its name; nothing of it is served, and the next one goes
// without it.
func TestSignNowWithAnOperatorThatLies(t *testing.T) {
	tr := newTrio(t)
	tr.init()
	tr.run(trioNames...)
	for _, name := range trioNames {
		tr.at(name, 0, "zones", "add", tr.path(name, "policy.yaml"), "--wait=false")
	}
	for _, name := range trioNames {
		tr.at(name, 0, "keys", "generate", "example.org", "--wait=false")
	}
	for _, name := range trioNames {
		tr.soon(name, `^example.org. +signed +1 +1 `, "zones", "list")
	}
	tr.stop("c")
	var lies atomic.Bool
	defer tr.runLiar("c", &lies)()
	tr.soon("c", `^example.org. +signed +1 `, "zones", "list")
	tr.soon("a", `^c +yes `, "status")
	tr.says("a", `^example.org.: serial 2 is signed and served$`, "sign-now", "example.org")

	lies.Store(true)
	before := string(read(t, tr.path("a", "example.org.signed")))
	_, stderr := tr.at("a", 5, "sign-now", "example.org")
	tr.match(stderr, `^zonesignerd: signing: .*operator c cheated: shares of R: `)
	if string(read(t, tr.path("a", "example.org.signed"))) != before {
		t.Error("a failed session changed what is served")
	}
	tr.says("a", `^example.org.: serial \d+ is signed and served$`, "sign-now", "example.org")
	tr.same(t, "a", "b")
}
