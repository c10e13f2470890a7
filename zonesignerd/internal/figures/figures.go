// Package figures measures what each engine costs on this machine: all
// operators of a group in this process, over a network in memory or over NATS
// servers of their own, with a delay between them where it is asked for. It
// reproduces Tables 1, 2 and 3 of "Securing DNSSEC Keys via Threshold ECDSA
// From Generic MPC", whose figures it holds beside its own.
//
// Protocols are measured from outside: by the clock around them, and by what
// passes their network. Tuples are kept in memory, so the price of a disk is
// not in the figures.
package figures

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"time"

	"zonesigner/mpc"
	"zonesigner/zonesignerd/internal/engines"
)

// The transports.
const (
	Memory = "memory" // memnet
	NATS   = "nats"   // natsnet: one embedded server an operator, as daemons have them
)

// Plan is one thing to measure.
type Plan struct {
	Engine    engines.Engine
	N, T      int
	Setting   Setting
	Transport string
	Count     int // tuples; 0: as many as take some seconds, of a slow engine one
}

// Row is what was measured. Times are those of the operator that took longest;
// bytes and messages those that the operator that sent most handed to its
// transport, without what TLS and NATS add.
type Row struct {
	Engine      string  `json:"engine"`
	N           int     `json:"n"`
	T           int     `json:"t"`
	Signers     int     `json:"signers"` // members of the signer set
	Setting     string  `json:"setting"`
	Transport   string  `json:"transport"`
	RoundTripMS float64 `json:"round_trip_ms"` // of the slowest pair, as measured

	KeygenSecretMS float64  `json:"keygen_secret_ms"` // the session's set-up and [sk]; all, where no part of it is its own
	KeygenPublicMS *float64 `json:"keygen_public_ms"` // Open(Convert([sk])), committed to first; null where it is no part of its own
	KeygenChecksMS float64  `json:"keygen_checks_ms"` // test signature, endorsements; 0 where it is no part of its own

	SignatureMS          float64 `json:"signature_ms"`                  // one, with all phases
	TuplesPerSecond      float64 `json:"tuples_per_second"`             // bound, R committed to, not opened
	CheckedPerSecond     float64 `json:"checked_signatures_per_second"` // tuples, agreement, R, s, verification
	AmortisedSignatureMS float64 `json:"amortised_signature_ms"`        // one from a ready tuple, agreement included
	BatchMS              float64 `json:"batch_ms"`                      // the same for Batch signatures at once
	Batch                int     `json:"batch"`
	Count                int     `json:"count"` // tuples and signatures that the rates are of

	AllocatedPerTuple     float64 `json:"allocated_bytes_per_tuple"` // at one operator, while many are made
	AllocatedPerSignature float64 `json:"allocated_bytes_per_signature"`

	BytesPerTuple        float64 `json:"bytes_per_tuple"`
	BytesPerSignature    float64 `json:"bytes_per_signature"` // from a ready tuple
	Messages             int     `json:"messages"`            // for one signature with all phases
	MessagesPerTuple     float64 `json:"messages_per_tuple"`
	MessagesPerSignature float64 `json:"messages_per_signature"`

	Paper *Paper `json:"paper"` // null where it has none
}

// Choose returns the plan's group size for an engine that was given none: the
// first of (3, 1) and (2, 1) that it supports; for a slow one the smaller.
func Choose(e engines.Engine) (n, t int, err error) {
	sizes := [][2]int{{3, 1}, {2, 1}}
	if e.Slow() {
		slices.Reverse(sizes)
	}
	for _, size := range sizes {
		if err = Supports(e, size[0], size[1]); err == nil {
			return size[0], size[1], nil
		}
	}
	return 0, 0, err
}

// Supports reports an error when the engine cannot serve n operators with
// threshold t.
func Supports(e engines.Engine, n, t int) error {
	g := mpc.Group{Parties: names(n), T: t}
	if err := g.Validate(); err != nil {
		return err
	}
	return e.Supports(g)
}

// Bounds of what is repeated, and of what is scaled up.
const (
	repeats   = 51               // of figures that are times, at most: they are medians
	enough    = 3 * time.Second  // of one figure's repetitions, or of a rate
	perTrip   = 30               // round trips of a rate, so that a session's set-up is a small part
	mostCount = 128 << 10        // tuples for a rate
	batchSize = 1000             // signatures from ready tuples
	startTime = 60 * time.Second // until all operators see each other
)

// Measure runs a plan. progress is told what happens, in a few words.
func Measure(ctx context.Context, p Plan, progress func(what string)) (*Row, error) {
	fail := func(err error) (*Row, error) {
		return nil, fmt.Errorf("%s with %d operators, setting %s, transport %s: %w", p.Engine.Name(), p.N, p.Setting.Name, p.Transport, err)
	}
	progress("network")
	g, err := newGroup(ctx, p)
	if err != nil {
		return fail(err)
	}
	defer g.close()
	r := &Row{Engine: p.Engine.Name(), N: p.N, T: p.T, Signers: len(g.set), Setting: p.Setting.Name, Transport: p.Transport,
		Paper: paperOf(p.Engine.Name(), p.N, p.T, p.Setting)}
	for _, step := range []struct {
		what string
		run  func(context.Context, *Row) error
	}{
		{"round trip", g.roundTrip},
		{"key generation", g.keyGeneration},
		{"one signature", g.oneSignature},
		{"tuples", func(ctx context.Context, r *Row) error { return g.rates(ctx, r, p, progress) }},
		{"from ready tuples", g.fromReady},
	} {
		progress(step.what)
		if err := step.run(ctx, r); err != nil {
			return fail(fmt.Errorf("%s: %w", step.what, err))
		}
	}
	return r, nil
}

// repeat runs f so many times, unless that takes long, and returns the median
// of what it returns.
func repeat(times int, f func() (time.Duration, error)) (time.Duration, error) {
	var took []time.Duration
	for total := time.Duration(0); len(took) < times && total <= enough; {
		d, err := f()
		if err != nil {
			return 0, err
		}
		took, total = append(took, d), total+d
	}
	return median(took), nil
}

// median sorts took.
func median(took []time.Duration) time.Duration {
	slices.Sort(took)
	return took[len(took)/2]
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// roundTrip measures the way from the first operator to each other one and
// back, the quickest of several.
func (g *group) roundTrip(ctx context.Context, r *Row) error {
	const times = 5
	for _, peer := range g.group.Parties[1:] {
		best := time.Duration(0)
		_, err := g.together(ctx, g.group.Parties, func(ctx context.Context, o *operator, net mpc.Network) error {
			if o.id != peer && o.id != g.first().id {
				return nil
			}
			other := peer
			if o.id == peer {
				other = g.first().id
			}
			for i := range times {
				begin := time.Now()
				if o.id == peer {
					if _, err := net.Recv(ctx, other, fmt.Sprint(i)); err != nil {
						return err
					}
				}
				if err := net.Send(ctx, other, fmt.Sprint(i), []byte{byte(i)}); err != nil {
					return err
				}
				if o.id == peer {
					continue
				}
				if _, err := net.Recv(ctx, other, fmt.Sprint(i)); err != nil {
					return err
				}
				if took := time.Since(begin); best == 0 || took < best {
					best = took
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		r.RoundTripMS = max(r.RoundTripMS, ms(best))
	}
	return nil
}

// keyGeneration measures the parts of Tables 1 and 2, and leaves a key.
func (g *group) keyGeneration(ctx context.Context, r *Row) error {
	first, last := g.engine.PublicRounds()
	if !g.engine.Slow() {
		// What lasts between two operators, such as base transfers, was there
		// before in the paper too.
		if _, err := g.generate(ctx, first, last); err != nil {
			return err
		}
	}
	var secret, public, checks []time.Duration
	if _, err := repeat(repeats, func() (time.Duration, error) {
		one, err := g.generate(ctx, first, last)
		secret, public, checks = append(secret, one.secret), append(public, one.public), append(checks, one.checks)
		return one.secret + one.public + one.checks, err
	}); err != nil {
		return err
	}
	r.KeygenSecretMS, r.KeygenChecksMS = ms(median(secret)), ms(median(checks))
	if first != "" {
		v := ms(median(public))
		r.KeygenPublicMS = &v
	}
	return g.makeSigners()
}

// oneSignature measures the three phases of Figure 4 for one signature, and
// the agreement on what is signed.
func (g *group) oneSignature(ctx context.Context, r *Row) error {
	took, err := repeat(repeats, func() (time.Duration, error) {
		g.resetCounts()
		preparing, err := g.prepare(ctx, 1, func(int) {})
		if err != nil {
			return 0, err
		}
		signing, err := g.sign(ctx, 1)
		_, r.Messages = g.counts()
		return preparing + signing, err
	})
	r.SignatureMS = ms(took)
	return err
}

// rates measures tuples and signatures a second.
func (g *group) rates(ctx context.Context, r *Row, p Plan, progress func(what string)) error {
	want, count := enough+perTrip*p.Setting.RoundTrip, p.Count
	if p.Count == 0 {
		count = 1
	}
	final := p.Count > 0 || p.Engine.Slow()
	for {
		g.forget()
		g.resetCounts()
		before := allocated()
		took, err := g.prepare(ctx, count, func(done int) { progress(fmt.Sprintf("tuples: %d of %d", done, count)) })
		if err != nil {
			return err
		}
		r.AllocatedPerTuple = float64(allocated()-before) / float64(count*g.group.N())
		r.TuplesPerSecond = float64(count) / took.Seconds()
		bytes, messages := g.counts()
		r.BytesPerTuple, r.MessagesPerTuple = float64(bytes)/float64(count), float64(messages)/float64(count)
		if r.Count = count; final || took >= want || count == mostCount {
			progress(fmt.Sprintf("signatures: %d", count))
			g.resetCounts()
			before := allocated()
			signing, err := g.sign(ctx, count)
			if err != nil {
				return err
			}
			r.AllocatedPerSignature = float64(allocated()-before) / float64(count*len(g.set))
			r.CheckedPerSecond = float64(count) / (took + signing).Seconds()
			bytes, messages = g.counts()
			r.BytesPerSignature, r.MessagesPerSignature = float64(bytes)/float64(count), float64(messages)/float64(count)
			return nil
		}
		// What the time allows for at this rate, at most eight times as many.
		count = min(mostCount, max(count+1, min(8*count, int(1.2*want.Seconds()*r.TuplesPerSecond))))
	}
}

// allocated is what was ever allocated on the heap, in bytes.
func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// fromReady measures signatures whose tuples are there.
func (g *group) fromReady(ctx context.Context, r *Row) error {
	r.Batch = min(batchSize, r.Count)
	ready := 0
	if _, err := g.prepare(ctx, r.Batch, func(done int) { ready = done }); err != nil {
		return err
	}
	if ready < r.Batch {
		return fmt.Errorf("%d of %d tuples are there", ready, r.Batch)
	}
	took, err := g.sign(ctx, r.Batch)
	if err != nil {
		return err
	}
	r.BatchMS = ms(took)
	if r.Batch == 1 { // an engine whose tuples take long
		r.AmortisedSignatureMS = r.BatchMS
		return nil
	}
	ones := min(repeats, r.Batch)
	if _, err := g.prepare(ctx, ones, func(int) {}); err != nil {
		return err
	}
	took, err = repeat(ones, func() (time.Duration, error) { return g.sign(ctx, 1) })
	r.AmortisedSignatureMS = ms(took)
	return err
}
