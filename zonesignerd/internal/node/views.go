package node

import (
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"time"

	"zonesigner/zonesignerd/config"
	"zonesigner/zonesignerd/internal/agree"
	"zonesigner/zonesignerd/internal/api"
)

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
