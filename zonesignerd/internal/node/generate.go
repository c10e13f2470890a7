package node

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"zonesigner/keystore"
	"zonesigner/mpc"
	"zonesigner/zonesignerd/internal/agree"
	"zonesigner/zonesignerd/internal/pipeline"
)

// kindKey is the kind of proposal that generates keys.
const kindKey agree.Kind = "key"

// wantedKeys is the body of a key proposal: keys of one engine, that one
// session makes.
type wantedKeys struct {
	Keys []wantedKey `json:"keys"`
}

// wantedKey is one of them.
type wantedKey struct {
	Ask  agree.Digest `json:"ask"`
	Role string       `json:"role"`
}

// mostWanted bounds the keys of one proposal.
const mostWanted = 256

// want is a wanted key of a request of this operator's.
type want struct {
	*asking
	role string
}

func (w want) String() string { return w.role + " of " + w.Zone }

// retryAfter is how long a key that could not be made waits for the next
// attempt. It is the confirmations' chance to arrive, too.
const retryAfter = 5 * time.Second

// run says again what may be lost, takes keys into use that all hold, and
// starts the generations whose time has come.
func (k *keyring) run() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-k.n.ctx.Done():
			return
		case <-k.kick:
		case <-tick.C:
			k.repeatMades()
			k.repeatAsks()
			k.mu.Lock()
			k.check = true
			k.mu.Unlock()
		}
		k.settle()
		if wants := k.due(); wants != nil {
			k.n.wg.Go(func() {
				k.generate(wants)
				k.mu.Lock()
				k.leading, k.check = false, true
				k.mu.Unlock()
				k.wake()
			})
		}
	}
}

func (k *keyring) wake() {
	select {
	case k.kick <- struct{}{}:
	default:
	}
}

// leader is the operator that proposes the keys of a request: the first by
// hash, so that zones spread.
func leader(d agree.Digest, group mpc.Group) mpc.PartyID {
	return group.Parties[binary.BigEndian.Uint32(d[:])%uint32(group.N())]
}

// note takes a request among those that this operator has to propose, or out
// of them: all operators asked for it, it lacks a key, and no later rival takes
// its place. It reports whether it is among them; k.mu is held.
func (k *keyring) note(a *asking) bool {
	group := k.n.groups.mpc()
	later := slices.ContainsFunc(k.rivals[a.family], func(r *asking) bool { return r.own && r.Again > a.Again })
	if a.done || later || k.outdated(a) || len(a.by) < group.N() || leader(a.Digest, group) != k.n.self || len(k.lacking(a)) == 0 {
		delete(k.lead, a.Digest)
		return false
	}
	k.lead[a.Digest] = a
	return true
}

// lacking is the keys of a request that are to be made; k.mu is held.
func (k *keyring) lacking(a *asking) (wants []want) {
	for _, role := range a.Roles {
		if e := a.keys[role]; e == nil || k.dead(e) {
			wants = append(wants, want{a, role})
		}
	}
	return wants
}

// due lists the keys that are to be proposed now, oldest requests first, as
// many as one proposal takes; nil if there are none, or while others are
// proposed. Not nil, they are the caller's to generate.
func (k *keyring) due() (wants []want) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.leading || !k.check {
		return nil
	}
	k.check = false
	var asks []*asking
	for _, a := range k.lead {
		if !k.n.opt.Now().Before(a.retryAt) && a.running == "" {
			asks = append(asks, a)
		}
	}
	slices.SortFunc(asks, func(a, b *asking) int { return cmp.Or(cmp.Compare(a.Since, b.Since), cmp.Compare(a.Zone, b.Zone)) })
	for _, a := range asks {
		if lacking := k.lacking(a); a.Engine == asks[0].Engine && a.imports() == asks[0].imports() && len(wants)+len(lacking) <= k.n.keysAtOnce(a.Engine) {
			wants = append(wants, lacking...)
			a.retryAt = k.n.opt.Now().Add(retryAfter)
		}
	}
	k.leading = wants != nil
	return wants
}

// generate proposes keys and runs their session. Those that a member cannot
// accept are left out, and the rest is proposed again.
func (k *keyring) generate(wants []want) {
	for len(wants) > 0 {
		refused, err := k.propose(wants)
		if err == nil || k.n.ctx.Err() != nil {
			return
		}
		var rest []want
		for i, w := range wants {
			switch {
			case len(refused) == 0:
				k.postpone(w, err.Error())
			case refused[i] != "":
				k.postpone(w, refused[i])
			default:
				rest = append(rest, w)
			}
		}
		k.n.log.Warn("keys not generated", "zone", wants[0].Zone, "keys", len(wants)-len(rest), "err", err)
		wants = rest
	}
}

// postpone notes why a key was not made, and that its time is later.
func (k *keyring) postpone(w want, why string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	w.failed, w.retryAt = why, k.n.opt.Now().Add(retryAfter)
}

// propose makes one attempt. refused says why members could not accept keys, by
// their index, as far as they named them.
func (k *keyring) propose(wants []want) (refused map[int]string, err error) {
	if err := k.giveUp(wants); err != nil {
		return nil, err
	}
	var body wantedKeys
	for _, w := range wants {
		body.Keys = append(body.Keys, wantedKey{Ask: w.Digest, Role: w.role})
	}
	subject := wants[0].Zone
	if len(wants) > 1 {
		subject = fmt.Sprintf("%s and %d more keys", subject, len(wants)-1)
	}
	all := mpc.NewSignerSet(k.n.groups.mpc().Parties...)
	agreed, err := k.n.agreement.Propose(k.n.ctx, kindKey, subject, all, body)
	if refusal := (*agree.RefusedError)(nil); errors.As(err, &refusal) {
		refused = map[int]string{}
		for _, r := range refusal.By {
			for _, text := range r.Records {
				if i, why, ok := cutRefused(text); ok && i < len(wants) {
					refused[i] = fmt.Sprintf("operator %s refuses: %s", r.Peer, why)
				}
			}
		}
	}
	if err != nil {
		return refused, err
	}
	return nil, k.session(k.n.ctx, agreed, wants)
}

// A refusal of a proposal for several keys names each that it is about in a
// record of its own, first by its index in the proposal. Who names none
// refuses all of them.
//
//	17: ZSK of example.: a key was made for this already
func refusedRecord(i int, w want, reason string) string {
	return fmt.Sprintf("%d: %s: %s", i, w, reason)
}

// cutRefused takes such a record apart.
func cutRefused(record string) (i int, why string, ok bool) {
	number, why, found := strings.Cut(record, ": ")
	n, err := strconv.ParseUint(number, 10, 16)
	return int(n), why, found && err == nil
}

// session generates keys with all operators and keeps them, pending until all
// have said that they hold them.
func (k *keyring) session(ctx context.Context, agreed *agree.Agreed, wants []want) error {
	if err := k.begin(wants); err != nil {
		return err
	}
	defer k.end(wants)
	shares, err := k.makeKeys(ctx, agreed, wants)
	if err != nil {
		return err
	}
	said, err := k.keep(wants, shares)
	if err != nil {
		return err
	}
	k.sayMades(said)
	k.wake()
	return nil
}

// begin notes that keys are being generated: one at a time for each role.
func (k *keyring) begin(wants []want) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, w := range wants {
		if w.keys[w.role] != nil || w.running != "" {
			return fmt.Errorf("another %s of this request is there or on its way", w.role)
		}
		if !w.own {
			return fmt.Errorf("the request for a %s was replaced", w.role)
		}
	}
	for _, w := range wants {
		if w.running == "" {
			w.running = w.making() + " the " + w.role
		} else {
			w.running += " and the " + w.role
		}
	}
	return nil
}

func (k *keyring) end(wants []want) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, w := range wants {
		w.running = ""
		k.touch(w.asking)
	}
}

// makeKeys runs the protocol.
func (k *keyring) makeKeys(ctx context.Context, agreed *agree.Agreed, wants []want) ([]newKey, error) {
	engine, ok := k.n.engines[wants[0].Engine]
	if !ok {
		return nil, fmt.Errorf("engine %q is not known to this version", wants[0].Engine)
	}
	net, err := k.n.transport.Open(agreed.Session, agreed.Proposal.Members)
	if err != nil {
		return nil, err
	}
	defer net.Close()
	ctx, alive, stop := pipeline.Watchdog(ctx, time.Duration(k.n.cfg.Sessions.Timeout)+k.n.patience(wants[0].Engine))
	defer stop()
	var labels [][]byte
	for _, w := range wants {
		labels = append(labels, fmt.Appendf(nil, "%s %s %x", w.Zone, w.role, w.Digest))
	}
	session := lively{net, alive}
	if !wants[0].imports() {
		return engine.generate(ctx, session, k.n.identity, k.n.groups.mpc(), labels)
	}
	shares, err := k.openFiles(wants)
	if err != nil {
		return nil, err
	}
	defer eraseShares(shares)
	return engine.take(ctx, session, k.n.identity, k.n.groups.mpc(), labels, shares)
}

// keep stores the keys of a session, all of them or none, and returns what to
// say of them. What a rival has made needless is not kept.
func (k *keyring) keep(wants []want, keys []newKey) ([]made, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var records []keystore.KeyRecord
	for i, w := range wants {
		if k.rivalInUse(w.asking) {
			continue
		}
		records = append(records, keystore.KeyRecord{ID: string(keys[i].id), Zone: w.Zone, Role: w.role, Engine: w.Engine, Public: keys[i].public,
			State: keystore.Active, Created: k.n.opt.Now().UTC().Truncate(time.Second), Secret: keys[i].secret,
			Meta: map[string]string{metaAsk: hex.EncodeToString(w.Digest[:]), metaPending: string(holdHeld)}})
	}
	err := k.n.store.Update(func(t *keystore.Tx) error {
		for _, r := range records {
			if err := t.PutKey(r); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var said []made
	for _, r := range records {
		e := k.put(r)
		e.next = k.n.opt.Now().Add(time.Second)
		said = append(said, k.made(e, true))
		what := "key generated"
		if a := k.asks[e.ask]; a != nil && a.imports() {
			what = "key imported"
		}
		k.n.log.Info(what, "zone", e.Zone, "role", e.Role, "key", e.ID, "tag", dnssecKey(e.KeyRecord).KeyTag())
	}
	return said, nil
}

// keyProposals judges and runs key generations that others propose.
type keyProposals struct{ n *Node }

// wantsOf reads a proposal's body and finds this operator's requests. Keys
// that it did not ask for have no request.
func (h keyProposals) wantsOf(p *agree.Proposal) ([]want, error) {
	var body wantedKeys
	if err := json.Unmarshal(p.Body, &body); err != nil {
		return nil, fmt.Errorf("proposal cannot be read: %w", err)
	}
	if len(body.Keys) < 1 || len(body.Keys) > mostWanted {
		return nil, fmt.Errorf("proposal of %d keys, expected 1 to %d", len(body.Keys), mostWanted)
	}
	seen := map[wantedKey]bool{}
	var wants []want
	for _, w := range body.Keys {
		if seen[w] {
			return nil, fmt.Errorf("proposal wants a %.10q of request %s twice", w.Role, w.Ask)
		}
		seen[w] = true
		a := h.n.keys.asked(w.Ask)
		if a == nil {
			a = &asking{ask: ask{Zone: "request " + w.Ask.String(), Digest: w.Ask}}
		}
		wants = append(wants, want{a, w.Role})
	}
	return wants, nil
}

// Judge implements agree.Handler.
func (h keyProposals) Judge(_ context.Context, _ agree.Digest, p *agree.Proposal, _ func(agree.Verdict, string)) agree.Answer {
	refuse := func(code string, err error) agree.Answer {
		return agree.Answer{Verdict: agree.Refuse, Code: code, Reason: err.Error()}
	}
	k := &h.n.keys
	wants, err := h.wantsOf(p)
	if err != nil {
		return refuse("form", err)
	}
	if len(p.Members) != h.n.groups.mpc().N() {
		return refuse("members", errors.New("key generation needs all operators"))
	}
	if answer := k.judge(p.Proposer, wants); answer.Verdict != agree.Accept {
		return answer
	}
	// What was made before is gone before the answer is given.
	if err := k.giveUp(wants); err != nil {
		return refuse("made", err)
	}
	return agree.Answer{Verdict: agree.Accept}
}

// judge answers for all keys; one that cannot be accepted is named.
func (k *keyring) judge(proposer mpc.PartyID, wants []want) agree.Answer {
	k.mu.Lock()
	defer k.mu.Unlock()
	answer := agree.Answer{Verdict: agree.Accept}
	var first *asking // of what can be accepted
	for i, w := range wants {
		verdict, code, reason := k.judgeOne(proposer, first, w)
		if verdict == agree.Accept {
			first = cmp.Or(first, w.asking)
			continue
		}
		if answer.Verdict == agree.Accept {
			answer = agree.Answer{Verdict: verdict, Code: code, Reason: reason}
		}
		if len(wants) > 1 {
			answer.Records = append(answer.Records, refusedRecord(i, w, reason))
		}
	}
	return answer
}

// judgeOne answers for one key, beside first in one session, which may be nil.
func (k *keyring) judgeOne(proposer mpc.PartyID, first *asking, w want) (v agree.Verdict, code, reason string) {
	chosen := leader(w.Digest, k.n.groups.mpc())
	e := w.keys[w.role]
	switch {
	case !w.own:
		return agree.Refuse, "not-asked", "this operator has not asked for keys of this request"
	case !slices.Contains(w.Roles, w.role):
		return agree.Refuse, "not-asked", fmt.Sprintf("this operator has not asked for a %.10s of %s", w.role, w.Zone)
	case first != nil && (w.Engine != first.Engine || w.imports() != first.imports()):
		return agree.Refuse, "engine", "keys of two engines, or generated and imported ones, are not made in one session"
	case k.outdated(w.asking):
		return agree.Refuse, "group", "this key was dealt for another group than the one that is in force"
	case chosen != proposer:
		return agree.Refuse, "leader", fmt.Sprintf("this key is for operator %s to propose", chosen)
	case w.running != "":
		return agree.Superseded, "busy", "a key of this request is being generated"
	case w.done && !w.inUse():
		return agree.Refuse, "made", "the keys that were asked for again are in use instead"
	case e != nil && !k.dead(e):
		return agree.Refuse, "made", "a key was made for this already, and waits for all to confirm it"
	}
	return agree.Accept, "", ""
}

// Run implements agree.Handler.
func (h keyProposals) Run(ctx context.Context, a *agree.Agreed) {
	wants, err := h.wantsOf(a.Proposal)
	if err == nil {
		err = h.n.keys.session(ctx, a, wants)
	}
	if err != nil && ctx.Err() == nil {
		for _, w := range wants {
			h.n.keys.postpone(w, err.Error())
		}
		h.n.log.Warn("keys not generated", "keys", len(wants), "subject", a.Proposal.Subject, "err", err)
	}
}

// Abandon implements agree.Handler: an acceptance reserves nothing.
func (keyProposals) Abandon(agree.Digest, *agree.Proposal, error) {}

// Answered implements agree.Handler.
func (keyProposals) Answered(*agree.Proposal, mpc.PartyID, *agree.Answer) {}
