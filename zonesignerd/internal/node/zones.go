package node

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"zonesigner/dnssec"
	"zonesigner/keystore"
	"zonesigner/knot"
	"zonesigner/mpc"
	"zonesigner/zonesignerd/config"
	"zonesigner/zonesignerd/internal/agree"
	"zonesigner/zonesignerd/internal/pipeline"
)

// bucketZones holds the policy file of each zone, as it was given;
// bucketStaged the one that is to come into force.
const (
	bucketZones  = "zones"
	bucketStaged = "zones-staged"
)

// given is a policy in force, and the file that it was given in.
type given struct {
	policy *config.Policy
	text   []byte
}

// policy is the one in force; it may be replaced at any time.
func (z *zone) policy() *config.Policy { return z.given.Load().policy }

// zone is a pipeline and what feeds it.
type zone struct {
	*pipeline.Zone
	given  atomic.Pointer[given]
	opened *config.Policy // whose source and publisher these are
	source knot.Source
	reader *reader
	// retract ends that the public Knot may transfer the zone; may be nil.
	retract func()
	cancel  context.CancelFunc
	done    sync.WaitGroup

	mu      sync.Mutex
	seen    knot.Version // of the last poll
	editing bool         // a transaction is open on the hidden Knot
}

func (z *zone) stop() {
	z.cancel()
	z.done.Wait()
	_ = z.source.Close()
	if z.retract != nil {
		z.retract()
	}
}

// openZones starts the zones that the store remembers.
func (n *Node) openZones() error {
	if err := os.MkdirAll(n.stateDir(), 0o700); err != nil {
		return fmt.Errorf("zones' state: %w", err)
	}
	if err := n.sweepApproved(); err != nil {
		return err
	}
	entries, err := n.store.List(bucketZones, "")
	if err != nil {
		return err
	}
	for _, e := range entries {
		p, err := config.ParsePolicy("policy of "+e.Key, e.Value)
		if err != nil {
			return err
		}
		if err := n.startZone(p, e.Value); err != nil {
			return fmt.Errorf("zone %s: %w", e.Key, err)
		}
	}
	return nil
}

// startZone makes a zone's source, publisher and pipeline, and runs it.
func (n *Node) startZone(p *config.Policy, text []byte) error {
	source, err := n.sourceOf(p)
	if err != nil {
		return err
	}
	z := &zone{opened: p, source: source, reader: n.readerOf(p, source)}
	var publisher pipeline.Publisher
	if p.Publish.Type == "file" {
		publisher = &filePublisher{path: p.Publish.File}
	} else {
		k := &knotPublisher{ctl: n.public, primary: n.primary, zone: p.Zone, store: zoneStore{n.store}, log: n.log,
			most: mostPushed, patience: transferPatience}
		publisher, z.retract = k, k.retract
	}
	z.given.Store(&given{p, text})
	var stands func(agree.Digest, *pipeline.Signed) error
	if p.Source.Type == "approved" {
		if err := n.approved.load(n.store, p.Zone); err != nil {
			return err
		}
		if stands = n.standsIn(p.Zone); n.opt.everApproved {
			stands = nil
		}
	}
	z.Zone, err = pipeline.New(p.Zone, policyOf(p), z.reader, publisher, pipeline.Deps{
		Identity: n.identity, Group: n.groups.mpc, Agreement: n.agreement, Transport: n.transport,
		Signer: n.signer, Pools: n.tuples, Sharing: n.sharing, Store: zoneStore{n.store}, Dir: n.stateDir(),
		Keys: n.keys.zone, Now: n.opt.Now, Say: n.say, Ready: n.isReady, Choose: n.chooser(func() []string { return n.enginesFor(p) }),
		Blame:    func(set mpc.SignerSet, err error) { n.blame.note(set, err, n.opt.Now()) },
		Stands:   stands,
		Switched: func(d agree.Digest) { n.switched(p.Zone, d) },
		Heavy:    n.heavy,
		Settle:   time.Duration(n.cfg.Sessions.Settle), Timeout: time.Duration(n.cfg.Sessions.Timeout),
		ClockBound: time.Duration(n.cfg.Sessions.ClockBound), Turn: n.opt.Turn, Logger: n.log,
	})
	if err != nil {
		_ = source.Close()
		return err
	}
	staged, err := n.store.Get(bucketStaged, p.Zone)
	if err != nil && !errors.Is(err, keystore.ErrNotFound) {
		return err
	}
	if err == nil {
		next, err := config.ParsePolicy("staged policy of "+p.Zone, staged)
		if err != nil {
			return err
		}
		z.Stage(policyOf(next))
	}
	ctx, cancel := context.WithCancel(n.ctx)
	z.cancel = cancel
	n.mu.Lock()
	n.zones[p.Zone] = z
	n.mu.Unlock()
	z.done.Go(func() { z.Run(ctx) })
	if c := source.Changed(); c != nil {
		z.done.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case <-c:
					z.Changed()
				}
			}
		})
	}
	return nil
}

// enginesFor are the engines that the zone's keys are shared by now, each once;
// without keys, that of those to come.
func (n *Node) enginesFor(p *config.Policy) []string {
	engines := enginesOf(n.keys.of(p.Zone))
	if len(engines) == 0 {
		return []string{n.engineOf(p)}
	}
	return engines
}

// enginesOf lists the engines of keys, each once.
func enginesOf(keys []keystore.KeyRecord) []string {
	var engines []string
	for _, k := range keys {
		if !slices.Contains(engines, k.Engine) {
			engines = append(engines, k.Engine)
		}
	}
	slices.Sort(engines)
	return engines
}

// setsByZone are the signer sets of zones whose keys are of several engines: those
// that all of them have. Other zones have the sets of their engine.
func (n *Node) setsByZone() map[string][]mpc.SignerSet {
	engines := map[string][]string{}
	for _, k := range n.keys.all() {
		if !slices.Contains(engines[k.Zone], k.Engine) {
			engines[k.Zone] = append(engines[k.Zone], k.Engine)
		}
	}
	out := map[string][]mpc.SignerSet{}
	for zone, list := range engines {
		if len(list) > 1 {
			slices.Sort(list)
			out[zone], _ = n.groups.file().CommonSets(list...) // none, and the zone says why
		}
	}
	return out
}

func (n *Node) engineOf(p *config.Policy) string {
	if p.Engine != "" {
		return p.Engine
	}
	return n.groups.file().Engine
}

func policyOf(p *config.Policy) pipeline.Policy {
	salt, _ := hex.DecodeString(p.Denial.Salt) // validated when it was loaded
	return pipeline.Policy{
		Digest: p.Digest(), SerialPolicy: p.SerialPolicy,
		Lifetime: time.Duration(p.RRSIGLifetime), Refresh: time.Duration(p.RRSIGRefresh),
		DNSKEYTTL: uint32(p.DNSKEYTTL.Seconds()),
		Denial:    dnssec.Denial{NSEC3: p.Denial.NSEC3, OptOut: p.Denial.OptOut, Iterations: p.Denial.Iterations, Salt: salt},
		ZONEMD:    dnssec.ZONEMDPolicy(p.ZONEMD),
		TPlus1:    p.ContentQuorum == "t+1", Withdraw: p.OnExpiry == "withdraw", Rollover: p.AlgorithmRollover,
	}
}

// checkSource looks whether a policy's source can be opened later, so that a
// policy that cannot be put in force is not staged.
func checkSource(p *config.Policy) error {
	if p.Source.Type != "axfr" || p.Source.TSIG == "" {
		return nil
	}
	_, err := knot.LoadTSIG(p.Source.TSIG)
	return err
}

func (n *Node) sourceOf(p *config.Policy) (knot.Source, error) {
	switch p.Source.Type {
	case "file":
		return knot.NewFileSource(p.Source.File), nil
	case "approved":
		return &approvedSource{n, p.Zone}, nil
	case "axfr":
		a := knot.AXFR{Zone: p.Zone, Server: p.Source.Server}
		if p.Source.TSIG != "" {
			key, err := knot.LoadTSIG(p.Source.TSIG)
			if err != nil {
				return nil, err
			}
			a.TSIG = &key
		}
		if p.Source.Notify != "" {
			l, err := n.notifier(p.Source.Notify)
			if err != nil {
				return nil, err
			}
			a.Notify = l
		}
		return knot.NewAXFRSource(a)
	}
	return knot.NewControlSource(n.hidden, p.Zone), nil
}

// zone finds a zone by name.
func (n *Node) zone(name string) *zone {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.zones[name]
}

func (n *Node) allZones() []*zone {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := make([]*zone, 0, len(n.zones))
	for _, name := range slices.Sorted(maps.Keys(n.zones)) {
		out = append(out, n.zones[name])
	}
	return out
}

// zoneOf finds the zone that a message is about; a zone that is not here, or
// not yet, is no error.
func (n *Node) zoneOf(m *agree.Message) (*zone, error) {
	var subject struct {
		Zone string `json:"zone"`
	}
	if err := json.Unmarshal(m.Body, &subject); err != nil {
		return nil, fmt.Errorf("%s of operator %s: %w", m.Type, m.From, err)
	}
	return n.zone(subject.Zone), nil
}

// zoneProposals hands proposals to their zones.
type zoneProposals struct{ n *Node }

func (h zoneProposals) Judge(ctx context.Context, id agree.Digest, p *agree.Proposal, provisional func(agree.Verdict, string)) agree.Answer {
	z := h.n.zone(p.Subject)
	if z == nil {
		return agree.Answer{Verdict: agree.Refuse, Code: "unknown-zone", Reason: "zone " + p.Subject + " was not added at this operator"}
	}
	a := z.Judge(ctx, id, p, provisional)
	if a.Verdict == agree.Accept && p.Kind == pipeline.KindZone && p.Members.Contains(h.n.self) {
		h.n.tuples.unwanted(h.n.keys.of(p.Subject))
	}
	return a
}

func (h zoneProposals) Run(ctx context.Context, a *agree.Agreed) {
	if z := h.n.zone(a.Proposal.Subject); z != nil {
		z.Sign(ctx, a)
	}
}

func (h zoneProposals) Abandon(id agree.Digest, p *agree.Proposal, why error) {
	if z := h.n.zone(p.Subject); z != nil {
		z.Abandon(id, p, why)
	}
}

func (h zoneProposals) Answered(p *agree.Proposal, from mpc.PartyID, a *agree.Answer) {
	if z := h.n.zone(p.Subject); z != nil {
		z.Answered(p, from, a)
	}
}

// stops says which answers of an operator that is not in the signer set stop
// the others: its refusal of a new content, unless t+1 are enough. What was
// agreed once is signed again whatever it says, or it would expire.
func (n *Node) stops(p *agree.Proposal, _ mpc.PartyID, a *agree.Answer) bool {
	z := n.zone(p.Subject)
	if z == nil || a.Verdict != agree.Refuse || a.Code != "content" {
		return false
	}
	return z.Heeds(p)
}

func dotted(name string) string {
	name = strings.ToLower(name)
	if !strings.HasSuffix(name, ".") {
		name += "."
	}
	return name
}

// zoneStore is the keystore's records as a zone sees them.
type zoneStore struct{ s *keystore.Store }

const bucketPipeline = "pipeline"

func (s zoneStore) Put(key string, value []byte) error { return s.s.Put(bucketPipeline, key, value) }
func (s zoneStore) Delete(key string) error            { return s.s.Delete(bucketPipeline, key) }

func (s zoneStore) Get(key string) ([]byte, error) {
	b, err := s.s.Get(bucketPipeline, key)
	if errors.Is(err, keystore.ErrNotFound) {
		return nil, nil
	}
	return b, err
}

func (s zoneStore) List(prefix string) ([]string, error) {
	entries, err := s.s.List(bucketPipeline, prefix)
	if err != nil {
		return nil, err
	}
	out := make([]string, len(entries))
	for i, e := range entries {
		out[i] = e.Key
	}
	return out, nil
}
