package pipeline

import (
	"context"
	"log/slog"
	"time"

	"zonesigner/dnssec"
	"zonesigner/mpc"
	"zonesigner/zonesignerd/internal/agree"
)

// Policy is what operators agree on about a zone.
type Policy struct {
	Digest       agree.Digest
	SerialPolicy string
	Lifetime     time.Duration // rrsig-lifetime
	Refresh      time.Duration // rrsig-refresh
	DNSKEYTTL    uint32
	Denial       dnssec.Denial
	ZONEMD       dnssec.ZONEMDPolicy // zonemd-generate
	TPlus1       bool                // content-quorum t+1
	Withdraw     bool                // on-expiry withdraw
	Rollover     bool                // algorithm-rollover: keys may be of two algorithms
}

// Source gives the zone's unsigned content, and limits by itself how many zones
// are read at once.
type Source interface {
	// Read makes a zone that nobody else uses.
	Read(ctx context.Context) (*dnssec.Zone, error)
}

// Publisher makes a public server serve a signed zone.
type Publisher interface {
	// Publish replaces what the server has; previous, which may be nil, is
	// what it was last known to serve.
	Publish(ctx context.Context, s, previous *dnssec.SignedZone) error
	// Withdraw makes the server stop answering for the zone.
	Withdraw(ctx context.Context) error
}

// Pools gives out tuples of this operator's own stripe and checks what
// others name of theirs.
type Pools interface {
	// Choose names n tuples without spending them. ErrTuples says that there
	// are not enough; the pool is then being filled and wake is called once
	// that is done.
	Choose(key mpc.KeyID, set mpc.SignerSet, n int, wake func()) ([]mpc.TupleRange, error)
	// Check reports why the ranges of proposer's stripe cannot be used. It
	// waits a moment for what is not there yet.
	Check(ctx context.Context, key mpc.KeyID, set mpc.SignerSet, proposer mpc.PartyID, rs []mpc.TupleRange) error
	// Drop gives up chunks that another operator cannot use, by the names in
	// its refusal.
	Drop(chunks []string)
}

// Sharing makes one session of those of many small zones.
type Sharing interface {
	// Enter tells that a zone is about to propose to set, and reports whether
	// others are too, so that it should share. leave takes that back, or ends
	// it once the zone signs; it may be called again.
	Enter(set mpc.SignerSet, keys []mpc.KeyID) (shared bool, leave func())
	// Sign signs for an agreed proposal in a session that zones share.
	Sign(ctx context.Context, a *agree.Agreed, requests []mpc.SignRequest) ([][]mpc.Signature, error)
}

// Store is the durable memory of a zone: small values by name.
type Store interface {
	Put(key string, value []byte) error
	Get(key string) ([]byte, error) // nil: not there
	Delete(key string) error
	List(prefix string) ([]string, error)
}

// Deps is what a zone needs from the daemon.
type Deps struct {
	Identity  mpc.Identity
	Group     func() mpc.Group
	Agreement *agree.Agreement
	Transport mpc.Transport
	Signer    mpc.Signer
	Pools     Pools
	Sharing   Sharing // nil: every zone signs alone
	Store     Store
	Dir       string // for signed zones
	Keys      func(zone string) []dnssec.Key
	Now       func() time.Time
	// Say signs a message and sends it to the peers named, or to all.
	Say func(typ agree.Type, v any, to ...mpc.PartyID) ([]byte, error)
	// Ready reports whether a peer answers.
	Ready func(mpc.PartyID) bool
	// Choose picks the signer set for a session that starts now, among the
	// operators that are ready, without those named.
	Choose func(without []mpc.PartyID) (mpc.SignerSet, error)
	// Switched is told when a staged policy has come into force; may be nil.
	Switched func(digest agree.Digest)
	// Stands, when set, makes the source one of approvals, of which each is good
	// for one content: it reports why what the source brings may not be signed
	// on the head, which may be nil. It is called with the zone's lock held.
	// Once another content is the head, what was read before is not signed.
	Stands func(content agree.Digest, head *Signed) error
	// Blame takes note of who failed a session.
	Blame func(set mpc.SignerSet, err error)
	// Heavy limits how many zones are planned or checked at once.
	Heavy chan struct{}

	Settle     time.Duration // how long "behind" lasts before it is a refusal
	Timeout    time.Duration // without progress in a session
	ClockBound time.Duration
	Turn       time.Duration // how long the first proposer has before the next one; doubles
	Logger     *slog.Logger
}
