package figures

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"zonesigner/mpc"
	"zonesigner/mpc/cggmp"
	"zonesigner/zonesignerd/internal/engines"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func plan(t testing.TB, engine, transport string, s Setting, count int) Plan {
	t.Helper()
	e, ok := engines.Find(engine)
	if !ok {
		t.Fatalf("no engine %s", engine)
	}
	n, threshold, err := Choose(e)
	if err != nil {
		t.Fatal(err)
	}
	return Plan{Engine: e, N: n, T: threshold, Setting: s, Transport: transport, Count: count}
}

func measure(t *testing.T, p Plan) *Row {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	row, err := Measure(ctx, p, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	return row
}

// Every figure is there, on both transports, and those that do not depend on
// the machine are what the protocol needs.
func TestMeasure(t *testing.T) {
	for _, transport := range []string{Memory, NATS} {
		for _, c := range []struct {
			engine   string
			signers  int
			messages int     // set-up, preparation and signing of one signature, agreement included
			bytes    float64 // a tuple, to all peers, at least: what docs/protocol.md says
			more     float64 // of a session of 40 tuples, by tuple, at most
		}{
			{"shamir", 2, 2*2 + 1 + 1 + 1 + 2, 2 * 64, 64},
			{"mal-shamir", 3, 2*2 + 2*6 + 2 + 2*2, 2 * 160, 64},
			{"rep3", 2, 2*2 + 1 + 1 + 1 + 2, 64 + 32, 64},
			{"mal-rep3", 3, 2*2 + 2*6 + 2 + 2*2, 160 + 96, 64},
			{"mascot", 2, 3 + 17 + 1 + 4, 68 << 10, 4 << 10},
			{"mascot-minus", 2, 3 + 14 + 1 + 4, 52 << 10, 4 << 10},
			{"frost", 3, 2*2 + 2*2 + 2 + 2*2, 2 * 64, 64},
		} {
			t.Run(c.engine+" "+transport, func(t *testing.T) {
				row := measure(t, plan(t, c.engine, transport, Settings[0], 40))
				positive := map[string]float64{
					"round_trip_ms": row.RoundTripMS, "keygen_secret_ms": row.KeygenSecretMS,
					"signature_ms": row.SignatureMS, "tuples_per_second": row.TuplesPerSecond, "checked": row.CheckedPerSecond,
					"amortised_signature_ms": row.AmortisedSignatureMS, "batch_ms": row.BatchMS, "bytes_per_signature": row.BytesPerSignature,
					"allocated_bytes_per_tuple": row.AllocatedPerTuple, "allocated_bytes_per_signature": row.AllocatedPerSignature,
					"messages_per_tuple": row.MessagesPerTuple, "messages_per_signature": row.MessagesPerSignature,
				}
				if c.engine != "frost" { // the others open the key in rounds of their own, and are in the paper
					if row.KeygenPublicMS == nil || row.Paper == nil {
						t.Fatalf("no public part of key generation, or no figures of the paper: %+v", row)
					}
					positive["keygen_public_ms"], positive["keygen_checks_ms"] = *row.KeygenPublicMS, row.KeygenChecksMS
				} else if row.KeygenPublicMS != nil || row.Paper != nil {
					t.Errorf("got %+v", row)
				}
				for name, v := range positive {
					if v <= 0 {
						t.Errorf("%s is %v", name, v)
					}
				}
				if row.CheckedPerSecond >= row.TuplesPerSecond {
					t.Errorf("%v signatures a second of %v tuples", row.CheckedPerSecond, row.TuplesPerSecond)
				}
				if row.Signers != c.signers || row.Count != 40 || row.Batch != 40 {
					t.Errorf("got %+v", row)
				}
				if row.Messages != c.messages {
					t.Errorf("%d messages for a signature, want %d", row.Messages, c.messages)
				}
				if row.BytesPerTuple < c.bytes || row.BytesPerTuple > c.bytes+c.more {
					t.Errorf("%v bytes a tuple, want about %v", row.BytesPerTuple, c.bytes)
				}
			})
		}
	}
}

// From ready tuples, one signature or a batch waits for two round trips, the
// agreement included, or for three where R is checked against its MACs: that is
// what the code promises, to the nanosecond in a bubble where computing takes
// no time.
func TestRoundTrips(t *testing.T) {
	const roundTrip = 240 * time.Millisecond
	for engine, trips := range map[string]int{"shamir": 2, "mal-shamir": 2, "rep3": 2, "mal-rep3": 2, "frost": 2, "mascot": 3, "mascot-minus": 3, "cggmp": 2} {
		t.Run(engine, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, batch := plan(t, engine, Memory, Setting{"240ms", roundTrip}, 0), batchSize
				if p.Engine.Slow() {
					p.N, batch = 3, 2 // of the key in testdata
				}
				g, err := newGroup(t.Context(), p)
				if err != nil {
					t.Fatal(err)
				}
				defer g.close()
				if p.Engine.Slow() {
					takeTestKey(t, g)
				} else if err := g.keyGeneration(t.Context(), new(Row)); err != nil {
					t.Fatal(err)
				}
				for _, n := range []int{1, batch} {
					if _, err := g.prepare(t.Context(), n, func(int) {}); err != nil {
						t.Fatal(err)
					}
					took, err := g.sign(t.Context(), n)
					if err != nil {
						t.Fatal(err)
					}
					if want := time.Duration(trips) * roundTrip; took != want {
						t.Errorf("%d signatures took %v, want %v", n, took, want)
					}
				}
			})
		})
	}
}

// takeTestKey gives the group the key of three that the tests of cggmp have, for
// two of them to sign with.
func takeTestKey(t *testing.T, g *group) {
	t.Helper()
	for _, o := range g.operators {
		b, err := os.ReadFile("../../../mpc/cggmp/testdata/keyshare-v1-test-key-" + string(o.id) + ".bin")
		if err != nil {
			t.Fatal(err)
		}
		share := new(cggmp.KeyShare)
		if err := share.UnmarshalBinary(b); err != nil {
			t.Fatal(err)
		}
		o.key, g.group = engines.Key{ID: share.ID, Share: share}, share.Group
	}
	g.set = mpc.NewSignerSet("a", "b")
	if err := g.makeSigners(); err != nil {
		t.Fatal(err)
	}
}

// The delay is in the figures: a signature from a ready tuple takes four ways
// between operators, of which two are the agreement.
func TestMeasureOverDelay(t *testing.T) {
	for _, transport := range []string{Memory, NATS} {
		t.Run(transport, func(t *testing.T) {
			row := measure(t, plan(t, "mal-shamir", transport, Settings[1], 1))
			if row.RoundTripMS < 17 {
				t.Errorf("round trip %v ms", row.RoundTripMS)
			}
			if row.AmortisedSignatureMS < 2*17 || *row.KeygenPublicMS < 17 || row.SignatureMS < 6*17 {
				t.Errorf("sooner than the delay allows: %+v", row)
			}
		})
	}
}

// A group that nobody chose is of the size that the engine is for; one of a
// slow engine has as few operators as may be.
func TestChoose(t *testing.T) {
	for name, want := range map[string]int{"mal-shamir": 3, "shamir": 3, "mal-rep3": 3, "rep3": 3, "frost": 3, "mascot": 2, "mascot-minus": 2, "cggmp": 2} {
		if p := plan(t, name, Memory, Settings[0], 0); p.N != want || p.T != 1 {
			t.Errorf("%s: %d operators with threshold %d, want %d and 1", name, p.N, p.T, want)
		}
	}
	e, _ := engines.Find("mascot")
	if err := Supports(e, 3, 1); err == nil {
		t.Error("mascot serves three operators of which two are honest")
	}
}

// Without a count it takes as many as some seconds allow.
func TestScalesUp(t *testing.T) {
	g, err := newGroup(t.Context(), plan(t, "shamir", Memory, Settings[0], 0))
	if err != nil {
		t.Fatal(err)
	}
	defer g.close()
	var row Row
	if err := g.keyGeneration(t.Context(), &row); err != nil {
		t.Fatal(err)
	}
	if err := g.rates(t.Context(), &row, plan(t, "shamir", Memory, Settings[0], 0), func(string) {}); err != nil {
		t.Fatal(err)
	}
	if row.Count < 64 || row.Count > mostCount {
		t.Errorf("%d tuples in some seconds", row.Count)
	}
}

// A member that fails stops the others.
func TestFailureStopsAll(t *testing.T) {
	g, err := newGroup(t.Context(), plan(t, "shamir", Memory, Settings[0], 1))
	if err != nil {
		t.Fatal(err)
	}
	defer g.close()
	failure := errors.New("a failure")
	_, err = g.together(t.Context(), g.group.Parties, func(ctx context.Context, o *operator, net mpc.Network) error {
		if o.id == "b" {
			return failure
		}
		_, err := net.Recv(ctx, "b", "never")
		return err
	})
	if !errors.Is(err, failure) || !strings.Contains(err.Error(), "operator b") {
		t.Errorf("got %v", err)
	}
	if _, err := g.sign(t.Context(), 1); err == nil {
		t.Error("signed without tuples")
	}
}

// A tuple is spent once, also here.
func TestStore(t *testing.T) {
	s := newStore()
	pool := mpc.PoolID{Key: "k", Set: "a+b", Stripe: "a"}
	if err := s.Add([]mpc.PoolChunk{{Pool: pool, Chunk: mpc.Chunk{ID: mpc.ChunkID{1}, Count: 5, Blob: []byte("x")}}}); err != nil {
		t.Fatal(err)
	}
	spend := func(from, count int) error {
		_, _, err := s.Spend([]mpc.PoolRange{{Pool: pool, TupleRange: mpc.TupleRange{Chunk: mpc.ChunkID{1}, From: from, Count: count}}}, [32]byte{})
		return err
	}
	for _, c := range []struct {
		from, count int
		ok          bool
	}{{0, 2, true}, {1, 2, false}, {0, 1, false}, {3, 3, false}, {3, 2, true}, {3, 1, false}} {
		if err := spend(c.from, c.count); (err == nil) != c.ok {
			t.Errorf("tuples %d+%d: %v", c.from, c.count, err)
		}
	}
}

// A round trip of 17 ms through the proxy takes 17 ms and little more, also
// when much is under way, which does not wait for one another.
func TestProxy(t *testing.T) {
	echo, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		for {
			conn, err := echo.Accept()
			if err != nil {
				return
			}
			_, _ = io.Copy(conn, conn)
			_ = conn.Close()
		}
	}()
	defer func() {
		_ = echo.Close()
		<-served
	}()
	const roundTrip = 17 * time.Millisecond
	p, err := newProxy(roundTrip / 2)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	conn, err := net.Dial("tcp", p.addr()) // waits until the proxy knows where to
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	p.forwardTo(echo.Addr().String())

	ping := make([]byte, 64<<10)
	best := time.Hour
	for range 50 { // the quickest, for a machine that does other things
		begin := time.Now()
		if _, err := conn.Write(ping[:100]); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(conn, ping[:100]); err != nil {
			t.Fatal(err)
		}
		if best = min(best, time.Since(begin)); best < 30*time.Millisecond {
			break
		}
	}
	if best < roundTrip || best >= 30*time.Millisecond {
		t.Errorf("round trip %v, want 17 to 30 ms", best)
	}

	// 4 MiB, in 64 pieces: one round trip each would be more than a second.
	sent := make([]byte, 4<<20)
	for i := range sent {
		sent[i] = byte(i >> 8)
	}
	got := make([]byte, len(sent))
	begin := time.Now()
	writing := make(chan error, 1)
	go func() {
		for piece := range slices.Chunk(sent, 64<<10) {
			if _, err := conn.Write(piece); err != nil {
				writing <- err
				return
			}
		}
		writing <- nil
	}()
	if _, err := io.ReadFull(conn, got); err != nil {
		t.Fatal(err)
	}
	if err := <-writing; err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(sent, got) {
		t.Error("bytes were lost or out of order")
	}
	if took := time.Since(begin); took < roundTrip || took > 64*roundTrip {
		t.Errorf("4 MiB took %v", took)
	}
}

func TestSettings(t *testing.T) {
	for text, want := range map[string]time.Duration{"lan": 0, "17ms": 17 * time.Millisecond, "240ms": 240 * time.Millisecond, "0.5s": 500 * time.Millisecond} {
		if s, err := ParseSetting(text); err != nil || s.RoundTrip != want {
			t.Errorf("%s: got %v, %v", text, s, err)
		}
	}
	for _, text := range []string{"", "wan", "17", "-17ms", "0s", "2s", "lan "} {
		if s, err := ParseSetting(text); err == nil {
			t.Errorf("%q is %v", text, s)
		}
	}
}

// Columns of the paper's tables that add up to one another do so here: a slip
// of the pen would show.
func TestPaperAddsUp(t *testing.T) {
	rows := 0
	for _, row := range paperFigures {
		for i, cell := range row.cells {
			rows++
			if sum := cell.KeygenSecretMS + cell.KeygenPublicMS; sum < 0.9*cell.KeygenMS || sum > 1.1*cell.KeygenMS {
				t.Errorf("%s, %s: parts of key generation are %v, the whole is %v", cell.Row, Settings[i].Name, sum, cell.KeygenMS)
			}
			if cell.AmortisedSignatureMS > cell.SignatureMS {
				t.Errorf("%s, %s: a signature from a ready tuple takes longer than one with all phases", cell.Row, Settings[i].Name)
			}
		}
	}
	if rows != 18 {
		t.Errorf("%d rows, the paper has 6 protocols in 3 settings", rows)
	}
	if p := paperOf("mal-shamir", 3, 1, Settings[2]); p == nil || p.TuplesPerSecond != 172.87 {
		t.Errorf("got %+v", p)
	}
	for _, c := range []struct {
		engine string
		n, t   int
		s      Setting
	}{{"mal-shamir", 5, 2, Settings[0]}, {"mascot", 3, 2, Settings[0]}, {"shamir", 3, 1, Setting{"35ms", 35 * time.Millisecond}}, {"cggmp", 3, 1, Settings[0]}} {
		if p := paperOf(c.engine, c.n, c.t, c.s); p != nil {
			t.Errorf("%+v: got %+v", c, p)
		}
	}
}

// The names of the JSON form stay.
func TestRowJSON(t *testing.T) {
	b, err := json.Marshal(Row{})
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(b, &fields); err != nil {
		t.Fatal(err)
	}
	for _, name := range strings.Fields("engine n t signers setting transport round_trip_ms keygen_secret_ms keygen_public_ms keygen_checks_ms signature_ms tuples_per_second" +
		" checked_signatures_per_second amortised_signature_ms batch_ms batch count allocated_bytes_per_tuple allocated_bytes_per_signature bytes_per_tuple bytes_per_signature messages messages_per_tuple messages_per_signature paper") {
		if _, ok := fields[name]; !ok {
			t.Errorf("no field %s", name)
		}
		delete(fields, name)
	}
	if len(fields) > 0 {
		t.Errorf("fields that are not documented: %v", fields)
	}
}
