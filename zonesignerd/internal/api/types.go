package api

import (
	"io"
	"time"
)

// Version tells which program answers.
type Version struct {
	Version   string `json:"version"`
	GoVersion string `json:"go_version"`
	Operator  string `json:"operator,omitempty"` // empty when no daemon was asked
	Wire      []int  `json:"wire,omitempty"`     // versions spoken between daemons
}

// Status is what an operator wants to see first: who acts next, and why
// something waits.
type Status struct {
	Operator string       `json:"operator"`
	Version  string       `json:"version"`
	Started  time.Time    `json:"started"`
	Now      time.Time    `json:"now"` // the daemon's clock
	Group    Group        `json:"group"`
	Tuples   TupleState   `json:"tuples"`
	Restored *Restored    `json:"restored,omitempty"` // until a restored keystore is level with the others
	Knots    []KnotState  `json:"knots"`
	Peers    []Peer       `json:"peers"` // sorted by name, without this operator
	Zones    []ZoneStatus `json:"zones"` // sorted by name
	Requests []Request    `json:"requests"`
	Without  []Without    `json:"without"`            // sorted by name
	Warnings []string     `json:"warnings,omitempty"` // e.g. what a passive engine does not protect against
}

// Group is the group in force.
type Group struct {
	Name        string     `json:"name"`
	Epoch       int        `json:"epoch"`
	Digest      string     `json:"digest"`      // SHA-256, hexadecimal
	Fingerprint string     `json:"fingerprint"` // to read aloud
	Threshold   int        `json:"threshold"`
	Engine      string     `json:"engine"`
	Operators   []Operator `json:"operators"`
	SignerSets  []string   `json:"signer_sets"` // "a+b"
	StagedEpoch int        `json:"staged_epoch,omitempty"`
	StagedBy    []string   `json:"staged_by,omitempty"`
}

// Operator is one member of the group.
type Operator struct {
	Name    string `json:"name"`
	NKey    string `json:"nkey"`
	Address string `json:"address"`
	Self    bool   `json:"self,omitempty"`
}

// TupleState says whether tuples from before the last start may be used
// (design: a restored disk must not revive them).
type TupleState struct {
	State      string `json:"state"`      // usable, suspended
	Generation uint64 `json:"generation"` // this operator's mark
	Reason     string `json:"reason,omitempty"`
	// WaitsFor names the operators whose confirmation would lift a suspension.
	WaitsFor []string `json:"waits_for,omitempty"`
}

// Restored says that the keystore was put back to an earlier day, so that
// policies, group and promises may be older than what the others have.
type Restored struct {
	From  string    `json:"from"` // a backup, or an older copy of the disk
	At    time.Time `json:"at"`   // when it was restored, or found out
	Lacks []string  `json:"lacks,omitempty"`
}

// KnotState is one of the two control sockets.
type KnotState struct {
	Role    string `json:"role"` // hidden, public
	Socket  string `json:"socket"`
	OK      bool   `json:"ok"`
	Version string `json:"version,omitempty"`
	Reason  string `json:"reason,omitempty"`
}

// Peer is one other operator. Ready means that a round trip succeeded lately.
type Peer struct {
	Name       string    `json:"name"`
	Ready      bool      `json:"ready"`
	RTTSeconds float64   `json:"rtt_seconds,omitempty"`
	LastSeen   time.Time `json:"last_seen,omitzero"`
	Reason     string    `json:"reason,omitempty"`
}

// Without says until when zones can be signed while one other operator is
// down: the earliest of all zones' dates (see Pool.LastsTill).
type Without struct {
	Operator string    `json:"operator"`
	Until    time.Time `json:"until,omitzero"`
	Zone     string    `json:"zone,omitempty"` // whose date it is
	// Never: no signer set goes without the operator.
	Never bool `json:"never,omitempty"`
}

// The states of a zone.
const (
	ZoneSigned   = "signed"   // what is served is signed and fresh
	ZoneSigning  = "signing"  // a session runs
	ZoneWaiting  = "waiting"  // something must happen first; WaitsFor says what
	ZoneDisputed = "disputed" // an operator refused the version
	ZoneNoKey    = "no-key"   // no active key yet
	ZoneExpired  = "expired"  // signatures that are served have expired
	ZoneFailed   = "failed"   // the last attempt failed; WaitsFor says why
)

// The kinds of those who act next.
const (
	ActorSelf   = "this-operator"
	ActorPeer   = "peer"
	ActorParent = "parent"
	ActorClock  = "clock"
	ActorNone   = "none"
)

// Next says who has to act, and what everything waits for, in words.
type Next struct {
	Kind     string    `json:"kind"`           // one of the Actor constants
	Name     string    `json:"name,omitempty"` // the peer, or the parent zone
	WaitsFor string    `json:"waits_for,omitempty"`
	At       time.Time `json:"at,omitzero"` // of kind clock
}

// ZoneStatus is one line for one zone.
type ZoneStatus struct {
	Zone           string     `json:"zone"`
	State          string     `json:"state"`
	SourceSerial   uint32     `json:"source_serial,omitempty"`
	ServedSerial   uint32     `json:"served_serial,omitempty"`
	LastSigned     time.Time  `json:"last_signed,omitzero"`
	EarliestExpiry time.Time  `json:"earliest_expiry,omitzero"`
	NextRefresh    time.Time  `json:"next_refresh,omitzero"`
	Next           Next       `json:"next"`
	Refusals       []Refusal  `json:"refusals,omitempty"`
	Lag            []PeerZone `json:"lag,omitempty"` // what the other operators have and serve
	Warnings       []string   `json:"warnings,omitempty"`
}

// Refusal is a peer's signed no to a version, with its reason.
type Refusal struct {
	Peer    string    `json:"peer"`
	Code    string    `json:"code,omitempty"`
	Reason  string    `json:"reason"`
	Records []string  `json:"records,omitempty"` // those that differ, in words
	At      time.Time `json:"at,omitzero"`
}

// Whether another operator has a zone, and with the same policy as here.
const (
	PolicySame    = "same"
	PolicyOther   = "other"
	PolicyNone    = "none"    // it has not added the zone
	PolicyUnknown = "unknown" // it has not answered since the start
)

// PeerZone is what another operator last said of the zone.
type PeerZone struct {
	Peer   string    `json:"peer"`
	Policy string    `json:"policy"` // one of the Policy constants
	Serial uint32    `json:"serial,omitempty"`
	Since  time.Time `json:"since,omitzero"`
	Behind float64   `json:"behind_seconds"` // 0: level with us
}

// ZoneDetail is all about one zone.
type ZoneDetail struct {
	ZoneStatus
	PolicyDigest string  `json:"policy_digest"`
	Policy       string  `json:"policy"` // the file as it was given
	Keys         []Key   `json:"keys"`
	Denial       string  `json:"denial"` // in words, "NSEC" or "NSEC3, no salt, 0 iterations"
	SourceFrom   string  `json:"source"`
	PublishTo    string  `json:"publish"`
	RRSIGs       int     `json:"rrsigs,omitempty"`
	RRsets       int     `json:"rrsets,omitempty"` // those of RRSIGs not counted
	Stages       []Stage `json:"stages,omitempty"` // of the last session
	// Approval is the last one given here; nil: none, or the source is not of
	// type approved.
	Approval *Approval `json:"approval,omitempty"`
}

// Approval is one operator's word that a content of a zone may be signed: that
// one, once, and only while no other content has been signed since.
type Approval struct {
	Content string    `json:"content"` // SHA-256 of the content, hexadecimal
	Serial  uint32    `json:"serial"`  // of the file
	File    string    `json:"file"`    // as it was named
	At      time.Time `json:"at"`
	State   string    `json:"state"` // one of the Approval constants
}

// The states of an approval.
const (
	ApprovalStands     = "stands" // the content is not signed yet
	ApprovalSigned     = "signed"
	ApprovalSuperseded = "superseded" // another content was signed since
)

// Stage is how long one stage of the pipeline took the last time. "tuples" is
// the waiting for tuples, 0 where they were ready.
type Stage struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds"`
}

// Key is one shared key as this operator has it.
type Key struct {
	ID        string    `json:"id"`
	Zone      string    `json:"zone"`
	Role      string    `json:"role"` // KSK, ZSK, CSK
	Engine    string    `json:"engine"`
	Algorithm uint8     `json:"algorithm"`
	Tag       uint16    `json:"tag"`
	State     string    `json:"state"` // pre-active published ready active retire-active retired post-active removed, or KeyBlocked
	Created   time.Time `json:"created,omitzero"`
	DNSKEY    string    `json:"dnskey"`       // a line of a zone file, with the policy's TTL if the zone is here
	DS        []string  `json:"ds,omitempty"` // lines of a zone file without TTL, of keys with the SEP flag
	// DSPublished is when this operator said that the parent has the DS.
	DSPublished time.Time `json:"ds_published,omitzero"`
	// Confirmed names the operators whose signed transcript of the
	// generation equals ours.
	Confirmed []string `json:"confirmed"`
	// Suspended: the key signs nothing at this operator until its people say
	// so with ResumeKey.
	Suspended bool `json:"suspended,omitempty"`
	// Problem is why a key is blocked (who says what of it) or suspended.
	Problem string `json:"problem,omitempty"`
}

// KeyBlocked is the state of a key that operators contradict each other about:
// it is not the zone's, and will not be until people act. It has neither DS nor
// DNSKEY here.
const KeyBlocked = "blocked"

// Pool is the tuples that are ready for one key, signer set and proposer.
type Pool struct {
	Key       string   `json:"key,omitempty"`    // empty: unbound, for all keys of Engine
	Engine    string   `json:"engine,omitempty"` // of unbound tuples
	Zone      string   `json:"zone,omitempty"`
	Tag       uint16   `json:"tag,omitempty"`
	SignerSet string   `json:"signer_set"`
	Without   []string `json:"without,omitempty"` // the operators that may be down
	Stripe    string   `json:"stripe"`            // the operator that may propose to spend them
	Depth     int      `json:"depth"`
	Wanted    int      `json:"wanted"`
	// LastsTill is when the pool runs out at what falls due, if this signer
	// set makes all signatures from now on, in equal parts by each proposer:
	// from the zone's next refresh on, every signature once in rrsig-lifetime
	// less rrsig-refresh, and the SOA's with each session. Changes of the
	// content are not foreseen, and each costs its signatures. None before
	// the zone is signed.
	LastsTill time.Time `json:"lasts_until,omitzero"`
	Next      Next      `json:"next"` // why it is not full, if it is not
}

// AddZone takes a zone's policy. The file's source and publish parts are this
// operator's alone; the operators agree on the rest by its digest.
type AddZone struct {
	Policy string `json:"policy"` // the file's text
	File   string `json:"file"`   // its name, for messages
}

// RemoveZone ends the signing of a zone.
type RemoveZone struct {
	Zone string `json:"zone"`
}

// GenerateKeys asks for new keys of a zone. Empty fields follow the policy.
type GenerateKeys struct {
	Zone   string   `json:"zone"`
	Roles  []string `json:"roles,omitempty"` // KSK and ZSK, or CSK
	Engine string   `json:"engine,omitempty"`
}

// ImportKeys brings in keys of one zone that their owner dealt: this operator's
// files, one for each key.
type ImportKeys struct {
	Files []ShareFile `json:"files"`
}

// ShareFile is a file that "keys deal" made, sealed to the operator.
type ShareFile struct {
	File    string `json:"file"`    // its name, for messages
	Content []byte `json:"content"` // in JSON: base64
}

// ConfirmDS says that the parent zone has the DS of the zone's keys.
type ConfirmDS struct {
	Zone string `json:"zone"`
}

// ResumeKey lifts the suspension of a key at this operator.
type ResumeKey struct {
	Key string `json:"key"` // its id
}

// SignNow asks for a signing without waiting for the next poll or refresh.
type SignNow struct {
	Zone string `json:"zone"`
}

// ApproveZone approves a content for a zone whose source is of type approved.
type ApproveZone struct {
	Zone string
	File string    // the file's name, for people
	Text io.Reader // the zone file; it includes no other
}

// Draft asks for the manifest of what the daemon would propose for a zone.
type Draft struct {
	Zone string
	At   uint32    // its time, in UNIX seconds; 0: now
	Text io.Reader // a zone file, which includes no other; nil: what the daemon has to sign
}

// StageGroup gives the group file of the next epoch.
type StageGroup struct {
	Group string `json:"group"` // the file's text
	File  string `json:"file"`  // its name, for messages
}

// The kinds of requests.
const (
	KindKeysGenerate = "keys-generate"
	KindKeysImport   = "keys-import"
	KindZoneAdd      = "zone-add"
	KindZoneRemove   = "zone-remove"
	KindGroupStage   = "group-stage"
	KindSignNow      = "sign-now"
	KindZoneApprove  = "zone-approve"
	KindDSPublished  = "ds-published"
	KindKeysResume   = "keys-resume"
)

// The states of a request.
const (
	RequestWaiting = "waiting" // other operators have yet to ask for the same
	RequestRunning = "running"
	RequestDone    = "done"
	RequestFailed  = "failed"
)

// Request is something that this operator asked for: a key event starts when
// every operator has asked for the same, which is when their digests are
// equal. A sign-now is this operator's alone.
type Request struct {
	Digest    string    `json:"digest"` // SHA-256, hexadecimal: the request's id
	Kind      string    `json:"kind"`
	Subject   string    `json:"subject"` // the zone, or the group's epoch
	State     string    `json:"state"`
	Asked     []string  `json:"asked"`               // operators that asked for the same, this one included
	WaitsFor  []string  `json:"waits_for,omitempty"` // operators that have yet to ask
	Command   string    `json:"command,omitempty"`   // what they have to type
	Progress  string    `json:"progress,omitempty"`  // in words, while it runs; why it has to be asked for again, while it waits
	Since     time.Time `json:"since,omitzero"`
	Error     *Error    `json:"error,omitempty"` // of state failed
	Keys      []Key     `json:"keys,omitempty"`  // that a key generation made
	Serial    uint32    `json:"serial,omitempty"`
	Unchanged bool      `json:"unchanged,omitempty"` // a sign-now that found nothing to do, a content that was signed already
	Content   string    `json:"content,omitempty"`   // that was approved: SHA-256, hexadecimal
}

// Finished reports whether nothing more will happen to the request.
func (r *Request) Finished() bool {
	return r.State == RequestDone || r.State == RequestFailed
}

// Backup is the file of a keystore's backup, sealed as the keystore is. It
// holds neither tuples nor the marks of other operators.
type Backup struct {
	File []byte `json:"file"` // in JSON: base64
}

// Reload names the keys of the configuration that a reload changed, and those
// whose new values come into force with a restart.
type Reload struct {
	Changed      []string `json:"changed"`
	NeedsRestart []string `json:"needs_restart"`
}
