package node

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"time"

	"zonesigner/keystore"
	"zonesigner/knot"
	"zonesigner/mpc"
	"zonesigner/zonesignerd/config"
	"zonesigner/zonesignerd/internal/agree"
	"zonesigner/zonesignerd/internal/api"
	"zonesigner/zonesignerd/internal/pipeline"
)

var _ api.Backend = (*Node)(nil)

// Version implements api.Backend.
func (n *Node) Version(context.Context) (*api.Version, error) {
	return &api.Version{Version: n.opt.Version, GoVersion: runtime.Version(), Operator: string(n.self), Wire: []int{agree.Format}}, nil
}

// Status implements api.Backend.
func (n *Node) Status(ctx context.Context) (*api.Status, error) {
	group, err := n.Group(ctx)
	if err != nil {
		return nil, err
	}
	s := &api.Status{Operator: string(n.self), Version: n.opt.Version, Started: n.started, Now: n.opt.Now(), Group: *group,
		Tuples: n.tupleState(), Restored: n.restoredState(), Peers: n.peers(), Requests: n.openRequests()}
	zones := n.statuses()
	s.Zones, s.Knots, s.Without = n.zoneStatuses(zones), n.knotStates(zones), n.without(zones)
	passive := map[string]bool{}
	for _, k := range n.keys.all() {
		if config.Passive(k.Engine) {
			passive[k.Engine] = true
		}
	}
	for _, engine := range slices.Sorted(maps.Keys(passive)) {
		s.Warnings = append(s.Warnings, "keys of engine "+engine+" are safe from someone who reads a disk or a memory, not from someone who alters a daemon: one altered daemon can take the key")
	}
	for _, k := range n.keys.all() {
		if k.Meta[metaSuspended] != "" {
			s.Warnings = append(s.Warnings, suspendedWords(k))
		}
	}
	return s, nil
}

func (n *Node) tupleState() api.TupleState {
	t := api.TupleState{State: "usable", Generation: n.store.Generation()}
	if why, yes := n.store.Suspended(); yes {
		t.State, t.Reason, t.WaitsFor = "suspended", why, n.marks.waitsFor()
	}
	return t
}

func (n *Node) peers() []api.Peer {
	var out []api.Peer
	for _, p := range n.transport.Peers() {
		v := api.Peer{Name: string(p.ID), Ready: p.Ready, RTTSeconds: p.RoundTrip, Reason: p.Reason}
		if p.LastSeenUnix != 0 {
			v.LastSeen = time.Unix(p.LastSeenUnix, 0).UTC()
		}
		out = append(out, v)
	}
	return out
}

// knotStates shows both Knots, whether they are asked or not.
func (n *Node) knotStates(zones map[string]zoneNow) []api.KnotState {
	used := map[string]bool{}
	for _, z := range zones {
		used["hidden"] = used["hidden"] || z.policy.Source.Type == "knot"
		used["public"] = used["public"] || z.policy.Publish.Type == "knot"
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []api.KnotState
	for _, k := range []api.KnotState{{Role: "hidden", Socket: n.cfg.Knot.Hidden}, {Role: "public", Socket: n.cfg.Knot.Public}} {
		switch known := n.knots[k.Role]; {
		case !used[k.Role]:
			k.Reason = "not asked: no zone here uses it"
		case known == nil:
			k.Reason = "not asked yet"
		default:
			k = *known
		}
		out = append(out, k)
	}
	return out
}

// Zones implements api.Backend.
func (n *Node) Zones(context.Context) ([]api.ZoneStatus, error) {
	return n.zoneStatuses(n.statuses()), nil
}

func (n *Node) zoneStatuses(zones map[string]zoneNow) []api.ZoneStatus {
	out := []api.ZoneStatus{}
	asks := n.keys.requests("")
	for _, name := range slices.Sorted(maps.Keys(zones)) {
		out = append(out, n.zoneStatus(zones[name], asks[name]))
	}
	return out
}

// zoneStatus is a zone's state as the commands show it; ask is the open
// request for its keys, or nil.
func (n *Node) zoneStatus(z zoneNow, ask *api.Request) api.ZoneStatus {
	s := z.status
	v := api.ZoneStatus{
		Zone: s.Zone, State: s.State, SourceSerial: s.Source, ServedSerial: s.Published,
		LastSigned: s.SignedAt, EarliestExpiry: s.Earliest, NextRefresh: s.NextRefresh,
		Next: api.Next{Kind: s.Next.Kind, Name: s.Next.Name, WaitsFor: s.WaitsFor}, Warnings: n.warnings(z),
	}
	if s.Next.Kind == api.ActorClock && s.State == api.ZoneSigned {
		v.Next.At = s.NextRefresh
	}
	if next, waits := n.parentOf(s.Zone); waits && s.State == api.ZoneSigned {
		v.Next = next
	}
	if s.State == api.ZoneNoKey && ask != nil {
		v.Next = nextOf(ask, string(n.self))
	}
	if o := s.Offered; o != nil && s.State == api.ZoneSigned {
		v.Next = api.Next{Kind: api.ActorSelf, Name: string(n.self), WaitsFor: fmt.Sprintf("operator %s has serial %d, which is not approved here: look at it, and run `zonesignerd zones approve FILE` if it is right", o.Peer, o.Source)}
	}
	if words := n.keys.suspendedIn(s.Zone); words != "" {
		v.Next = api.Next{Kind: api.ActorSelf, Name: string(n.self), WaitsFor: words}
	}
	for _, r := range s.Refusals {
		v.Refusals = append(v.Refusals, api.Refusal{Peer: string(r.Peer), Reason: r.Reason, Records: r.Records, At: r.At})
	}
	for _, p := range s.Peers {
		v.Lag = append(v.Lag, api.PeerZone{Peer: string(p.Peer), Policy: p.Policy, Serial: p.Serial, Since: p.Since, Behind: p.Behind.Seconds()})
	}
	return v
}

// nextOf says who acts next for a request.
func nextOf(r *api.Request, self string) api.Next {
	run := "run `" + r.Command + "`"
	if r.Progress != "" {
		run += ": " + r.Progress
	}
	switch {
	case r.Error != nil:
		return api.Next{Kind: api.ActorSelf, Name: self, WaitsFor: r.Error.Message}
	case slices.Contains(r.WaitsFor, self):
		return api.Next{Kind: api.ActorSelf, Name: self, WaitsFor: run}
	case len(r.WaitsFor) > 0:
		return api.Next{Kind: api.ActorPeer, Name: r.WaitsFor[0], WaitsFor: strings.Join(r.WaitsFor, ", ") + " to " + run}
	}
	return api.Next{Kind: api.ActorClock, WaitsFor: "its keys: " + r.Progress}
}

func notFound(zone string) error {
	return &api.Error{Code: api.CodeNotFound, Message: fmt.Sprintf("no zone %s at this operator", zone), Hint: "list them with `zonesignerd zones list`"}
}

// Zone implements api.Backend.
func (n *Node) Zone(_ context.Context, name string) (*api.ZoneDetail, error) {
	z := n.zone(dotted(name))
	if z == nil {
		return nil, notFound(name)
	}
	s := z.Status()
	now := z.given.Load()
	d := &api.ZoneDetail{ZoneStatus: n.zoneStatus(zoneNow{now.policy, s, z.isEdited()}, n.keys.requests(z.Name())[z.Name()]), PolicyDigest: s.PolicyDigest, Policy: string(now.text),
		Denial: denialWords(now.policy.Denial), SourceFrom: n.sourceWords(now.policy), PublishTo: n.publishWords(now.policy),
		RRSIGs: s.RRSIGs, RRsets: s.RRsets}
	d.Keys = n.keyViews(z.Name())
	d.Approval = n.approvalView(z)
	for _, st := range s.Stages.List() {
		d.Stages = append(d.Stages, api.Stage{Name: st.Name, Seconds: st.Took.Seconds()})
	}
	return d, nil
}

func denialWords(d config.Denial) string {
	if !d.NSEC3 {
		return "NSEC"
	}
	salt := "no salt"
	if d.Salt != "" {
		salt = "salt " + d.Salt
	}
	s := fmt.Sprintf("NSEC3, %s, %d iterations", salt, d.Iterations)
	if d.OptOut {
		s += ", opt-out"
	}
	return s
}

func (n *Node) sourceWords(p *config.Policy) string {
	switch p.Source.Type {
	case "file":
		return "file " + p.Source.File
	case "axfr":
		return "transfer from " + p.Source.Server
	case "approved":
		return "what is approved here"
	}
	return "knot at " + n.cfg.Knot.Hidden
}

func (n *Node) publishWords(p *config.Policy) string {
	if p.Publish.Type == "file" {
		return "file " + p.Publish.File
	}
	return "knot at " + n.cfg.Knot.Public
}

// AddZone implements api.Backend.
func (n *Node) AddZone(ctx context.Context, a api.AddZone) (*api.Request, error) {
	p, err := config.ParsePolicy(a.File, []byte(a.Policy))
	if err != nil {
		return nil, api.Errorf(api.CodeUsage, "%w", err)
	}
	n.changes.Lock()
	defer n.changes.Unlock()
	if err := n.keys.allowedBy(p); err != nil {
		return nil, err
	}
	if old := n.zone(p.Zone); old != nil {
		if err := n.changePolicy(ctx, old, p, []byte(a.Policy)); err != nil {
			return nil, err
		}
		return n.added(p.Zone), nil
	}
	if err := n.store.Put(bucketZones, p.Zone, []byte(a.Policy)); err != nil {
		return nil, err
	}
	if err := n.startZone(p, []byte(a.Policy)); err != nil {
		if e := n.store.Delete(bucketZones, p.Zone); e != nil {
			n.log.Error("zone not removed again", "zone", p.Zone, "err", e)
		}
		return nil, err
	}
	n.log.Info("zone added", "zone", p.Zone)
	n.introduce(p.Zone)
	return n.added(p.Zone), nil
}

// introduce tells the others of a zone that was just opened, and looks at its
// source.
func (n *Node) introduce(zone string) {
	for _, peer := range n.peers() {
		n.zone(zone).Hello(mpc.PartyID(peer.Name))
	}
	n.wg.Go(n.pollOnce)
}

// askOthers is how long a new zone's request waits for what the others say of
// their policies, so that its answer is not older than the question.
const askOthers = time.Second

// added is done at once here. It names the operators that have yet to add the
// same policy, as far as they said.
func (n *Node) added(name string) *api.Request {
	done := n.newRequest(api.KindZoneAdd, name)
	return n.requests.add(done.Digest, func() *api.Request {
		r := *done
		r.Asked = slices.Clone(done.Asked)
		if z := n.zone(name); z != nil {
			for _, p := range z.Status().Peers {
				if p.Policy == pipeline.PolicySame {
					r.Asked = append(r.Asked, string(p.Peer))
				} else {
					r.WaitsFor = append(r.WaitsFor, string(p.Peer))
				}
			}
		}
		if len(r.WaitsFor) > 0 && n.opt.Now().Sub(r.Since) < askOthers {
			r.State, r.Progress = api.RequestRunning, "asking the other operators"
		}
		return &r
	})
}

// changePolicy replaces a zone's policy. What is this operator's alone comes
// into force at once; what operators agree on is staged, and comes into force
// when all have staged it. n.changes is held.
func (n *Node) changePolicy(ctx context.Context, z *zone, p *config.Policy, text []byte) error {
	if err := checkSource(p); err != nil {
		return api.Errorf(api.CodeUsage, "%w", err)
	}
	if p.Digest() == z.policy().Digest() {
		ctx, cancel := context.WithTimeout(ctx, drainTime)
		defer cancel()
		return n.reopen(ctx, z, p, text)
	}
	if err := n.store.Put(bucketStaged, p.Zone, text); err != nil {
		return err
	}
	z.Stage(policyOf(p))
	return nil
}

// drainTime is how long a command waits for a zone's session to end. The
// command is answered within api's actTime.
const drainTime = time.Minute

// reopen opens a zone anew, with the source and the publisher of p, when the
// session that it is in has ended; should that not be before ctx ends, nothing
// is changed. Should they not open, the old ones stay. n.changes is held.
func (n *Node) reopen(ctx context.Context, z *zone, p *config.Policy, text []byte) error {
	if err := z.drain(ctx); err != nil {
		return err
	}
	was := z.given.Load()
	if err := n.keepPolicy(p.Zone, text); err != nil {
		z.Resume()
		return err
	}
	z.stop()
	z.SayGone() // so that the others say again to the new one what they said to this
	if err := n.startZone(p, text); err != nil {
		same := *p
		same.Source, same.Publish = z.opened.Source, z.opened.Publish
		return errors.Join(err, n.keepPolicy(p.Zone, was.text), n.startZone(&same, was.text))
	}
	n.introduce(p.Zone)
	return nil
}

// drain is Drain with an error that says what to do.
func (z *zone) drain(ctx context.Context) error {
	if err := z.Drain(ctx); err != nil {
		return &api.Error{Code: api.CodeFailure, Message: err.Error(), Hint: "nothing was changed; run the command again later"}
	}
	return nil
}

// keepPolicy makes text the policy that a restart finds in force, and none
// staged.
func (n *Node) keepPolicy(zone string, text []byte) error {
	return n.store.Update(func(t *keystore.Tx) error {
		if err := t.Put(bucketZones, zone, text); err != nil {
			return err
		}
		return t.Delete(bucketStaged, zone)
	})
}

// switched puts the staged policy of a zone in force, after the zone did.
func (n *Node) switched(name string, digest agree.Digest) {
	err := func() error {
		text, err := n.store.Get(bucketStaged, name)
		if err != nil {
			return err
		}
		p, err := config.ParsePolicy("staged policy of "+name, text)
		if err != nil {
			return err
		}
		if agree.Digest(p.Digest()) != digest {
			return fmt.Errorf("policy %s was staged meanwhile", agree.Digest(p.Digest()))
		}
		if err := n.keepPolicy(name, text); err != nil {
			return err
		}
		z := n.zone(name)
		if z == nil {
			return nil
		}
		z.given.Store(&given{p, text})
		if p.Source != z.opened.Source || p.Publish != z.opened.Publish {
			n.wg.Go(func() { n.follow(z) }) // the zone itself is what called
		}
		return nil
	}()
	if err != nil {
		n.log.Error("policy not kept", "zone", name, "err", err)
	}
}

// follow opens a zone anew, whose policy in force has another source or
// publisher.
func (n *Node) follow(z *zone) {
	n.changes.Lock()
	defer n.changes.Unlock()
	now := z.given.Load()
	if n.zone(z.Name()) != z { // it was opened anew or removed meanwhile
		return
	}
	if err := n.reopen(n.ctx, z, now.policy, now.text); err != nil && n.ctx.Err() == nil {
		n.log.Error("source and publisher of the policy in force not opened, the old ones stay", "zone", z.Name(), "err", err)
	}
}

// done is a request that is over at once.
func (n *Node) done(kind, subject string) *api.Request {
	r := n.newRequest(kind, subject)
	return n.requests.add(r.Digest, func() *api.Request { return r })
}

// newRequest is one of this operator alone, done, under a digest of its own.
func (n *Node) newRequest(kind, subject string) *api.Request {
	at := n.opt.Now().UTC()
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %s %d", kind, subject, at.UnixNano()))
	return &api.Request{Digest: hex.EncodeToString(sum[:]), Kind: kind, Subject: subject, State: api.RequestDone,
		Asked: []string{string(n.self)}, Since: at}
}

// RemoveZone implements api.Backend. Keys stay in the keystore.
func (n *Node) RemoveZone(ctx context.Context, r api.RemoveZone) (*api.Request, error) {
	name := dotted(r.Zone)
	n.changes.Lock()
	defer n.changes.Unlock()
	z := n.zone(name)
	if z == nil {
		return nil, notFound(r.Zone)
	}
	ctx, cancel := context.WithTimeout(ctx, drainTime)
	defer cancel()
	if err := z.drain(ctx); err != nil {
		return nil, err
	}
	err := n.store.Update(func(t *keystore.Tx) error {
		if err := t.Delete(bucketZones, name); err != nil {
			return err
		}
		return t.Delete(bucketStaged, name)
	})
	if err != nil {
		z.Resume()
		return nil, err
	}
	n.mu.Lock()
	delete(n.zones, name)
	n.mu.Unlock()
	z.stop()
	if err := errors.Join(z.Forget(), n.disapprove(name)); err != nil {
		return nil, err
	}
	z.SayGone()
	n.log.Info("zone removed", "zone", name)
	return n.done(api.KindZoneRemove, name), nil
}

// SignNow implements api.Backend.
func (n *Node) SignNow(_ context.Context, s api.SignNow) (*api.Request, error) {
	z := n.zone(dotted(s.Zone))
	if z == nil {
		return nil, notFound(s.Zone)
	}
	if len(n.keys.zone(z.Name())) == 0 {
		return nil, &api.Error{Code: api.CodeFailure, Message: "zone " + z.Name() + " has no keys", Hint: "ask for them at every operator with `zonesignerd keys generate " + z.Name() + "`"}
	}
	before := z.Status()
	at := n.opt.Now().UTC()
	sum := sha256.Sum256(fmt.Appendf(nil, "sign-now %s %d", z.Name(), at.UnixNano()))
	digest := hex.EncodeToString(sum[:])
	z.SignNow()
	return n.requests.add(digest, func() *api.Request {
		r := &api.Request{Digest: digest, Kind: api.KindSignNow, Subject: z.Name(), State: api.RequestRunning, Asked: []string{string(n.self)}, Since: at}
		now := z.Status()
		r.Serial = now.Published
		switch {
		case now.Published != before.Published || !before.HasSigned && now.Published != 0:
			r.State = api.RequestDone
		case now.LastError != nil && now.LastErrorAt.After(at):
			r.State, r.Error = api.RequestFailed, errorOf(now.LastError)
		case now.State == api.ZoneDisputed && now.WaitsFor == before.WaitsFor:
			// An old refusal: this session is to find out whether it stands.
		case now.State != api.ZoneSigned:
			r.Progress = "waits for " + now.WaitsFor
		}
		return r
	}), nil
}

// errorOf gives a failed session the code that its command ends with.
func errorOf(err error) *api.Error {
	e := &api.Error{Code: api.CodeFailure, Message: err.Error()}
	var refused *agree.RefusedError
	absent, isAbsent := mpc.AsAbsent(err)
	cheat, isCheat := mpc.AsCheat(err)
	switch {
	case pipeline.IsNoQuorum(err):
		e.Code, e.Hint = api.CodeNoQuorum, "see `zonesignerd status` for the operators that do not answer"
		if isAbsent {
			e.Peers = names(absent.Parties)
		}
	case errors.As(err, &refused):
		e.Code, e.Hint = api.CodeRefused, "compare the copies of the zone; sign-now again when they are equal"
		for _, r := range refused.By {
			e.Peers = append(e.Peers, string(r.Peer))
		}
	case isCheat:
		e.Code, e.Peers = api.CodeVerification, names(cheat.Parties)
	case errors.Is(err, pipeline.ErrInvalid):
		e.Code = api.CodeVerification
	}
	return e
}

func names(ids []mpc.PartyID) []string {
	var out []string
	for _, id := range ids {
		out = append(out, string(id))
	}
	return out
}

// Keys implements api.Backend.
func (n *Node) Keys(_ context.Context, zone string) ([]api.Key, error) {
	if zone != "" {
		zone = dotted(zone)
	}
	return n.keyViews(zone), nil
}

// keyViews lists a zone's keys, or all, by zone and role.
func (n *Node) keyViews(zone string) []api.Key {
	out := n.keys.views(zone)
	slices.SortFunc(out, func(a, b api.Key) int {
		return cmp.Or(strings.Compare(a.Zone, b.Zone), strings.Compare(a.Role, b.Role), a.Created.Compare(b.Created), strings.Compare(a.ID, b.ID))
	})
	return out
}

// GenerateKeys implements api.Backend.
func (n *Node) GenerateKeys(_ context.Context, g api.GenerateKeys) (*api.Request, error) {
	z := n.zone(dotted(g.Zone))
	if z == nil {
		return nil, notFound(g.Zone)
	}
	roles := g.Roles
	if len(roles) == 0 {
		roles = []string{roleKSK, roleZSK}
		if z.policy().SingleTypeSigning {
			roles = []string{roleCSK}
		}
	}
	for i, r := range roles {
		roles[i] = strings.ToUpper(r)
		if !slices.Contains([]string{roleKSK, roleZSK, roleCSK}, roles[i]) {
			return nil, api.Errorf(api.CodeUsage, "unknown role %q, expected ksk, zsk or csk", r)
		}
	}
	slices.Sort(roles)
	engine := g.Engine
	if engine == "" {
		engine = n.engineOf(z.policy())
	}
	if n.engines[engine] == nil {
		return nil, api.Errorf(api.CodeUsage, "unknown engine %q", engine)
	}
	if err := n.groups.file().CheckEngine(engine); err != nil {
		return nil, api.Errorf(api.CodeUsage, "%v", err)
	}
	if err := n.goesWith(engine, z); err != nil {
		return nil, err
	}
	a, err := n.keys.request(z.Name(), slices.Compact(roles), engine)
	if err != nil {
		return nil, err
	}
	return n.keys.requestOf(a), nil
}

// Request implements api.Backend.
func (n *Node) Request(_ context.Context, digest string) (*api.Request, error) {
	var d agree.Digest
	if d.UnmarshalText([]byte(digest)) == nil {
		if a := n.keys.asked(d); a != nil {
			return n.keys.requestOf(a), nil
		}
	}
	if r, ok := n.requests.find(digest); ok {
		return r, nil
	}
	for _, r := range n.approvalRequests() {
		if r.Digest == digest {
			return &r, nil
		}
	}
	return nil, &api.Error{Code: api.CodeNotFound, Message: "no request " + digest + " at this operator"}
}

// openRequests lists what was asked here or elsewhere and is not done: keys,
// the group of the next epoch, and contents that are approved here.
func (n *Node) openRequests() []api.Request {
	out := []api.Request{}
	for _, r := range n.keys.requests("") {
		out = append(out, *r)
	}
	if r := n.groupRequest(); r != nil {
		out = append(out, *r)
	}
	for _, r := range n.approvalRequests() {
		if !r.Finished() {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b api.Request) int {
		return cmp.Or(a.Since.Compare(b.Since), strings.Compare(a.Digest, b.Digest))
	})
	return out
}

// Pools implements api.Backend.
func (n *Node) Pools(_ context.Context, zone string) ([]api.Pool, error) {
	out, bound := []api.Pool{}, []api.Pool{}
	zones := n.statuses()
	stocks := map[string]bool{}
	for _, k := range n.keys.all() {
		if zone != "" && k.Zone != dotted(zone) {
			continue
		}
		if !stocks[k.Engine] && n.binds(k.Engine) {
			stocks[k.Engine] = true
			for _, set := range n.groups.file().Sets(k.Engine) {
				out = append(out, n.tuples.stockViews(k.Engine, set)...)
			}
		}
		for _, set := range n.groups.file().Sets(k.Engine) {
			if set.Contains(n.self) {
				pools := n.tuples.views(k, set)
				outlook(pools, k, zones[k.Zone])
				bound = append(bound, pools...)
			}
		}
	}
	return append(out, bound...), nil
}

// Group implements api.Backend.
func (n *Node) Group(context.Context) (*api.Group, error) {
	g := n.groups.file()
	digest := g.Digest()
	v := &api.Group{Name: g.Name, Epoch: g.Epoch, Digest: hex.EncodeToString(digest[:]), Fingerprint: config.Fingerprint(digest),
		Threshold: g.Threshold, Engine: g.Engine}
	for _, o := range g.Operators {
		v.Operators = append(v.Operators, api.Operator{Name: o.Name, NKey: o.NKey, Address: o.Address, Self: o.Name == n.cfg.Operator})
	}
	for _, s := range g.Sets(g.Engine) {
		v.SignerSets = append(v.SignerSets, s.String())
	}
	v.StagedEpoch, v.StagedBy = n.stagedBy()
	return v, nil
}

// StageGroup implements api.Backend.
func (n *Node) StageGroup(_ context.Context, s api.StageGroup) (*api.Request, error) {
	next, err := n.stage(s.File, []byte(s.Group))
	if err != nil {
		return nil, api.Errorf(api.CodeUsage, "%w", err)
	}
	digest := next.Digest()
	at := n.opt.Now().UTC()
	return n.requests.add(hex.EncodeToString(digest[:]), func() *api.Request {
		if r := n.groupRequest(); r != nil && r.Digest == hex.EncodeToString(digest[:]) {
			r.Since = at
			return r
		}
		r := &api.Request{Digest: hex.EncodeToString(digest[:]), Kind: api.KindGroupStage, Subject: fmt.Sprint("epoch ", next.Epoch),
			State: api.RequestDone, Since: at}
		if now := n.groups.file(); now.Digest() != digest {
			r.State = api.RequestFailed
			r.Error = api.Errorf(api.CodeFailure, "another group file came into force or was staged instead; epoch %d is in force", now.Epoch)
		}
		return r
	}), nil
}

// Reload implements api.Backend: what can change while the daemon runs comes
// into force, if the whole file is good; what needs a restart is named.
func (n *Node) Reload(context.Context) (*api.Reload, error) {
	if n.opt.Load == nil {
		return nil, api.Errorf(api.CodeFailure, "this daemon was started without a configuration file")
	}
	cfg, err := n.opt.Load()
	if err != nil {
		return nil, api.Errorf(api.CodeUsage, "%w", err)
	}
	r := &api.Reload{Changed: []string{}, NeedsRestart: []string{}}
	n.mu.Lock()
	for _, key := range n.cfg.Changes(cfg) {
		switch {
		case key == "pools.depth":
			n.cfg.Pools.Depth = cfg.Pools.Depth
		case key == "pools.changes":
			n.cfg.Pools.Changes = cfg.Pools.Changes
		case key == "log.level" && n.opt.SetLogLevel != nil:
			n.cfg.Log.Level = cfg.Log.Level
			n.opt.SetLogLevel(cfg.Log.Level)
		default:
			r.NeedsRestart = append(r.NeedsRestart, key)
			continue
		}
		r.Changed = append(r.Changed, key)
	}
	n.mu.Unlock()
	n.tuples.wake()
	return r, nil
}

// Backup implements api.Backend.
func (n *Node) Backup(context.Context) (*api.Backup, error) {
	var file bytes.Buffer
	if err := n.store.Backup(&file); err != nil {
		return nil, err
	}
	n.log.Info("backup of the keystore given out", "bytes", file.Len())
	return &api.Backup{File: file.Bytes()}, nil
}

func (n *Node) poolChanges() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cfg.Pools.Changes
}

func (n *Node) poolDepth() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cfg.Pools.Depth
}

// notifier listens for NOTIFY at an address, once for all zones.
func (n *Node) notifier(addr string) (*knot.Notifier, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if l := n.notifiers[addr]; l != nil {
		return l, nil
	}
	l, err := knot.ListenNotify(addr)
	if err == nil {
		n.notifiers[addr] = l
	}
	return l, err
}
