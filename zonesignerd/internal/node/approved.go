package node

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"zonesigner/dnssec"
	"zonesigner/keystore"
	"zonesigner/knot"
	"zonesigner/zonesignerd/internal/agree"
	"zonesigner/zonesignerd/internal/api"
	"zonesigner/zonesignerd/internal/pipeline"
	"zonesigner/zonesignerd/internal/shell"
)

// A source of type approved is the file that this operator's people approved
// last. All else is as with other sources: operators compare contents, and one
// that was not approved here is not this operator's. An approval is for one
// content. It is void once another content is signed: else a member could come
// back with a content that nobody wants any more, when all it takes beside
// itself are operators that approved it one day (docs/agreement.md).

// bucketApproved holds the approval of each zone.
const bucketApproved = "approved"

// approval is one operator's word that a content may be signed.
type approval struct {
	Content agree.Digest `json:"content"`
	Serial  uint32       `json:"serial"`
	Name    string       `json:"name"` // of the file, as people know it
	File    string       `json:"file"` // in approvedDir
	At      time.Time    `json:"at"`
	// The content that was signed last when it was given, and its serial at
	// the source; zero: none was.
	Head       agree.Digest `json:"head,omitzero"`
	HeadSource uint32       `json:"head_source,omitempty"`
}

// stands reports why a content may not be signed after head, which may be nil.
// Of a nil approval none may.
func (a *approval) stands(content agree.Digest, head *pipeline.Signed) error {
	var last agree.Digest
	var source uint32
	if head != nil {
		last, source = head.Content, head.Source
	}
	switch {
	case a == nil:
		return noContent("nothing is approved here: run `zonesignerd zones approve FILE`")
	case a.Content != content:
		return noContent("the file that was approved is damaged here: run `zonesignerd zones approve FILE` again")
	case last == content, last == a.Head && source == a.HeadSource:
		return nil
	}
	return noContent("serial %d was approved here and another content was signed: look at it, and run `zonesignerd zones approve FILE` for what it is, or is to be", a.Serial)
}

func noContent(format string, args ...any) error {
	return &noContentError{fmt.Sprintf(format, args...)}
}

// noContentError is a pipeline.ErrNoContent in words of its own.
type noContentError struct{ words string }

func (e *noContentError) Error() string { return e.words }
func (e *noContentError) Unwrap() error { return pipeline.ErrNoContent }

// standsIn is pipeline.Deps.Stands of a zone.
func (n *Node) standsIn(zone string) func(agree.Digest, *pipeline.Signed) error {
	return func(content agree.Digest, head *pipeline.Signed) error {
		return n.approved.of(zone).stands(content, head)
	}
}

// approvals are those of all zones.
type approvals struct {
	mu   sync.Mutex
	list map[string]*approval
}

func (a *approvals) of(zone string) *approval {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.list[zone]
}

func (a *approvals) set(zone string, next *approval) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.list == nil {
		a.list = map[string]*approval{}
	}
	if next == nil {
		delete(a.list, zone)
	} else {
		a.list[zone] = next
	}
}

// load takes up what the store holds for a zone.
func (a *approvals) load(s *keystore.Store, zone string) error {
	text, err := s.Get(bucketApproved, zone)
	if errors.Is(err, keystore.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	next := new(approval)
	if err := json.Unmarshal(text, next); err != nil {
		return fmt.Errorf("approval for zone %s: %w", zone, err)
	}
	a.set(zone, next)
	return nil
}

// approvedSource is a knot.Source.
type approvedSource struct {
	n    *Node
	zone string
}

func (s *approvedSource) Poll(context.Context) (knot.Version, error) {
	a := s.n.approved.of(s.zone)
	if a == nil {
		return knot.Version{}, nil
	}
	return a.version(), nil
}

func (a *approval) version() knot.Version {
	return knot.Version{Serial: a.Serial, Token: fmt.Sprint(a.File, " ", a.At.UnixNano())}
}

// Read brings the file that is approved. Includes were resolved by who sent it;
// without a name of its own it can have none.
func (s *approvedSource) Read(context.Context) (*knot.Content, error) {
	a := s.n.approved.of(s.zone)
	if a == nil {
		return nil, a.stands(agree.Digest{}, nil)
	}
	f, err := os.Open(filepath.Join(s.n.approvedDir(), a.File))
	if errors.Is(err, fs.ErrNotExist) { // a backup does not hold it
		return nil, noContent("the file that was approved is not here any more: run `zonesignerd zones approve FILE` again")
	}
	if err != nil {
		return nil, err
	}
	return &knot.Content{Version: a.version(), Text: f}, nil
}

func (s *approvedSource) Changed() <-chan struct{} { return nil }
func (s *approvedSource) Close() error             { return nil }

func (n *Node) approvedDir() string { return filepath.Join(n.cfg.State, "approved") }

// ApproveZone implements api.Backend.
func (n *Node) ApproveZone(ctx context.Context, a api.ApproveZone) (*api.Request, error) {
	zone := dotted(a.Zone)
	if err := n.canApprove(zone); err != nil {
		return nil, err
	}
	if err := os.Mkdir(n.approvedDir(), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	at := n.opt.Now().UTC()
	file := fmt.Sprintf("%s.%d.v1.zone", pipeline.FileName(zone), at.UnixNano())
	path := filepath.Join(n.approvedDir(), file)
	if err := pipeline.WriteDurably(path, func(w io.Writer) error {
		_, err := io.Copy(w, a.Text)
		return err
	}); err != nil {
		return nil, err
	}
	content, err := n.parseApproved(ctx, zone, path)
	var given *approval
	if err == nil {
		given = &approval{Content: content.ContentDigest(), Serial: content.Serial(), Name: a.File, File: file, At: at}
		err = n.approve(zone, given)
	}
	if err != nil {
		return nil, errors.Join(err, os.Remove(path))
	}
	return n.requests.add(given.request(zone), func() *api.Request { return n.approvalRequest(zone, given) }), nil
}

// canApprove reports a zone that takes no approvals.
func (n *Node) canApprove(zone string) error {
	z := n.zone(zone)
	if z == nil {
		return notFound(zone)
	}
	if z.opened.Source.Type != "approved" {
		return &api.Error{Code: api.CodeUsage, Message: fmt.Sprintf("%s takes its content from %s: what is there is signed, and nothing is to be approved", zone, n.sourceWords(z.opened)),
			Hint: "for a zone that people sign file by file, set source.type: approved in its policy"}
	}
	return nil
}

// parseApproved reads a zone file, within what limits the reading of zones.
func (n *Node) parseApproved(ctx context.Context, zone, path string) (*dnssec.Zone, error) {
	release, err := take(ctx, n.heavy)
	if err != nil {
		return nil, err
	}
	defer release()
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := dnssec.ParseZone(f, zone, "")
	if err != nil {
		return nil, api.Errorf(api.CodeUsage, "%w", err)
	}
	return content, nil
}

// approve makes an approval durable, in place of the last one, whose file goes.
func (n *Node) approve(zone string, a *approval) error {
	n.changes.Lock()
	defer n.changes.Unlock()
	if err := n.canApprove(zone); err != nil { // it may have changed meanwhile
		return err
	}
	z, old := n.zone(zone), n.approved.of(zone)
	if head := z.Certified(); head != nil {
		a.Head, a.HeadSource = head.Content, head.Source
	}
	text, err := json.Marshal(a)
	if err != nil {
		return err
	}
	if err := n.store.Put(bucketApproved, zone, text); err != nil {
		return err
	}
	n.approved.set(zone, a)
	n.log.Info("content approved", "zone", zone, "serial", a.Serial, "content", a.Content, "file", a.Name)
	z.Reconsider(a.Content)
	if err := n.removeApproved(old); err != nil { // the approval holds; the next start sweeps
		n.log.Warn("a file that was approved before is left", "zone", zone, "err", err)
	}
	return nil
}

// sweepApproved removes files that no approval names, as a crash leaves them.
// One that cannot be removed does no harm.
func (n *Node) sweepApproved() error {
	files, err := os.ReadDir(n.approvedDir())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	entries, err := n.store.List(bucketApproved, "")
	if err != nil {
		return err
	}
	named := map[string]bool{}
	for _, e := range entries {
		var a approval
		if err := json.Unmarshal(e.Value, &a); err != nil {
			return fmt.Errorf("approval for zone %s: %w", e.Key, err)
		}
		named[a.File] = true
	}
	for _, f := range files {
		if named[f.Name()] {
			continue
		}
		if err := os.Remove(filepath.Join(n.approvedDir(), f.Name())); err != nil {
			n.log.Warn("a file that was approved before is left", "err", err)
		}
	}
	return nil
}

// disapprove forgets the approval of a zone that is removed.
func (n *Node) disapprove(zone string) error {
	old := n.approved.of(zone)
	n.approved.set(zone, nil)
	return errors.Join(n.store.Delete(bucketApproved, zone), n.removeApproved(old))
}

func (n *Node) removeApproved(a *approval) error {
	if a == nil {
		return nil
	}
	if err := os.Remove(filepath.Join(n.approvedDir(), a.File)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// state is what has become of an approval, and of which signed zone.
func (a *approval) state(z *zone) (state string, head *pipeline.Signed) {
	head = z.Certified()
	switch {
	case head != nil && head.Content == a.Content:
		return api.ApprovalSigned, head
	case a.stands(a.Content, head) != nil:
		return api.ApprovalSuperseded, head
	}
	return api.ApprovalStands, head
}

// approvalView is the zone's approval as the commands show it.
func (n *Node) approvalView(z *zone) *api.Approval {
	a := n.approved.of(z.Name())
	if a == nil || z.opened.Source.Type != "approved" {
		return nil
	}
	state, _ := a.state(z)
	return &api.Approval{Content: hex.EncodeToString(a.Content[:]), Serial: a.Serial, File: a.Name, At: a.At, State: state}
}

// approvalRequests are the requests that the approvals of all zones are.
func (n *Node) approvalRequests() []api.Request {
	n.approved.mu.Lock()
	list := maps.Clone(n.approved.list)
	n.approved.mu.Unlock()
	var out []api.Request
	for _, zone := range slices.Sorted(maps.Keys(list)) {
		out = append(out, *n.approvalRequest(zone, list[zone]))
	}
	return out
}

// request is the digest by which an approval is found as a request.
func (a *approval) request(zone string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "zone-approve %s %x %d", zone, a.Content, a.At.UnixNano()))
	return hex.EncodeToString(sum[:])
}

// approvalRequest is what becomes of an approval: it is done when the content
// is signed, and until then names the operators that have refused its content.
func (n *Node) approvalRequest(zone string, a *approval) *api.Request {
	r := &api.Request{Digest: a.request(zone), Kind: api.KindZoneApprove, Subject: zone, State: api.RequestRunning,
		Asked: []string{string(n.self)}, Since: a.At, Content: hex.EncodeToString(a.Content[:])}
	z, now := n.zone(zone), n.approved.of(zone)
	if z == nil || now == nil {
		r.State, r.Error = api.RequestFailed, api.Errorf(api.CodeFailure, "%s was removed here", zone)
		return r
	}
	state, head := a.state(z)
	switch state {
	case api.ApprovalSigned:
		r.State, r.Serial, r.Unchanged = api.RequestDone, head.Cert.Serial, a.Content == a.Head
		return r
	case api.ApprovalSuperseded:
		r.State, r.Error = api.RequestFailed, api.Errorf(api.CodeRefused, "%v", a.stands(a.Content, head))
		return r
	}
	if now.Content != a.Content {
		r.State, r.Error = api.RequestFailed, api.Errorf(api.CodeFailure, "another content, of serial %d, was approved here instead", now.Serial)
		return r
	}
	st := z.Status()
	for _, refusal := range st.Refusals {
		if refusal.Content == a.Content && refusal.Peer != n.self {
			r.WaitsFor = append(r.WaitsFor, string(refusal.Peer))
			r.Progress = cmp.Or(r.Progress, refusal.Reason)
		}
	}
	if len(r.WaitsFor) > 0 {
		r.State = api.RequestWaiting
		r.Command = "zonesignerd zones approve FILE --zone " + shell.Word(cmp.Or(strings.TrimSuffix(zone, "."), "."))
		return r
	}
	if st.State != api.ZoneSigned { // else it is about to look at the content
		r.Progress = "waits for " + st.WaitsFor
	}
	return r
}

// SignedZone implements api.Backend.
func (n *Node) SignedZone(_ context.Context, zone string, serial uint32, w io.Writer) error {
	z := n.zone(dotted(zone))
	if z == nil {
		return notFound(zone)
	}
	head := z.Certified()
	switch {
	case head == nil:
		return api.Errorf(api.CodeNotFound, "%s is not signed yet", z.Name())
	case head.Cert.Serial != serial:
		return api.Errorf(api.CodeNotFound, "serial %d is the last signed version of %s, serial %d was asked for", head.Cert.Serial, z.Name(), serial)
	}
	_, err := head.Zone.WriteTo(w)
	return err
}

// Manifest implements api.Backend.
func (n *Node) Manifest(ctx context.Context, d api.Draft, w io.Writer) error {
	z := n.zone(dotted(d.Zone))
	if z == nil {
		return notFound(dotted(d.Zone))
	}
	if len(n.keys.zone(z.Name())) == 0 {
		return api.Errorf(api.CodeFailure, "%s has no keys yet", z.Name())
	}
	var content *dnssec.Zone
	if d.Text != nil {
		var err error
		if content, err = dnssec.ParseZone(d.Text, z.Name(), ""); err != nil {
			return api.Errorf(api.CodeUsage, "%w", err)
		}
	}
	plan, err := z.Draft(ctx, content, d.At)
	if errors.Is(err, pipeline.ErrNoContent) {
		return api.Errorf(api.CodeNotFound, "%w", err)
	}
	if err != nil {
		return err
	}
	return plan.WriteManifest(w)
}
