package node

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"slices"

	"zonesigner/dnssec"
	"zonesigner/keystore"
	"zonesigner/zonesignerd/config"
	"zonesigner/zonesignerd/internal/agree"
	"zonesigner/zonesignerd/internal/api"
	"zonesigner/zonesignerd/internal/keyfile"
	"zonesigner/zonesignerd/internal/sharefile"
	"zonesigner/zonesignerd/internal/shell"
)

// A key that its owner brings in is dealt, on the owner's machine, to a file
// for each operator, and imported by a request like that for a new key: it
// starts when all operators have asked for the same dealing, and ends in a
// session among all of them. What follows (held, all, in use) is the same. The
// argument is in docs/protocol.md, section 7a.

// bucketDealt holds the files of requests that are not done, as they were
// given, by request and role.
const bucketDealt = "dealt"

func fileKey(request agree.Digest, role string) string {
	return hex.EncodeToString(request[:]) + "/" + role
}

// deleteFiles removes the shares that requests brought in. They are wiped with
// the next Wipe.
func deleteFiles(t *keystore.Tx, list ...*asking) error {
	for _, a := range list {
		if !a.imports() {
			continue
		}
		for _, role := range a.Roles {
			if err := t.Delete(bucketDealt, fileKey(a.Digest, role)); err != nil {
				return err
			}
		}
	}
	return nil
}

// DealtFile is an operator's file of a key that is brought in.
type DealtFile struct {
	Operator, Name string
	Content        []byte // sealed
}

// Deal splits a private key among the operators of a group, and returns a file
// for each and the key as the zone has it. zone ends with a dot.
func Deal(group *config.Group, zone, role, engine string, key *keyfile.Key) ([]DealtFile, *dnssec.Key, error) {
	if err := group.CheckEngine(engine); err != nil {
		return nil, nil, api.Errorf(api.CodeUsage, "%v", err)
	}
	public, shares, err := keyEngines()[engine].deal(group.MPC(), key)
	if err != nil {
		return nil, nil, api.Errorf(api.CodeUsage, "%w", err)
	}
	defer func() {
		for _, share := range shares {
			clear(share)
		}
	}()
	d := &sharefile.Dealing{Group: group.Name, Epoch: uint64(group.Epoch), GroupDigest: group.Digest(),
		Zone: zone, Role: role, Engine: engine, Public: key.Public, Shares: public}
	record := dnssecKey(keystore.KeyRecord{ID: "dealt", Zone: zone, Role: role, Engine: engine, Public: key.Public, State: keystore.Active})
	var files []DealtFile
	for i, o := range group.Operators {
		to, err := config.PublicKey(o.NKey)
		if err != nil {
			return nil, nil, fmt.Errorf("operator %s: %w", o.Name, err)
		}
		content, err := sharefile.Seal(d, o.Name, to, shares[i], rand.Reader)
		if err != nil {
			return nil, nil, err
		}
		files = append(files, DealtFile{o.Name, sharefile.Name(zone, record.Algorithm, record.KeyTag(), o.Name), content})
	}
	return files, &record, nil
}

// mostFiles bounds the keys of one import: one of each role.
const mostFiles = 3

// ImportKeys implements api.Backend.
func (n *Node) ImportKeys(_ context.Context, i api.ImportKeys) (*api.Request, error) {
	if len(i.Files) < 1 || len(i.Files) > mostFiles {
		return nil, api.Errorf(api.CodeUsage, "%d files, want 1 to %d: those of one zone's keys", len(i.Files), mostFiles)
	}
	identity, err := config.ReadIdentity(n.cfg.Identity)
	if err != nil {
		return nil, err
	}
	defer clear(identity)
	type brought struct {
		*sharefile.Dealing
		content []byte
	}
	var list []brought
	for _, f := range i.Files {
		d, err := n.checkFile(f.Content, identity)
		if err != nil {
			e := *api.AsError(err)
			e.Message = f.File + ": " + e.Message
			return nil, &e
		}
		list = append(list, brought{d, f.Content})
	}
	slices.SortFunc(list, func(a, b brought) int { return cmp.Compare(a.Role, b.Role) })
	a := ask{Zone: list[0].Zone, Engine: list[0].Engine, Group: list[0].GroupDigest}
	var files [][]byte
	for _, d := range list {
		switch {
		case d.Zone != a.Zone || d.Engine != a.Engine:
			return nil, api.Errorf(api.CodeUsage, "files of zones %s and %s, or of engines %s and %s: import them one after the other", a.Zone, d.Zone, a.Engine, d.Engine)
		case slices.Contains(a.Roles, d.Role):
			return nil, api.Errorf(api.CodeUsage, "two files of a %s of %s", d.Role, d.Zone)
		}
		a.Roles = append(a.Roles, d.Role)
		a.Dealt = append(a.Dealt, dealt{d.Digest(), d.Public})
		files = append(files, d.content)
	}
	z := n.zone(a.Zone)
	if z == nil { // it was removed meanwhile
		return nil, notFound(a.Zone)
	}
	if err := n.goesWith(a.Engine, z); err != nil {
		return nil, err
	}
	e, err := n.keys.make(a, files)
	if err != nil {
		return nil, err
	}
	return n.keys.requestOf(e), nil
}

// checkFile reads the file of a dealt key, and checks that it is for this
// operator and that its share is right.
func (n *Node) checkFile(content []byte, identity ed25519.PrivateKey) (*sharefile.Dealing, error) {
	usage := func(format string, args ...any) error { return api.Errorf(api.CodeUsage, format, args...) }
	f, err := sharefile.Parse(content)
	if err != nil {
		return nil, usage("%w", err)
	}
	group := n.groups.file()
	switch e := n.engines[f.Engine]; {
	case f.Operator != string(n.self):
		return nil, usage("it is operator %s's, this is operator %s", f.Operator, n.self)
	case f.GroupDigest != group.Digest():
		return nil, usage("the key was dealt for epoch %d of group %s, with fingerprint %s; in force is epoch %d of group %s, %s",
			f.Epoch, f.Group, config.Fingerprint(f.GroupDigest), group.Epoch, group.Name, config.Fingerprint(group.Digest()))
	case n.zone(f.Zone) == nil:
		return nil, notFound(f.Zone)
	case !slices.Contains([]string{roleKSK, roleZSK, roleCSK}, f.Role):
		return nil, usage("unknown role %q, expected KSK, ZSK or CSK", f.Role)
	case e == nil:
		return nil, usage("unknown engine %q", f.Engine)
	}
	share, err := f.Open(identity)
	if err != nil {
		return nil, usage("%w", err)
	}
	defer clear(share)
	if n.opt.unread {
		return &f.Dealing, nil
	}
	if err := n.engines[f.Engine].checkDealt(group.MPC(), n.self, &f.Dealing, share); err != nil {
		return nil, &api.Error{Code: api.CodeVerification, Message: err.Error(), Hint: "whoever dealt the key has to do so again"}
	}
	return &f.Dealing, nil
}

// openFiles opens the shares of keys that are to be imported, which are the
// caller's to erase.
func (k *keyring) openFiles(wants []want) (shares []dealtShare, err error) {
	identity, err := config.ReadIdentity(k.n.cfg.Identity)
	if err != nil {
		return nil, err
	}
	defer clear(identity)
	defer func() {
		if err != nil {
			eraseShares(shares)
			shares = nil
		}
	}()
	for _, w := range wants {
		content, err := k.n.store.Get(bucketDealt, fileKey(w.Digest, w.role))
		if err != nil {
			return shares, err
		}
		f, err := sharefile.Parse(content)
		if err != nil {
			return shares, err
		}
		share, err := f.Open(identity)
		if err != nil {
			return shares, err
		}
		shares = append(shares, dealtShare{&f.Dealing, share})
	}
	return shares, nil
}

func eraseShares(shares []dealtShare) {
	for _, s := range shares {
		clear(s.share)
	}
}

// replaced finds this operator's requests for other dealings of the keys that a
// brings in, of which nothing has come: they are withdrawn for a. It is an
// error if the zone has one of the keys, or if something has come of such a
// request. k.mu is held.
func (k *keyring) replaced(a *ask) (list []*asking, err error) {
	family := a.words()
	for i, d := range a.Dealt {
		tag := dnssecKey(keystore.KeyRecord{Role: a.Roles[i], Engine: a.Engine, Public: d.Public}).KeyTag()
		for _, e := range k.byZone[a.Zone] {
			made := k.asks[e.ask]
			if bytes.Equal(e.Public, d.Public) && e.State != keystore.Removed && (made == nil || made.family != family) {
				return nil, api.Errorf(api.CodeFailure, "the DNSKEY of key %d is there already: %s %s of %s", tag, e.Role, e.ID, e.Zone)
			}
		}
		for _, r := range k.open {
			same := slices.ContainsFunc(r.Dealt, func(o dealt) bool { return bytes.Equal(o.Public, d.Public) })
			if !same || r.Zone != a.Zone || r.family == family || slices.Contains(list, r) {
				continue
			}
			if len(r.keys) > 0 || r.running != "" {
				return nil, api.Errorf(api.CodeFailure, "key %d is being imported from another dealing", tag)
			}
			list = append(list, r)
		}
	}
	return list, nil
}

// withdraw takes back a request of this operator's, of which nothing is here;
// k.mu is held.
func (k *keyring) withdraw(a *asking) {
	a.own = false
	delete(k.open, a.Digest)
	delete(k.news, a.Digest)
	delete(k.lead, a.Digest)
	k.forget(a.Digest, k.n.self)
}

// outdated reports whether a request brings in keys that were dealt for a group
// that is not in force.
func (k *keyring) outdated(a *asking) bool {
	return a.imports() && a.Group != k.n.groups.mpc().Digest
}

// importCommand is what the operators named have to type.
func (a *ask) importCommand(who []string) string {
	operator := "OPERATOR"
	if len(who) == 1 {
		operator = who[0]
	}
	var files []string
	for i, d := range a.Dealt {
		key := dnssecKey(keystore.KeyRecord{Role: a.Roles[i], Engine: a.Engine, Public: d.Public})
		files = append(files, sharefile.Name(a.Zone, key.Algorithm, key.KeyTag(), operator))
	}
	return shell.Command("zonesignerd keys import", files)
}
