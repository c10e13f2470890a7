// Package mpc holds the contracts between the protocols that hold a shared
// key and everything around them: who the parties are, how a session among
// them talks, what an engine offers (the extended arithmetic black box of
// "Securing DNSSEC Keys via Threshold ECDSA From Generic MPC", Figures 2 and
// 3), what a signer promises, and how a failure says who is to blame.
//
// The package sees bytes to sign and never DNS; it knows neither NATS nor a
// database. Engines live in sub-packages and never import one another.
package mpc

import (
	"context"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// PartyID is an operator's name as its group file has it. It is used in
// errors and on the wire; the protocols' arithmetic uses the evaluation point
// that Group.X gives.
type PartyID string

// KeyID names one shared key: the hexadecimal form of the first 16 bytes of
// the SHA-256 of the key generation's transcript.
type KeyID string

// SessionID names one run of a protocol. It is the hash of fresh nonces of
// all members, so no member alone can make two sessions share an id.
type SessionID [32]byte

// String returns the first 8 bytes in hexadecimal, enough for a log line.
func (s SessionID) String() string { return hex.EncodeToString(s[:8]) }

// NewSessionID derives a session's id from its purpose and every member's
// nonce (at least 16 bytes each). The order of the map does not matter.
func NewSessionID(purpose string, nonces map[PartyID][]byte) SessionID {
	fields := make([][]byte, 1, 1+2*len(nonces))
	fields[0] = []byte(purpose)
	for _, id := range slices.Sorted(maps.Keys(nonces)) {
		fields = append(fields, []byte(id), nonces[id])
	}
	return SessionID(Digest("zonesigner session v1", fields...))
}

// Group is what a protocol knows of the operators. The position of a party in
// Parties fixes its evaluation point, so the order must never change within a
// share epoch.
type Group struct {
	Parties []PartyID
	T       int      // the adversary controls at most T of them
	Digest  [32]byte // of the group file that all operators hold
}

// N is the number of operators.
func (g Group) N() int { return len(g.Parties) }

// X is the party's evaluation point, 1 to n; false for a stranger.
func (g Group) X(id PartyID) (uint32, bool) {
	i := slices.Index(g.Parties, id)
	return uint32(i + 1), i >= 0
}

// Equal reports whether both are the same group, with the same points.
func (g Group) Equal(o Group) bool {
	return g.T == o.T && g.Digest == o.Digest && slices.Equal(g.Parties, o.Parties)
}

// Validate reports an ArgumentError for a group that no engine can serve.
func (g Group) Validate() error {
	seen := map[PartyID]bool{}
	for _, p := range g.Parties {
		if p == "" || seen[p] {
			return &ArgumentError{Msg: fmt.Sprintf("group: party %q is empty or named twice", p)}
		}
		seen[p] = true
	}
	if g.N() < 2 || g.T < 1 || g.T >= g.N() {
		return &ArgumentError{Msg: fmt.Sprintf("group: threshold %d does not fit %d parties", g.T, g.N())}
	}
	return nil
}

// CheckSigners reports an ArgumentError unless set is a set of members of g,
// as many as engine can sign with.
func (g Group) CheckSigners(engine string, set SignerSet, least, most int) error {
	for _, p := range set {
		if _, ok := g.X(p); !ok {
			return &ArgumentError{Msg: fmt.Sprintf("%s: signer %q is no operator of the group", engine, p)}
		}
	}
	switch {
	case !set.Equal(NewSignerSet(set...)):
		return &ArgumentError{Msg: fmt.Sprintf("%s: signer set %s is not sorted", engine, set)}
	case len(set) < least:
		return &ArgumentError{Msg: fmt.Sprintf("%s: signer set %s has %d members, it takes %d", engine, set, len(set), least)}
	case len(set) > most:
		return &ArgumentError{Msg: fmt.Sprintf("%s: signer set %s has %d members, it signs with %d at most", engine, set, len(set), most)}
	}
	return nil
}

// SignerSet is the sorted list of operators that take part in one signing.
// Every tuple belongs to exactly one signer set, fixed when it is made.
type SignerSet []PartyID

// NewSignerSet sorts a copy of ids and drops repetitions.
func NewSignerSet(ids ...PartyID) SignerSet {
	s := slices.Clone(ids)
	slices.Sort(s)
	return SignerSet(slices.Compact(s))
}

// Contains reports whether id is a member.
func (s SignerSet) Contains(id PartyID) bool { return slices.Contains(s, id) }

// Equal reports whether both sets have the same members.
func (s SignerSet) Equal(o SignerSet) bool { return slices.Equal(s, o) }

// String joins the names with "+", as in "a+b".
func (s SignerSet) String() string {
	parts := make([]string, len(s))
	for i, p := range s {
		parts[i] = string(p)
	}
	return strings.Join(parts, "+")
}

// ParseSignerSet is the inverse of SignerSet.String.
func ParseSignerSet(text string) (SignerSet, error) {
	if text == "" {
		return nil, &ArgumentError{Msg: "empty signer set"}
	}
	var ids []PartyID
	for part := range strings.SplitSeq(text, "+") {
		if part == "" {
			return nil, &ArgumentError{Msg: fmt.Sprintf("signer set %q has an empty name", text)}
		}
		ids = append(ids, PartyID(part))
	}
	s := NewSignerSet(ids...)
	if s.String() != text {
		return nil, &ArgumentError{Msg: fmt.Sprintf("signer set %q is not sorted or names a party twice", text)}
	}
	return s, nil
}

// Network is one session among authenticated peers. A round is named by a
// short string that the protocol chooses ("c/17": products of chunk 17); one
// message goes from each sender to each receiver in a round.
//
// Send may return before the message is delivered and may be called from
// several goroutines; it keeps no reference to b after it returns. Recv
// returns the first message of that sender and round, whenever it arrived;
// the caller owns the slice. Both return an *AbsentError when ctx ends first
// or the peer is gone, and a *CheatError when a peer sent two different
// messages for one round or broke the framing.
type Network interface {
	Self() PartyID
	Parties() []PartyID // sorted, Self included
	Send(ctx context.Context, to PartyID, round string, b []byte) error
	Recv(ctx context.Context, from PartyID, round string) ([]byte, error)
}

// Among is net with fewer parties: some of its own, sorted.
func Among(net Network, parties []PartyID) Network { return among{net, parties} }

type among struct {
	Network
	parties []PartyID
}

func (a among) Parties() []PartyID { return a.parties }

// Session is a Network with an end. Close releases its queues; messages that
// come later are dropped.
type Session interface {
	Network
	Close()
}

// Transport connects one operator with its peers: it opens sessions and
// carries the small control messages by which operators agree to have one.
type Transport interface {
	Self() PartyID
	// Open joins session id among parties (Self included). Messages of peers
	// that opened it earlier are kept for a while, within bounds.
	Open(id SessionID, parties []PartyID) (Session, error)
	// Send carries one control message, at most MaxControl bytes, in order
	// with the other control messages to the same peer. Delivery is at most
	// once.
	Send(ctx context.Context, to PartyID, msg []byte) error
	// Handle sets the receiver of control messages, called from one
	// goroutine a peer. It must be set before the first message may arrive.
	Handle(func(from PartyID, msg []byte))
	// Peers tells the state of each peer, sorted by name, without Self.
	Peers() []PeerState
}

// MaxControl bounds one control message in bytes.
const MaxControl = 8 << 20

// PeerState is what a transport knows of one peer. Ready means that a round
// trip succeeded lately, which is more than a connection.
type PeerState struct {
	ID           PartyID
	Ready        bool
	RoundTrip    float64 // seconds, of the last successful probe
	LastSeenUnix int64   // 0: never
	Reason       string  // why it is not ready, in words
}

// Exchange sends own to every other party in round and returns what each
// party sent, own included. It is the "everyone to everyone" step that most
// rounds are.
func Exchange(ctx context.Context, net Network, round string, own []byte) (map[PartyID][]byte, error) {
	return Deliver(ctx, net, round, net.Parties(), own)
}

// Deliver is Exchange to some of the parties; the others get nil.
func Deliver(ctx context.Context, net Network, round string, to []PartyID, own []byte) (map[PartyID][]byte, error) {
	for _, p := range Without(to, net.Self()) {
		if err := net.Send(ctx, p, round, own); err != nil {
			return nil, err
		}
	}
	if !slices.Contains(to, net.Self()) {
		return nil, nil
	}
	return Gather(ctx, net, round, own)
}

// Gather receives one message of every other party in round; own is entered
// under Self. When several are missing, the error names them all.
func Gather(ctx context.Context, net Network, round string, own []byte) (map[PartyID][]byte, error) {
	got, err := GatherFrom(ctx, net, round, Without(net.Parties(), net.Self())...)
	if err != nil {
		return nil, err
	}
	got[net.Self()] = own
	return got, nil
}

// GatherFrom receives one message of each of parties in round. When several
// are missing, the error names them all.
func GatherFrom(ctx context.Context, net Network, round string, parties ...PartyID) (map[PartyID][]byte, error) {
	got := make(map[PartyID][]byte, len(parties)+1)
	var absent *AbsentError
	for _, p := range parties {
		b, err := net.Recv(ctx, p, round)
		if err != nil {
			one, ok := AsAbsent(err)
			if !ok {
				return nil, err
			}
			if absent == nil {
				absent = &AbsentError{Round: round, Err: one.Err}
			}
			absent.Parties = append(absent.Parties, one.Parties...)
			continue
		}
		got[p] = b
	}
	if absent != nil {
		return nil, absent
	}
	return got, nil
}
