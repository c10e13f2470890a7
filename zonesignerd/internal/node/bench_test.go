package node

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"testing"
	"time"

	"zonesigner/mpc"
	"zonesigner/zonesignerd/config"
)

// signersOf starts three daemons with one zone key, without background work
// on its pools.
func signersOf(b *testing.B) (*operators, mpc.KeyID) {
	o := newOperators(b, 3, 1)
	o.group.SignerSets = [][]string{{"a", "b", "c"}}
	o.edit = func(c *config.Daemon) { c.Pools.Depth, c.Pools.Chunk = 1, 1024 }
	o.write("example.", 1, "")
	o.startAll()
	o.add("example.")
	o.level("example.", 0)
	for _, k := range o.nodes["a"].keys.all() {
		if k.Role == roleZSK {
			return o, mpc.KeyID(k.ID)
		}
	}
	b.Fatal("no ZSK")
	return nil, ""
}

// together runs one session at all operators.
func (o *operators) together(id mpc.SessionID, run func(n *Node, net mpc.Network) error) {
	o.t.Helper()
	var wg sync.WaitGroup
	errs := make([]error, len(o.names))
	for i, name := range o.names {
		wg.Go(func() {
			n := o.nodes[name]
			net, err := n.transport.Open(id, n.groups.mpc().Parties)
			if err == nil {
				defer net.Close()
				err = run(n, net)
			}
			errs[i] = err
		})
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			o.t.Fatalf("operator %s: %v", o.names[i], err)
		}
	}
}

func freshSession() (id mpc.SessionID) {
	_, _ = rand.Read(id[:])
	return id
}

func (o *operators) prepare(key mpc.KeyID, n int) {
	o.together(freshSession(), func(node *Node, net mpc.Network) error {
		return node.signer.Prepare(context.Background(), net, key, mpc.NewSignerSet("a", "b", "c"), "a", n, nil)
	})
}

func (o *operators) sign(key mpc.KeyID, msgs [][]byte) {
	o.t.Helper()
	set := mpc.NewSignerSet("a", "b", "c")
	ranges, err := o.nodes["a"].tuples.Choose(key, set, len(msgs), func() {})
	must(o.t, err)
	id := freshSession()
	o.together(id, func(node *Node, net mpc.Network) error {
		_, err := node.signer.Sign(context.Background(), net, mpc.SignSession{
			ID: id, Set: set, Stripe: "a", Requests: []mpc.SignRequest{{Key: key, Tuples: ranges, Messages: msgs}},
		}, nil)
		return err
	})
}

func messages(n int) [][]byte {
	msgs := make([][]byte, n)
	for i := range msgs {
		msgs[i] = fmt.Appendf(nil, "an RRset of about two hundred bytes, number %d %0150d", i, 0)
	}
	return msgs
}

// BenchmarkTuplesOverNATS makes tuples, commitments included, for three
// operators with keystores on disk and real NATS between them.
func BenchmarkTuplesOverNATS(b *testing.B) {
	o, key := signersOf(b)
	b.ResetTimer()
	o.prepare(key, b.N)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tuples/s")
}

// BenchmarkSignaturesOverNATS makes checked signatures, all in: tuples,
// statements, R, s and the check against the public key.
func BenchmarkSignaturesOverNATS(b *testing.B) {
	o, key := signersOf(b)
	msgs := messages(b.N)
	b.ResetTimer()
	o.prepare(key, b.N)
	o.sign(key, msgs)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "signatures/s")
}

// BenchmarkSignFromReadyTuples leaves the tuples out.
func BenchmarkSignFromReadyTuples(b *testing.B) {
	o, key := signersOf(b)
	msgs := messages(b.N)
	o.prepare(key, b.N)
	b.ResetTimer()
	o.sign(key, msgs)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "signatures/s")
}

// BenchmarkOneRecord is one changed record in a zone of 200 names, from the
// moment its file is replaced until all three serve it.
func BenchmarkOneRecord(b *testing.B) {
	o := newOperators(b, 3, 1)
	o.edit = func(c *config.Daemon) {
		c.Pools.Depth, c.Pools.Chunk = 4096, 1024
		c.PollInterval = config.Duration(20 * time.Millisecond)
	}
	content := func(i int) string {
		text := fmt.Sprintf("changes A 192.0.2.%d\n", i%250+1)
		for j := range 200 {
			text += fmt.Sprintf("n%d A 192.0.2.7\n", j)
		}
		return text
	}
	o.write("example.", 1, content(0))
	o.startAll()
	o.add("example.")
	serial := o.level("example.", 0)
	b.ResetTimer()
	for i := range b.N {
		o.write("example.", uint32(i+2), content(i+1))
		serial = o.level("example.", serial)
	}
}
