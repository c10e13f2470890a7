package pipeline

import (
	"zonesigner/mpc"
	"zonesigner/zonesignerd/internal/agree"
)

// KindZone is the kind of proposal that signs one version of a zone.
const KindZone agree.Kind = "zone"

// KindZONEMD is the kind of proposal that signs the ZONEMD record of the zone
// that a session of KindZone has just signed.
const KindZONEMD agree.Kind = "zonemd"

// CodeSource is the code of a refusal by an operator that cannot read its
// source: it says nothing for or against the content, and the others sign
// without it as if it were away.
const CodeSource = "source"

// The messages about zones that are not proposals.
const (
	TypeCertificate agree.Type = "certificate"
	TypeHead        agree.Type = "head"
	TypeFetch       agree.Type = "fetch"
	TypeListing     agree.Type = "listing"
	TypeListed      agree.Type = "listed"
	TypeTurn        agree.Type = "turn"
)

// Proposal is the body of a zone proposal. A receiver derives everything
// from its own copy of the content, Time and Base, and accepts only if it
// comes to the same Manifest.
type Proposal struct {
	Source   uint32       `json:"source"`  // serial of the unsigned zone, for people
	Content  agree.Digest `json:"content"` // of the unsigned zone without its serial
	Base     agree.Digest `json:"base"`    // last signed zone that has a certificate; zero: none
	Serial   uint32       `json:"serial"`  // of the signed zone
	Time     uint32       `json:"time"`    // UNIX seconds: every time in the plan follows from it
	Keys     agree.Digest `json:"keys"`
	Policy   agree.Digest `json:"policy"`
	Manifest agree.Digest `json:"manifest"`
	Refresh  bool         `json:"refresh"` // signs Base's own content again
	Batches  []Batch      `json:"batches"` // one for each key that signs, by key id
	// ZONEMD names the tuples for the ZONEMD record, which is agreed on once all
	// else is signed; empty where the policy wants none.
	ZONEMD []Batch `json:"zonemd,omitempty"`
	// Shared: it is signed in a session with those of other zones, which the
	// proposer proposes once they are agreed on.
	Shared bool `json:"shared,omitempty"`
}

// ZONEMDProposal is the body of the proposal that follows a session for a zone
// with a ZONEMD record. All of it is what a member of that session has itself.
type ZONEMDProposal struct {
	Session  agree.Digest `json:"session"`  // the id of the session that signed all else
	First    agree.Digest `json:"first"`    // its manifest
	Draft    agree.Digest `json:"draft"`    // the zone that it signed, without the digest
	Manifest agree.Digest `json:"manifest"` // of the record
}

// Batch names the tuples that one key's signatures use.
type Batch struct {
	Key    mpc.KeyID        `json:"key"`
	Count  int              `json:"count"`
	Tuples []mpc.TupleRange `json:"tuples"`
}

// Turn says that its sender has begun to work on a proposal, so that the next
// one in rank does not start the same work. It binds nobody to anything.
type Turn struct {
	Zone    string       `json:"zone"`
	Content agree.Digest `json:"content"`
}

// Certificate is one operator's word that it derived, checked in full and
// would publish this signed zone. n-t of them, one's own included, make it
// publishable.
type Certificate struct {
	Zone     string       `json:"zone"`
	Serial   uint32       `json:"serial"`
	Source   uint32       `json:"source"`   // serial of the unsigned zone
	Digest   agree.Digest `json:"digest"`   // of the signed zone
	Base     agree.Digest `json:"base"`     // what it was planned on
	Manifest agree.Digest `json:"manifest"` // what was agreed
	Keys     agree.Digest `json:"keys"`     // the key set that it was planned with
	Policy   agree.Digest `json:"policy"`   // and the policy
	Time     uint32       `json:"time"`
}

// Head tells a peer where this operator stands with a zone.
type Head struct {
	Zone      string       `json:"zone"`
	Policy    agree.Digest `json:"policy"` // in force; zero: the zone was removed there
	Staged    agree.Digest `json:"staged"` // policy that is to come into force; zero: none
	Serial    uint32       `json:"serial"` // of the last certified zone
	Digest    agree.Digest `json:"digest"` // zero: none yet
	Time      uint32       `json:"time"`
	Proof     [][]byte     `json:"proof,omitempty"` // the certificates' signed messages
	Published uint32       `json:"published"`       // serial that its public Knot serves
	At        int64        `json:"at"`              // UNIX seconds of that publication, 0: never
}

// Fetch asks a peer for a signed zone, over a session of the two.
type Fetch struct {
	Zone   string       `json:"zone"`
	Digest agree.Digest `json:"digest"`
	Nonce  []byte       `json:"nonce"`
}

func (f *Fetch) session(from, to mpc.PartyID) mpc.SessionID {
	return mpc.NewSessionID("fetch "+f.Zone+" "+string(f.Digest[:]), map[mpc.PartyID][]byte{from: f.Nonce, to: []byte("serving")})
}

// Listing asks for parts of a peer's unsigned zone, to name the records that
// differ. Without Buckets it asks for the digest of every bucket.
type Listing struct {
	Zone    string       `json:"zone"`
	Content agree.Digest `json:"content"`
	Buckets []int        `json:"buckets,omitempty"`
}

// Listed answers a Listing.
type Listed struct {
	Zone    string         `json:"zone"`
	Content agree.Digest   `json:"content"`
	Digests []agree.Digest `json:"digests,omitempty"` // one for each bucket
	Records []ListedRecord `json:"records,omitempty"` // of the buckets asked for
}

// ListedRecord is one record of an unsigned zone, in wire format.
type ListedRecord struct {
	Owner []byte `json:"owner"`
	TTL   uint32 `json:"ttl"`
	Type  uint16 `json:"type"`
	Data  []byte `json:"data"`
}
