package natsnet

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"time"

	"zonesigner/mpc"
	"zonesigner/mpc/edverify"
)

// A sender signs its session messages some at a time, since a signature costs
// more than all the rest of a short message: on each link it keeps a ledger of
// the envelopes whose messages are written, in their order, signs it when it is
// full or of some age, and begins a new one. TLS says at once whose a message
// is; the signature is there for others, as evidence.
type ledger struct {
	entries [][32]byte // SHA-256 of the envelopes' texts
	begun   time.Time
	sig     []byte // nil: not signed yet
}

const (
	ledgerContext = "zonesigner ledger v1\x00"
	ledgerEntries = 64                     // what a ledger has room for
	ledgerAge     = 100 * time.Millisecond // after which a sender signs what it has
)

func (l *ledger) full() bool { return len(l.entries) == ledgerEntries }

// add enters an envelope and returns its index.
func (l *ledger) add(entry [32]byte) int {
	if len(l.entries) == 0 {
		l.begun = time.Now()
	}
	l.entries = append(l.entries, entry)
	return len(l.entries) - 1
}

// text is what is signed.
func (l *ledger) text() []byte {
	b := make([]byte, 0, len(ledgerContext)+2+32*len(l.entries))
	b = append(b, ledgerContext...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(l.entries)))
	for _, e := range l.entries {
		b = append(b, e[:]...)
	}
	return b
}

// appendSigned signs the ledger, appends the frame that says so, and begins the
// next.
func (l *ledger) appendSigned(b []byte, t *Transport) []byte {
	sig := ed25519.Sign(t.cfg.Key, l.text())
	if t.cfg.hooks.mangle != nil {
		t.cfg.hooks.mangle(sig)
	}
	*l = ledger{}
	b = appendFrameHeader(b, frameSigned, len(sig))
	return append(b, sig...)
}

// signed is a message that is entered in a ledger: its payload's hash, and
// where its envelope is.
type signed struct {
	hash   [32]byte
	ledger *ledger
	index  int
}

// conflict is a second, different message of a round, which becomes evidence
// when its ledger is signed, as that of the first is by then.
type conflict struct {
	in            *inbox
	e             envelope
	first, second signed
}

// cheat is what the conflict says of its sender, to others only if both
// messages are signed.
func (c *conflict) cheat() *mpc.CheatError {
	err := &mpc.CheatError{
		Parties: []mpc.PartyID{c.e.from},
		What:    fmt.Sprintf("sent two different messages in round %q of session %v", c.e.round, c.e.session),
	}
	if c.first.ledger.sig != nil && c.second.ledger.sig != nil {
		err.Evidence = encodeEvidence(&c.e, c.first, c.second)
	}
	return err
}

// Equivocation is what evidence proves: From signed two different messages
// for one round of a session, to one receiver.
type Equivocation struct {
	Version  uint16 // of the link
	Group    [32]byte
	Session  mpc.SessionID
	Round    string
	From, To mpc.PartyID
}

const evidenceMagic = "zonesigner evidence v1\x00"

// Evidence is the envelope without its hash, then for each message
//
//	payload's hash 32 | index 2 | entries of its ledger 2 | entries, 32 each | signature 64
func encodeEvidence(e *envelope, first, second signed) []byte {
	b := []byte(evidenceMagic)
	b = binary.BigEndian.AppendUint16(b, e.version)
	b = append(b, e.group[:]...)
	b = append(b, e.session[:]...)
	b = appendName(b, e.round)
	b = appendName(b, string(e.from))
	b = appendName(b, string(e.to))
	for _, s := range []signed{first, second} {
		b = append(b, s.hash[:]...)
		b = binary.BigEndian.AppendUint16(b, uint16(s.index))
		b = append(b, s.ledger.text()[len(ledgerContext):]...)
		b = append(b, s.ledger.sig...)
	}
	return b
}

// VerifyEvidence checks the evidence of an mpc.CheatError: two envelopes for
// one round that differ, both in ledgers that the sender signed. keyOf gives an
// operator's public key, nil for a stranger. An error means that nothing is
// proven.
func VerifyEvidence(evidence []byte, keyOf func(mpc.PartyID) ed25519.PublicKey) (Equivocation, error) {
	none := func(format string, a ...any) (Equivocation, error) {
		return Equivocation{}, fmt.Errorf("evidence: "+format, a...)
	}
	b, ok := bytes.CutPrefix(evidence, []byte(evidenceMagic))
	if !ok {
		return none("not evidence of this version")
	}
	r := mpc.NewReader(b)
	e := envelope{lane: laneSession}
	e.version = uint16(r.Byte())<<8 | uint16(r.Byte())
	copy(e.group[:], r.Take(32))
	copy(e.session[:], r.Take(32))
	e.round, e.from, e.to = r.Text(), mpc.PartyID(r.Text()), mpc.PartyID(r.Text())
	var hashes [2][32]byte
	var ledgers [2]ledger
	var indices [2]int
	for i := range ledgers {
		copy(hashes[i][:], r.Take(32))
		indices[i] = int(r.Byte())<<8 | int(r.Byte())
		n := int(r.Byte())<<8 | int(r.Byte())
		if n > ledgerEntries || indices[i] >= n {
			return none("message %d of a ledger of %d, expected at most %d", indices[i], n, ledgerEntries)
		}
		for range n {
			var entry [32]byte
			copy(entry[:], r.Take(32))
			ledgers[i].add(entry)
		}
		ledgers[i].sig = r.Take(ed25519.SignatureSize)
	}
	if !r.Done() {
		return none("%d bytes are not two envelopes in their ledgers", len(evidence))
	}
	if hashes[0] == hashes[1] {
		return none("both envelopes are for one message")
	}
	key := keyOf(e.from)
	if len(key) != ed25519.PublicKeySize {
		return none("operator %q is a stranger", e.from)
	}
	for i := range ledgers {
		e.hash = hashes[i]
		if e.entry() != ledgers[i].entries[indices[i]] {
			return none("a message is not the one in its ledger")
		}
		if !ed25519.Verify(key, ledgers[i].text(), ledgers[i].sig) {
			return none("a signature is not that of operator %q", e.from)
		}
	}
	return Equivocation{Version: e.version, Group: e.group, Session: e.session, Round: e.round, From: e.from, To: e.to}, nil
}

// received is a link's ledger of what the peer sent. Only the reader uses it,
// but for since and what conflicts are made of.
type received struct {
	ledger    *ledger
	conflicts []*conflict  // not settled yet; the peer's mu guards them, and the signatures of their ledgers
	since     atomic.Int64 // Unix time in ns of the oldest message that is not signed; 0: none
}

// enter adds a message's envelope. A peer that does not sign is at fault.
func (r *received) enter(e *envelope) (signed, error) {
	if r.ledger.full() {
		return signed{}, framing("more than %d messages are not signed", ledgerEntries)
	}
	s := signed{hash: e.hash, ledger: r.ledger, index: r.ledger.add(e.entry())}
	if s.index == 0 {
		r.since.Store(r.ledger.begun.UnixNano())
	}
	return s, nil
}

// unsigned is for how long a message has been here without a signature.
func (r *received) unsigned() time.Duration {
	if ns := r.since.Load(); ns != 0 {
		return time.Since(time.Unix(0, ns))
	}
	return 0
}

// verify checks the signature of what was received since the last one.
func (r *received) verify(sig []byte, key *edverify.Key, anySignature bool) error {
	if len(r.ledger.entries) == 0 {
		return framing("nothing is signed")
	}
	if !key.Verify(r.ledger.text(), sig) && !anySignature {
		return framing("a signature on its messages is not its own")
	}
	return nil
}

// sign takes that signature; conflicts are evidence now. The peer's mu is held.
func (r *received) sign(sig []byte) {
	r.ledger.sig = sig
	r.ledger = &ledger{}
	r.since.Store(0)
}

// entry is what a ledger has of an envelope.
func (e *envelope) entry() [32]byte {
	var b [maxText]byte // on the stack: there are two of them for each message
	return sha256.Sum256(e.appendText(b[:0]))
}
