package node

import (
	"cmp"
	"errors"
	"math"
	"slices"
	"time"

	"zonesigner/keystore"
	"zonesigner/mpc"
	"zonesigner/zonesignerd/config"
	"zonesigner/zonesignerd/internal/api"
	"zonesigner/zonesignerd/internal/pipeline"
)

// load is what a zone's refreshes ask of one of its keys.
type load struct {
	from   time.Time     // the next refresh; nothing is due before it
	cycle  time.Duration // in which every signature is made once
	tuples int           // in one cycle
}

// refreshBatches is into how many refreshes a cycle falls, at most: a session
// renews what falls due within an eighth of rrsig-refresh.
func refreshBatches(p *config.Policy, cycle time.Duration) int {
	ahead := max(time.Duration(p.RRSIGRefresh)/8, time.Second)
	return max(1, int(cycle/ahead))
}

// loadOf estimates what the refreshes of a signed zone ask of a key with that
// role. The DNSKEY RRset is the KSK's only one; each session signs the SOA.
func loadOf(p *config.Policy, s pipeline.Due, role string) (load, bool) {
	if s.NextRefresh.IsZero() {
		return load{}, false
	}
	l := load{from: s.NextRefresh, cycle: time.Duration(p.RRSIGLifetime - p.RRSIGRefresh)}
	sessions := refreshBatches(p, l.cycle)
	rrsigs := s.RRSIGs / max(1, s.Algorithms) // the others are of another algorithm's keys
	switch role {
	case roleKSK:
		l.tuples = 1
	case roleZSK:
		l.tuples = max(0, rrsigs-2) + sessions // without the DNSKEY's and the SOA's
	default:
		l.tuples = max(0, rrsigs-1) + sessions
	}
	return l, true
}

// lasts is until when so many tuples cover the load.
func (l load) lasts(tuples int) time.Time {
	cycles := min(float64(tuples)/float64(l.tuples), 1000) // some dates are far enough
	return l.from.Add(time.Duration(cycles * float64(l.cycle))).Truncate(time.Second)
}

// due is how many tuples the load takes within d, on average.
func (l load) due(d time.Duration) int {
	return int(math.Ceil(float64(l.tuples) * float64(d) / float64(l.cycle)))
}

// keyChanges is how many changes of its DNSKEY RRset a key that signs nothing
// else is prepared for while an operator is down.
const keyChanges = 4

// boundWanted is how many tuples are kept bound to a key for each signer set:
// what falls due within max-outage, when no more can be bound, and what
// changes of the content may take meanwhile. Before the zone is signed, none.
func (n *Node) boundWanted(k keystore.KeyRecord) int {
	z := n.zone(k.Zone)
	if z == nil {
		return 0
	}
	p := z.policy()
	l, ok := loadOf(p, z.Due(), k.Role)
	if !ok {
		return 0
	}
	changes := keyChanges
	if k.Role != roleKSK {
		changes = n.poolChanges()
	}
	most := mostTuples
	if e := n.engines[k.Engine]; e != nil && e.pace().kept > 0 {
		most = e.pace().kept
	}
	return min(l.due(time.Duration(p.MaxOutage))+changes, most)
}

// statuses is the present state of every zone, made once for an answer.
func (n *Node) statuses() map[string]zoneNow {
	out := map[string]zoneNow{}
	for _, z := range n.allZones() {
		out[z.Name()] = zoneNow{z.policy(), z.Status(), z.isEdited()}
	}
	return out
}

type zoneNow struct {
	policy *config.Policy
	status pipeline.Status
	edited bool // a transaction is open on the hidden Knot
}

// outlook gives each pool of a key and set the date until which it lasts.
func outlook(pools []api.Pool, k keystore.KeyRecord, z zoneNow) {
	if z.policy == nil || len(pools) == 0 {
		return
	}
	if l, ok := loadOf(z.policy, z.status.Due, k.Role); ok {
		for i := range pools {
			pools[i].LastsTill = l.lasts(pools[i].Depth * len(pools))
		}
	}
}

// without says for each other operator until when zones can be signed while
// it is down: for every key the best of the sets that go without it, of a
// set its worst stripe, and of all keys the worst. Sets that this operator is
// not in do not count: their pools are not known here.
func (n *Node) without(zones map[string]zoneNow) []api.Without {
	keys, group, zoneSets := n.keys.all(), n.groups.file(), n.setsByZone()
	var out []api.Without
	for _, id := range slices.Sorted(slices.Values(n.groups.mpc().Parties)) {
		if id == n.self {
			continue
		}
		w := api.Without{Operator: string(id)}
		for _, k := range keys {
			z := zones[k.Zone]
			if z.policy == nil || !z.status.HasSigned {
				continue
			}
			sets, mixed := zoneSets[k.Zone]
			if !mixed {
				sets = group.Sets(k.Engine)
			}
			until, any := n.coveredWithout(id, k, sets, z)
			if !any {
				w.Never, w.Zone, w.Until = true, k.Zone, time.Time{}
				break
			}
			if w.Until.IsZero() || until.Before(w.Until) {
				w.Until, w.Zone = until, k.Zone
			}
		}
		out = append(out, w)
	}
	slices.SortFunc(out, func(a, b api.Without) int { return cmp.Compare(a.Operator, b.Operator) })
	return out
}

// coveredWithout is until when a key's pools last without an operator; false:
// no set of ours goes without it.
func (n *Node) coveredWithout(id mpc.PartyID, k keystore.KeyRecord, sets []mpc.SignerSet, z zoneNow) (until time.Time, any bool) {
	for _, set := range sets {
		if !set.Contains(n.self) || set.Contains(id) {
			continue
		}
		any = true
		pools := n.tuples.views(k, set)
		outlook(pools, k, z)
		worst := pools[0].LastsTill
		for _, p := range pools {
			if p.LastsTill.Before(worst) {
				worst = p.LastsTill
			}
		}
		if worst.After(until) {
			until = worst
		}
	}
	return until, any
}

// warnings says what is wrong with a zone without stopping it: an edit that is
// open, keys that wait for others, margins that its content breaks.
func (n *Node) warnings(z zoneNow) []string {
	var out []string
	if z.edited {
		out = append(out, "a transaction is open on the hidden knot: what it changes is seen once its owner commits it")
	}
	if words := n.keys.joinsLater(z.policy.Zone); words != "" {
		out = append(out, words)
	}
	if z.status.Source != 0 || z.status.SOAExpire != 0 {
		out = append(out, faultsOf(z.policy.CheckZone(z.status.SOAExpire, z.status.MaxTTL))...)
	}
	return out
}

func faultsOf(err error) []string {
	if err == nil {
		return nil
	}
	var faults config.Faults
	if !errors.As(err, &faults) {
		return []string{err.Error()}
	}
	var out []string
	for _, f := range faults {
		out = append(out, f.Error())
	}
	return out
}
