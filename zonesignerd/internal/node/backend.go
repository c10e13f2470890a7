package node

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"zonesigner/knot"
	"zonesigner/mpc"
	"zonesigner/zonesignerd/internal/agree"
	"zonesigner/zonesignerd/internal/api"
	"zonesigner/zonesignerd/internal/pipeline"
	"zonesigner/zonesignerd/internal/shell"
)

var _ api.Backend = (*Node)(nil)

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

// SignNow implements api.Backend.
func (n *Node) SignNow(_ context.Context, s api.SignNow) (*api.Request, error) {
	z := n.zone(dotted(s.Zone))
	if z == nil {
		return nil, notFound(s.Zone)
	}
	if len(n.keys.zone(z.Name())) == 0 {
		return nil, &api.Error{Code: api.CodeFailure, Message: "zone " + z.Name() + " has no keys", Hint: "ask for them at every operator with `" + shell.Command("zonesignerd keys generate", []string{z.Name()}) + "`"}
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
