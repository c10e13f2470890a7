package node

import (
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"zonesigner/dnssec"
	"zonesigner/knot"
	"zonesigner/zonesignerd/config"
	"zonesigner/zonesignerd/internal/api"
)

const (
	// pollTimeout is how long a primary has to answer for one zone.
	pollTimeout = 10 * time.Second
	// maxPolls is how many primaries are asked at once.
	maxPolls = 8
)

// polling is what keeps sources from waiting for one another.
type polling struct {
	slots chan struct{} // one for each primary that is asked now

	mu        sync.Mutex
	busy      map[string]bool          // places that are being looked at
	transfers map[string]chan struct{} // by primary: holds one element while a zone comes from it
}

func newPolling() *polling {
	return &polling{slots: make(chan struct{}, maxPolls), busy: map[string]bool{}, transfers: map[string]chan struct{}{}}
}

// begin reports whether nobody looks at the place, and takes it.
func (p *polling) begin(place string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.busy[place] {
		return false
	}
	p.busy[place] = true
	return true
}

func (p *polling) end(place string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.busy, place)
}

// transfersFrom is where the transfers from one primary take turns.
func (p *polling) transfersFrom(server string) chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.transfers[server] == nil {
		p.transfers[server] = make(chan struct{}, 1)
	}
	return p.transfers[server]
}

// poll asks the sources for changes and the public Knot for what it serves,
// once an interval. What hangs is left out of the next rounds, and holds up
// nothing else.
func (n *Node) poll() {
	tick := time.NewTicker(time.Duration(n.cfg.PollInterval))
	defer tick.Stop()
	for {
		n.wg.Go(n.pollOnce)
		select {
		case <-n.ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// pollOnce looks at both Knots, with one request to each however many zones
// there are, at the zone files, and at each primary, all of them side by side;
// it leaves out those that an earlier round still looks at, and returns when it
// has seen the rest.
func (n *Node) pollOnce() {
	var hidden, public, files []*zone
	primaries := map[string][]*zone{}
	for _, z := range n.allZones() {
		p := z.policy()
		switch p.Source.Type {
		case "knot":
			hidden = append(hidden, z)
		case "axfr":
			primaries[p.Source.Server] = append(primaries[p.Source.Server], z)
		default:
			files = append(files, z)
		}
		if p.Publish.Type == "knot" {
			public = append(public, z)
		}
	}
	var wg sync.WaitGroup
	look := func(place string, zones []*zone, poll func([]*zone)) {
		if len(zones) > 0 && n.polling.begin(place) {
			wg.Go(func() {
				defer n.polling.end(place)
				poll(zones)
			})
		}
	}
	look("hidden knot", hidden, n.pollHidden)
	look("public knot", public, n.pollPublic)
	look("files", files, n.pollFiles)
	for server, zones := range primaries {
		look("primary "+server, zones, n.pollPrimary)
	}
	wg.Wait()
}

func (n *Node) pollHidden(zones []*zone) {
	held, err := n.knotStatus("hidden", n.hidden, zones)
	for _, z := range zones {
		if err != nil {
			z.polled(knot.Version{}, err)
			continue
		}
		st := held[z.Name()]
		st.Zone = z.Name()
		z.polled(knot.StatusVersion(st))
		z.edited(st.TransactionOpen)
	}
}

func (n *Node) pollPublic(zones []*zone) {
	given := make([]*dnssec.SignedZone, len(zones))
	for i, z := range zones {
		given[i] = z.Published()
	}
	served, err := n.knotStatus("public", n.public, zones)
	if err != nil {
		return
	}
	for i, z := range zones {
		st := served[z.Name()]
		z.Served(given[i], st.Serial, st.HasSerial)
	}
}

func (n *Node) pollFiles(zones []*zone) {
	for _, z := range zones {
		z.polled(z.source.Poll(n.ctx))
	}
}

// pollPrimary asks one primary for its zones, one at a time.
func (n *Node) pollPrimary(zones []*zone) {
	for _, z := range zones {
		release, err := take(n.ctx, n.polling.slots)
		if err != nil {
			return
		}
		ctx, cancel := context.WithTimeoutCause(n.ctx, n.opt.pollTimeout, fmt.Errorf("no answer within %s", n.opt.pollTimeout))
		v, err := z.source.Poll(ctx)
		cancel()
		release()
		z.polled(v, err)
	}
}

// take waits for a place in c, and gives it back by release.
func take(ctx context.Context, c chan struct{}) (release func(), err error) {
	select {
	case c <- struct{}{}:
		return func() { <-c }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// polled has the zone read when its source holds another version, or could not
// be read the last time.
func (z *zone) polled(v knot.Version, err error) {
	z.Source(err)
	if err != nil {
		return
	}
	z.mu.Lock()
	changed := v != z.seen
	z.seen = v
	z.mu.Unlock()
	if changed || z.reader.failed.Load() {
		z.Changed()
	}
}

// edited notes whether a transaction is open on the hidden Knot. It may be the
// owner's edit: it is reported, not touched.
func (z *zone) edited(open bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.editing = open
}

func (z *zone) isEdited() bool {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.editing
}

// knotStatus lists the zones of one Knot, and notes whether its socket works.
func (n *Node) knotStatus(role string, ctl *knot.Control, for_ []*zone) (map[string]knot.Status, error) {
	if len(for_) == 0 {
		return nil, nil
	}
	list, err := ctl.Zones(n.ctx)
	n.mu.Lock()
	k := n.knots[role]
	if k == nil {
		k = &api.KnotState{Role: role, Socket: ctl.Path()}
		n.knots[role] = k
	}
	was := k.OK
	k.OK, k.Reason = err == nil, ""
	if err != nil {
		k.Reason = err.Error()
	}
	version := k.Version
	n.mu.Unlock()
	if err != nil {
		if was && n.ctx.Err() == nil {
			n.log.Warn("knot does not answer", "role", role, "err", err)
		}
		return nil, err
	}
	if !was {
		if v, err := ctl.Version(n.ctx); err == nil && v != version {
			n.mu.Lock()
			k.Version = v
			n.mu.Unlock()
		}
		n.log.Info("knot answers", "role", role, "socket", ctl.Path())
		n.knotIsBack(role, for_)
	}
	out := make(map[string]knot.Status, len(list))
	for _, st := range list {
		out[dotted(st.Zone)] = st
	}
	return out, nil
}

// knotIsBack looks for transactions that a crash of ours left open on the
// public Knot.
func (n *Node) knotIsBack(role string, zones []*zone) {
	for _, z := range zones {
		if role == "public" {
			if aborted, err := n.public.AbortStale(n.ctx, z.Name()); err != nil {
				n.log.Warn("transaction on the public knot not looked at", "zone", z.Name(), "err", err)
			} else if aborted {
				n.log.Warn("an open transaction on the public knot was aborted", "zone", z.Name())
			}
		}
		z.Wake()
	}
}

// reader turns what a source brings into a zone.
type reader struct {
	source    knot.Source
	zone      string
	heavy     chan struct{} // limits how many zones are in the making
	transfers chan struct{} // those from one primary take turns; nil: nothing is transferred
	failed    atomic.Bool   // the last time the source brought nothing
}

func (n *Node) readerOf(p *config.Policy, source knot.Source) *reader {
	r := &reader{source: source, zone: p.Zone, heavy: n.heavy}
	if p.Source.Type == "axfr" {
		r.transfers = n.polling.transfersFrom(p.Source.Server)
	}
	return r
}

// hugeZone is how many RRsets a zone has that takes so much memory that the
// garbage is not to take as much again.
const hugeZone = 500_000

// Read implements pipeline.Source. Who has such a zone collects garbage more
// often from then on, as "zonesignerd sign" does: for some 5 % of CPU time a zone
// of a million names takes a third less.
func (r *reader) Read(ctx context.Context) (*dnssec.Zone, error) {
	z, err := r.read(ctx)
	if err == nil && z.Len() >= hugeZone && os.Getenv("GOGC") == "" {
		debug.SetGCPercent(40)
	}
	return z, err
}

func (r *reader) read(ctx context.Context) (*dnssec.Zone, error) {
	c, release, err := r.fetch(ctx)
	r.failed.Store(err != nil)
	if err != nil {
		return nil, err
	}
	defer release()
	if c.Text != nil {
		if closer, ok := c.Text.(interface{ Close() error }); ok {
			defer closer.Close()
		}
		return dnssec.ParseZone(c.Text, r.zone, c.File)
	}
	b := dnssec.NewBuilder(r.zone)
	for _, rec := range c.Records {
		if err := b.AddText(rec.Owner, rec.TTL, rec.Type, rec.Data); err != nil {
			return nil, err
		}
	}
	for _, rr := range c.RRs {
		if err := b.AddRR(rr); err != nil {
			return nil, err
		}
	}
	return b.Zone()
}

// fetch brings the source's content; release is for when it is a zone. While a
// primary takes its time other zones are read: silent ones must not take all
// places there are.
func (r *reader) fetch(ctx context.Context) (c *knot.Content, release func(), err error) {
	if r.transfers != nil {
		if release, err = take(ctx, r.transfers); err != nil {
			return nil, nil, err
		}
		c, err = r.source.Read(ctx)
		release()
		if err != nil {
			return nil, nil, err
		}
		release, err = take(ctx, r.heavy)
		return c, release, err
	}
	if release, err = take(ctx, r.heavy); err != nil {
		return nil, nil, err
	}
	if c, err = r.source.Read(ctx); err != nil {
		release()
		return nil, nil, err
	}
	return c, release, nil
}
