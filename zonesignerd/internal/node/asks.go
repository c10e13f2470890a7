package node

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"zonesigner/dnssec"
	"zonesigner/keystore"
	"zonesigner/mpc"
	"zonesigner/zonesignerd/internal/agree"
	"zonesigner/zonesignerd/internal/api"
	"zonesigner/zonesignerd/internal/shell"
)

const typeAsk agree.Type = "ask"

// ask is an operator's own request for keys of a zone. A key event starts
// when all operators have asked for the same; its digest is the request.
type ask struct {
	Zone   string   `json:"zone"`
	Roles  []string `json:"roles"`
	Engine string   `json:"engine"`
	Have   []string `json:"have"` // ids of the zone's keys when it was asked: the same words later are another request
	// Again tells requests of the same words apart: one counts how often it
	// was asked anew because keys of the one before were blocked (see hold).
	Again  int          `json:"again,omitempty"`
	Since  int64        `json:"since,omitempty"`
	Digest agree.Digest `json:"digest"`
	// Dealt is what the owner of the keys has dealt, one for each role, to the
	// group of that digest; nil: keys are generated.
	Dealt []dealt      `json:"dealt,omitempty"`
	Group agree.Digest `json:"group,omitzero"`
}

// dealt names the dealing of a key that is to be brought in.
type dealt struct {
	Dealing agree.Digest `json:"dealing"` // sharefile.Dealing.Digest
	Public  []byte       `json:"public"`  // as in a DNSKEY
}

// imports reports whether keys are brought in, and not generated.
func (a *ask) imports() bool { return len(a.Dealt) > 0 }

// what is said of making the request's keys.
func (a *ask) making() string {
	if a.imports() {
		return "importing"
	}
	return "generating"
}

func (a *ask) digest() agree.Digest {
	text := a.text()
	if a.Again > 0 {
		text += fmt.Sprintf("again %d\n", a.Again)
	}
	return sha256.Sum256([]byte(text))
}

// words is what a request has in common with its rivals: those that differ in
// Again alone.
func (a *ask) words() agree.Digest { return sha256.Sum256([]byte(a.text())) }

func (a *ask) text() string {
	text := fmt.Sprintf("zonesigner keys\n%s\n%s\n%s\n%s\n", a.Zone, strings.Join(a.Roles, " "), a.Engine, strings.Join(a.Have, " "))
	if a.imports() {
		text += fmt.Sprintf("group %s\n", a.Group)
	}
	for _, d := range a.Dealt {
		text += fmt.Sprintf("dealt %s %x\n", d.Dealing, d.Public)
	}
	return text
}

// command is what the operators named have to type for this request.
func (a *ask) command(who []string) string {
	if a.imports() {
		return a.importCommand(who)
	}
	var flags []string
	for _, role := range a.Roles {
		flags = append(flags, "--"+strings.ToLower(role))
	}
	flags = append(flags, "--engine "+shell.Word(a.Engine))
	return shell.Command("zonesignerd keys generate", []string{cmp.Or(strings.TrimSuffix(a.Zone, "."), ".")}, flags...)
}

// check refuses a peer's request that is not worth keeping, or whose digest
// could be that of other words.
func (a *ask) check() error {
	size := 0
	for _, s := range slices.Concat([]string{a.Zone, a.Engine}, a.Roles, a.Have) {
		if size += len(s); strings.ContainsAny(s, " \n") {
			return fmt.Errorf("request has a field with a space: %.40q", s)
		}
	}
	name, err := dnssec.ParseName(a.Zone)
	switch {
	case size > 4096 || len(a.Roles) > 3:
		return fmt.Errorf("request is too long")
	case err != nil || name.String() != a.Zone:
		return fmt.Errorf("request names no zone: %.40q", a.Zone)
	case slices.ContainsFunc(a.Roles, func(r string) bool { return r != roleKSK && r != roleZSK && r != roleCSK }):
		return fmt.Errorf("request names no roles of keys: %.40q", a.Roles)
	case slices.ContainsFunc(a.Have, func(id string) bool { return strings.Trim(id, "0123456789abcdef") != "" }):
		return fmt.Errorf("request names no ids of keys: %.40q", a.Have)
	case a.imports() && len(a.Dealt) != len(a.Roles) || slices.ContainsFunc(a.Dealt, func(d dealt) bool { return len(d.Public) > 64 }):
		return fmt.Errorf("request brings in %d keys for %d roles, or a key that is too long", len(a.Dealt), len(a.Roles))
	case a.Again < 0:
		return fmt.Errorf("request was asked again %d times", a.Again)
	case a.digest() != a.Digest:
		return fmt.Errorf("request does not have its own digest")
	}
	return nil
}

// asks is one message: requests that the sender made.
type asks struct {
	Asks []ask `json:"asks"`
}

// asking is what is known here of one request.
type asking struct {
	ask
	family  agree.Digest // ask.words
	own     bool         // this operator asked for it, durably
	by      map[mpc.PartyID]bool
	keys    map[string]*key // that it made, by role: one at most
	given   map[string]*key // by role, the last that was given up: what was heard of it is evidence
	done    bool            // nothing more will come of it: its keys are in use, or a rival's
	running string          // what happens now
	failed  string          // why not
	retryAt time.Time
}

// What one peer's requests can make us remember: so many for a zone, the
// newest, and so many zones that are not (yet) here. Requests are said again.
const (
	mostAsks     = 8
	mostNewZones = 256
)

// mostSaid bounds how many requests or keys one message speaks of.
const mostSaid = 256

// openAsks enters this operator's requests, at the start.
func (k *keyring) openAsks() error {
	entries, err := k.n.store.List(bucketAsks, "")
	if err != nil {
		return err
	}
	for _, e := range entries {
		var a ask
		if err := json.Unmarshal(e.Value, &a); err != nil {
			return fmt.Errorf("request %s: %w", e.Key, err)
		}
		k.enter(a, true)
	}
	return nil
}

// enter finds a request or makes it; k.mu is held, but at the start.
func (k *keyring) enter(a ask, own bool) *asking {
	e := k.asks[a.Digest]
	if e == nil {
		e = &asking{ask: a, family: a.words(), by: map[mpc.PartyID]bool{}, keys: map[string]*key{}, given: map[string]*key{}}
		k.asks[a.Digest] = e
		k.rivals[e.family] = append(k.rivals[e.family], e)
	}
	if own {
		e.ask, e.own, e.by[k.n.self] = a, true, true
	}
	return e
}

// reopen works out whether a request of this operator's is open; k.mu is held,
// but at the start.
func (k *keyring) reopen(a *asking) {
	if !a.own {
		return
	}
	a.done = a.inUse() || k.rivalInUse(a)
	if !a.done {
		k.open[a.Digest], k.news[a.Digest] = a, a
	}
}

// inUse reports whether the request's keys are in use.
func (a *asking) inUse() bool {
	return !slices.ContainsFunc(a.Roles, func(role string) bool { return a.keys[role] == nil || a.keys[role].pending() })
}

// request makes this operator's request, or finds the same one. One that
// cannot come to an end, or that a peer has asked for anew, is asked for once
// more.
func (k *keyring) request(zone string, roles []string, engine string) (*asking, error) {
	a := ask{Zone: zone, Roles: roles, Engine: engine}
	for _, key := range k.of(zone) {
		a.Have = append(a.Have, key.ID)
	}
	return k.make(a, nil)
}

// make makes a request; files are those of the keys that it brings in.
func (k *keyring) make(a ask, files [][]byte) (*asking, error) {
	a.Since = k.n.opt.Now().Unix()
	e, fresh, err := k.keepRequest(a, files)
	if err != nil || !fresh {
		return e, err
	}
	k.sayAsks([]ask{e.ask})
	k.wake()
	return e, nil
}

// keepRequest makes a request of these words durable, and finds out which of
// its rivals it is.
func (k *keyring) keepRequest(a ask, files [][]byte) (e *asking, fresh bool, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	replaced, err := k.replaced(&a)
	if err != nil {
		return nil, false, err
	}
	var last *asking
	for _, r := range k.rivals[a.words()] {
		if r.own && (last == nil || r.Again > last.Again) {
			last = r
		}
	}
	if last != nil {
		a.Again = last.Again + 1
		wanted := slices.ContainsFunc(k.rivals[a.words()], func(r *asking) bool { return r.Again == a.Again })
		if !wanted && k.whyBlocked(last) == "" {
			return last, false, nil
		}
	}
	a.Digest = a.digest()
	text, err := json.Marshal(a)
	if err != nil {
		return nil, false, err
	}
	err = k.n.store.Update(func(t *keystore.Tx) error {
		for _, r := range replaced {
			if err := errors.Join(t.Delete(bucketAsks, hex.EncodeToString(r.Digest[:])), deleteFiles(t, r)); err != nil {
				return err
			}
		}
		for i, file := range files {
			if err := t.Put(bucketDealt, fileKey(a.Digest, a.Roles[i]), file); err != nil {
				return err
			}
		}
		return t.Put(bucketAsks, hex.EncodeToString(a.Digest[:]), text)
	})
	if err != nil {
		return nil, false, err
	}
	for _, r := range replaced {
		k.withdraw(r)
	}
	e = k.enter(a, true)
	k.reopen(e)
	k.touch(e) // and last, which is no longer for us to propose
	return e, true, nil
}

// hello repeats to a peer what it may have missed.
func (k *keyring) hello(peer mpc.PartyID) {
	k.mu.Lock()
	var list []ask
	var mades []made
	for _, a := range k.open {
		list = append(list, a.ask)
		for _, e := range a.keys {
			mades = append(mades, k.made(e, true))
		}
	}
	k.mu.Unlock()
	k.sayAsks(list, peer)
	k.sayMades(mades, peer)
	k.wake()
}

func (k *keyring) sayAsks(list []ask, to ...mpc.PartyID) {
	for part := range slices.Chunk(list, mostSaid) {
		_, _ = k.n.say(typeAsk, asks{part}, to...)
	}
}

// askAgainAfter is how often open requests are said again: they are said when
// they are made and to whoever comes, so that little is lost.
const askAgainAfter = time.Minute

// repeatAsks says the open requests again from time to time.
func (k *keyring) repeatAsks() {
	k.mu.Lock()
	var list []ask
	if now := k.n.opt.Now(); now.Sub(k.repeated) > askAgainAfter {
		k.repeated = now
		for _, a := range k.open {
			list = append(list, a.ask)
		}
	}
	k.mu.Unlock()
	k.sayAsks(list)
}

func (k *keyring) receiveAsks(m *agree.Message) error {
	var list asks
	if err := m.Decode(&list); err != nil {
		return err
	}
	if len(list.Asks) > mostSaid {
		return fmt.Errorf("operator %s asks %d times in one message, at most %d are read", m.From, len(list.Asks), mostSaid)
	}
	var again []ask
	for _, a := range list.Asks {
		if err := a.check(); err != nil {
			return fmt.Errorf("operator %s: %w", m.From, err)
		}
		if k.n.engines[a.Engine] == nil {
			return fmt.Errorf("operator %s asks for keys of engine %.40q, which is not known here", m.From, a.Engine)
		}
		a.Since = k.n.opt.Now().Unix() // here; a peer's clock, or word, is its own
		done, err := k.receiveAsk(m.From, a)
		if err != nil {
			return fmt.Errorf("operator %s: %w", m.From, err)
		}
		if done {
			again = append(again, a)
		}
	}
	k.sayAsks(again, m.From)
	k.wake()
	return nil
}

// receiveAsk takes a peer's request. done tells that this operator made the
// same and says no more of it by itself.
func (k *keyring) receiveAsk(from mpc.PartyID, a ask) (done bool, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	e := k.asks[a.Digest]
	done = e != nil && e.done
	if e != nil && e.by[from] {
		return done, nil
	}
	byZone := k.asksOf[from]
	if byZone == nil {
		byZone = map[string][]agree.Digest{}
		k.asksOf[from] = byZone
	}
	if byZone[a.Zone] == nil && k.n.zone(a.Zone) == nil {
		strange := 0
		for zone := range byZone {
			if k.n.zone(zone) == nil {
				strange++
			}
		}
		if strange >= mostNewZones {
			return false, fmt.Errorf("it asks for keys of more than %d zones that are not here", mostNewZones)
		}
	}
	list := append(byZone[a.Zone], a.Digest)
	if len(list) > mostAsks {
		k.forget(list[0], from)
		list = list[1:]
	}
	byZone[a.Zone] = list
	e = k.enter(a, false)
	e.by[from] = true
	if e.own {
		k.touch(e)
	} else {
		k.n.log.Info("operator asks for keys", "peer", from, "zone", a.Zone, "roles", a.Roles, "engine", a.Engine)
	}
	return done, nil
}

// forget takes a peer's request back; k.mu is held.
func (k *keyring) forget(d agree.Digest, from mpc.PartyID) {
	e := k.asks[d]
	if delete(e.by, from); len(e.by) > 0 {
		return
	}
	delete(k.asks, d)
	k.rivals[e.family] = slices.DeleteFunc(k.rivals[e.family], func(o *asking) bool { return o == e })
	if len(k.rivals[e.family]) == 0 {
		delete(k.rivals, e.family)
	}
}

// asked finds a request of this operator's.
func (k *keyring) asked(d agree.Digest) *asking {
	k.mu.Lock()
	defer k.mu.Unlock()
	if a := k.asks[d]; a != nil && a.own {
		return a
	}
	return nil
}

// requests lists the requests for keys that are not done, by zone, or that of
// one zone: this operator's own, and what others asked for and this one did
// not. Of several for a zone it is one: see before.
func (k *keyring) requests(zone string) map[string]*api.Request {
	k.mu.Lock()
	defer k.mu.Unlock()
	newest := map[string]*asking{}
	for _, a := range k.asks {
		if a.done || zone != "" && a.Zone != zone {
			continue
		}
		if old := newest[a.Zone]; old == nil || a.before(old) {
			newest[a.Zone] = a
		}
	}
	out := map[string]*api.Request{}
	for zone, a := range newest {
		out[zone] = k.requestView(a)
	}
	return out
}

// before reports whether a is to be shown rather than b: what is asked for
// again, or else this operator's own, or else the newer.
func (a *asking) before(b *asking) bool {
	switch {
	case a.family == b.family:
		return a.Again > b.Again
	case a.own != b.own:
		return a.own
	}
	return a.Since > b.Since
}

// requestOf is a request as the commands show it.
func (k *keyring) requestOf(a *asking) *api.Request {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.requestView(a)
}

// requestView is requestOf; k.mu is held.
func (k *keyring) requestView(a *asking) *api.Request {
	kind := api.KindKeysGenerate
	if a.imports() {
		kind = api.KindKeysImport
	}
	r := &api.Request{Digest: hex.EncodeToString(a.Digest[:]), Kind: kind, Subject: a.Zone, State: api.RequestWaiting,
		Since: time.Unix(a.Since, 0).UTC(), Progress: a.running}
	if a.done {
		return k.doneView(a, r)
	}
	for _, id := range k.n.groups.mpc().Parties {
		if a.by[id] {
			r.Asked = append(r.Asked, string(id))
		} else {
			r.WaitsFor = append(r.WaitsFor, string(id))
		}
	}
	if k.outdated(a) {
		r.State, r.WaitsFor = api.RequestFailed, nil
		r.Error = api.Errorf(api.CodeFailure, "the key was dealt for another group than the one that is in force: its owner has to deal it again")
		return r
	}
	if len(r.WaitsFor) > 0 {
		r.Command = a.command(r.WaitsFor)
		return r
	}
	if why := k.whyBlocked(a); why != "" {
		// All have to ask again, this operator too.
		r.Asked, r.WaitsFor = nil, r.Asked
		r.Command, r.Progress = a.command(r.WaitsFor), why
		return r
	}
	r.State = api.RequestRunning
	if a.failed != "" && r.Progress == "" {
		r.Progress = "trying again: " + a.failed
	}
	return r
}

func (k *keyring) doneView(a *asking, r *api.Request) *api.Request {
	r.Progress = ""
	for _, id := range k.n.groups.mpc().Parties {
		r.Asked = append(r.Asked, string(id))
	}
	if !a.inUse() {
		r.State = api.RequestFailed
		r.Error = api.Errorf(api.CodeFailure, "the keys that were asked for again are in use instead")
		return r
	}
	r.State = api.RequestDone
	for _, role := range a.Roles {
		r.Keys = append(r.Keys, k.view(a.keys[role].KeyRecord))
	}
	return r
}
