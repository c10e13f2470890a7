package mpc

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"slices"
)

// AppendHolder appends whose a share of a key is, as encoded shares of all
// protocols have it: the group as it was when the shares were made, the
// operator and the shares' epoch. The group's digest and threshold, the number
// of its operators, their names, the operator's name, the epoch.
func AppendHolder(b []byte, g Group, self PartyID, epoch uint64) []byte {
	b = append(b, g.Digest[:]...)
	b = append(b, byte(g.T), byte(g.N()))
	for _, p := range g.Parties {
		b = AppendText(b, string(p))
	}
	b = AppendText(b, string(self))
	return binary.BigEndian.AppendUint64(b, epoch)
}

// Holder reads what AppendHolder wrote. Only the number of operators is checked:
// see CheckHolder.
func (r *Reader) Holder() (g Group, self PartyID, epoch uint64, err error) {
	copy(g.Digest[:], r.Take(32))
	g.T = int(r.Byte())
	n := int(r.Byte())
	if n > MaxMembers {
		return g, "", 0, fmt.Errorf("%d parties, at most %d are supported", n, MaxMembers)
	}
	for range n {
		g.Parties = append(g.Parties, PartyID(r.Text()))
	}
	return g, PartyID(r.Text()), r.Uint64(), nil
}

// CheckHolder reports a holder that no encoding has, or that is not of its
// group.
func CheckHolder(g Group, self PartyID) error {
	if err := g.Validate(); err != nil {
		return err
	}
	if _, ok := g.X(self); !ok {
		return fmt.Errorf("operator %q is not of its group", self)
	}
	for _, p := range g.Parties {
		if len(p) > MaxName {
			return fmt.Errorf("name of %d bytes, at most %d are supported", len(p), MaxName)
		}
	}
	if g.N() > MaxMembers {
		return fmt.Errorf("%d parties, at most %d are supported", g.N(), MaxMembers)
	}
	return nil
}

// maxLabel bounds what is said of a key in the making, in bytes.
const maxLabel = 64 << 10

// CheckLabels reports an ArgumentError unless net is a session of all of g that
// can make a key for each label, of which there are most at most. what is said
// of it, as "frost: key generation".
func CheckLabels(what string, net Network, g Group, labels [][]byte, most int) error {
	if all := NewSignerSet(g.Parties...); !all.Equal(NewSignerSet(net.Parties()...)) {
		return &ArgumentError{Msg: fmt.Sprintf("%s takes all of %s, the session is among %v", what, all, net.Parties())}
	}
	if len(labels) < 1 || len(labels) > most || slices.ContainsFunc(labels, func(l []byte) bool { return len(l) > maxLabel }) {
		return &ArgumentError{Msg: fmt.Sprintf("%s of %d keys, at most %d go at once, with labels of at most %d bytes", what, len(labels), most, maxLabel)}
	}
	return nil
}

// Greet returns the hash of a fresh nonce of each party, when all of them came
// for what binding says, and hold the same.
func Greet(ctx context.Context, net Network, binding [32]byte) (SessionID, error) {
	hello := make([]byte, 64)
	_, _ = rand.Read(hello[:32]) // never fails
	copy(hello[32:], binding[:])
	hellos, err := Exchange(ctx, net, "hello", hello)
	if err != nil {
		return SessionID{}, err
	}
	nonces := map[PartyID][]byte{}
	for _, p := range net.Parties() {
		h := hellos[p]
		if len(h) != 64 {
			return SessionID{}, &CheatError{Parties: []PartyID{p}, What: fmt.Sprintf("hello of %d bytes, want 64", len(h))}
		}
		if !bytes.Equal(h[32:], binding[:]) {
			return SessionID{}, &ArgumentError{Msg: fmt.Sprintf("operator %s came for something else (another group, key, signer set or size)", p)}
		}
		nonces[p] = h[:32]
	}
	id := NewSessionID(string(binding[:]), nonces)
	return id, ConfirmView(ctx, net, "session", id, "operators were greeted differently")
}
