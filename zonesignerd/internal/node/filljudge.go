package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"zonesigner/mpc"
	"zonesigner/mpc/ecdsa"
	"zonesigner/zonesignerd/internal/agree"
)

// fillProposals judges and runs the proposals of others to fill their pools.
type fillProposals struct{ n *Node }

func (h fillProposals) Judge(ctx context.Context, _ agree.Digest, p *agree.Proposal, _ func(agree.Verdict, string)) agree.Answer {
	refuse := func(code, format string, args ...any) *agree.Answer {
		return &agree.Answer{Verdict: agree.Refuse, Code: code, Reason: fmt.Sprintf(format, args...)}
	}
	var refusal *agree.Answer
	if p.Kind == kindBind {
		refusal = h.judgeBinding(ctx, p, refuse)
	} else {
		refusal = h.judgeMaking(p, refuse)
	}
	if refusal != nil {
		return *refusal
	}
	if why, yes := h.n.store.Suspended(); yes {
		return *refuse("suspended", "tuples are suspended here: %s", why)
	}
	if !waitedFor(p) && h.n.tuples.deferred() {
		return agree.Answer{Verdict: agree.Superseded, Code: "busy", Reason: "a large zone is being signed or published here"}
	}
	if !h.n.tuples.begin(p.Proposer) {
		return agree.Answer{Verdict: agree.Superseded, Code: "busy", Reason: "a pool is being filled for operator " + string(p.Proposer) + " already"}
	}
	return agree.Answer{Verdict: agree.Accept}
}

// waitedFor reports whether a proposal, which was judged to be in order, says that
// zones wait for it.
func waitedFor(p *agree.Proposal) bool {
	if p.Kind == kindBind {
		var body bindWanted
		return json.Unmarshal(p.Body, &body) == nil && len(body.Demand) > 0
	}
	var body tuplesWanted
	return json.Unmarshal(p.Body, &body) == nil && body.Demand
}

type refuser func(code, format string, args ...any) *agree.Answer

// judgeSet checks the signer set, and that all who make its tuples are to take
// part.
func (h fillProposals) judgeSet(p *agree.Proposal, engine, text string, refuse refuser) *agree.Answer {
	set, err := mpc.ParseSignerSet(text)
	switch {
	case err != nil:
		return refuse("form", "%v", err)
	case !slices.ContainsFunc(h.n.groups.file().Sets(engine), set.Equal):
		return refuse("set", "signer set %s has no pool under engine %s", set, engine)
	case !set.Contains(p.Proposer):
		return refuse("set", "operator %s asks for tuples of a set that it is not in", p.Proposer)
	case !p.Members.Equal(h.n.makers(engine, set)):
		return refuse("members", "tuples of %s for %s are made by %s", engine, set, h.n.makers(engine, set))
	}
	return nil
}

func (h fillProposals) judgeMaking(p *agree.Proposal, refuse refuser) *agree.Answer {
	var body tuplesWanted
	if err := json.Unmarshal(p.Body, &body); err != nil {
		return refuse("form", "proposal cannot be read: %v", err)
	}
	engine, unbound := strings.CutPrefix(string(body.Key), string(mpc.Unbound("")))
	most := mostStock + h.n.poolDepth()
	switch {
	case unbound && !h.n.binds(engine):
		return refuse("engine", "engine %q has no unbound tuples here", engine)
	case !unbound:
		k, ok := h.n.keys.find(string(body.Key))
		if !ok {
			return refuse("key", "key %s is not known here", body.Key)
		}
		if err := h.n.keys.suspended(body.Key); err != nil {
			return refuse("suspended", "%v", err)
		}
		engine, most = k.Engine, h.n.tuples.most(k)
		if filling := h.n.engines[engine].pace().filling; filling > 0 && body.Count > filling {
			return refuse("count", "%d tuples of %s in one session, at most %d are made", body.Count, engine, filling)
		}
	}
	if refusal := h.judgeSet(p, engine, body.Set, refuse); refusal != nil {
		return refusal
	}
	depth := h.n.tuples.depth(mpc.PoolID{Key: body.Key, Set: body.Set, Stripe: p.Proposer})
	if body.Count < 1 || body.Count > most-depth {
		return refuse("count", "%d tuples on top of %d are more than such a pool holds, %d", body.Count, depth, most)
	}
	return nil
}

func (h fillProposals) judgeBinding(ctx context.Context, p *agree.Proposal, refuse refuser) *agree.Answer {
	var body bindWanted
	if err := json.Unmarshal(p.Body, &body); err != nil {
		return refuse("form", "proposal cannot be read: %v", err)
	}
	if refusal := h.judgeSet(p, body.Engine, body.Set, refuse); refusal != nil {
		return refusal
	}
	if !h.n.binds(body.Engine) {
		return refuse("engine", "engine %q has no unbound tuples here", body.Engine)
	}
	if len(body.Keys) == 0 || len(body.Keys) > mostKeys || len(body.Tuples) == 0 || len(body.Tuples) > mostBound {
		return refuse("form", "%d ranges of tuples for %d keys", len(body.Tuples), len(body.Keys))
	}
	for _, key := range body.Demand {
		if len(body.Demand) > len(body.Keys) || !slices.ContainsFunc(body.Keys, func(k ecdsa.KeyCount) bool { return k.Key == key }) {
			return refuse("form", "zones of %d keys wait for %d that are bound", len(body.Demand), len(body.Keys))
		}
	}
	count := 0
	seen := map[mpc.KeyID]bool{}
	var unknown []string
	for _, want := range body.Keys {
		k, ok := h.n.keys.find(string(want.Key))
		switch {
		case !ok || k.Engine != body.Engine || k.Meta[metaSuspended] != "":
			unknown = append(unknown, string(want.Key))
			continue
		case seen[want.Key]:
			return refuse("form", "key %s is there twice", want.Key)
		}
		seen[want.Key] = true
		depth := h.n.tuples.depth(mpc.PoolID{Key: want.Key, Set: body.Set, Stripe: p.Proposer})
		if most := h.n.tuples.most(k); want.Count < 1 || want.Count > mostBound || want.Count > most-depth {
			return refuse("count", "%d tuples on top of %d are more than a pool of key %s holds, %d", want.Count, depth, want.Key, most)
		}
		count += want.Count
	}
	if unknown != nil {
		refusal := refuse("key", "%d of %d keys are not known here under engine %s, or are suspended", len(unknown), len(body.Keys), body.Engine)
		refusal.Records = unknown
		return refusal
	}
	for _, r := range body.Tuples {
		if r.Count < 1 || r.Count > mostBound {
			return refuse("form", "a range of %d tuples", r.Count)
		}
		count -= r.Count
	}
	if count != 0 {
		return refuse("form", "its tuples are not as many as its keys get")
	}
	if !rising(body.Tuples) {
		return refuse("form", "its tuples are named twice, or not in rising order")
	}
	set, _ := mpc.ParseSignerSet(body.Set) // judgeSet has read it
	err := h.n.tuples.Check(ctx, mpc.Unbound(body.Engine), set, p.Proposer, body.Tuples)
	var missing *missingTuples
	if errors.As(err, &missing) {
		refusal := refuse("tuples", "%v", err)
		refusal.Records = missing.Records()
		return refusal
	}
	if err != nil {
		return refuse("suspended", "%v", err)
	}
	return nil
}

// rising reports whether no tuple is named twice, and those of a chunk in rising
// order, as they are spent: of ranges in different runs of a session, the
// second would only be refused after the first was spent. Their counts are in bounds.
func rising(rs []mpc.TupleRange) bool {
	next := map[mpc.ChunkID]int{}
	for _, r := range rs {
		if r.From < next[r.Chunk] || r.From > math.MaxInt-r.Count {
			return false
		}
		next[r.Chunk] = r.From + r.Count
	}
	return true
}

// begin takes note that a pool is being filled for an operator: one at a time.
func (t *tuples) begin(id mpc.PartyID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.served[id] {
		return false
	}
	t.served[id] = true
	return true
}

func (t *tuples) end(id mpc.PartyID) {
	t.mu.Lock()
	delete(t.served, id)
	t.mu.Unlock()
}

func (h fillProposals) Run(ctx context.Context, a *agree.Agreed) {
	t := h.n.tuples
	defer t.end(a.Proposal.Proposer)
	var (
		making  tuplesWanted
		binding bindWanted
		err     error
	)
	if a.Proposal.Kind == kindBind {
		if err = json.Unmarshal(a.Proposal.Body, &binding); err == nil {
			err = t.bind(ctx, a, binding)
		}
	} else if err = json.Unmarshal(a.Proposal.Body, &making); err == nil {
		err = t.make(ctx, a, making)
	}
	if err != nil && ctx.Err() == nil {
		h.n.log.Warn("pool not filled", "what", a.Proposal.Subject, "stripe", a.Proposal.Proposer, "err", err)
		h.n.blame.note(a.Proposal.Members, err, h.n.opt.Now())
	}
}

func (h fillProposals) Abandon(_ agree.Digest, p *agree.Proposal, _ error) {
	h.n.tuples.end(p.Proposer)
}

func (fillProposals) Answered(*agree.Proposal, mpc.PartyID, *agree.Answer) {}
