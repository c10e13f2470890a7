package cggmp

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"

	"github.com/taurusgroup/multi-party-sig/pkg/party"
	"github.com/taurusgroup/multi-party-sig/pkg/protocol"

	"zonesigner/mpc"
)

// session runs protocols of the library among the parties of net, one after
// the other.
type session struct {
	net     mpc.Network
	parties []mpc.PartyID // sorted
	ids     map[mpc.PartyID]party.ID
	id      mpc.SessionID
	holes   holes
}

// libraryID is the name that the library gives to a party of g, whose bytes
// it takes for the party's evaluation point: that of mpc.Group, so at most
// mpc.MaxMembers and never 0.
func libraryID(g mpc.Group, p mpc.PartyID) party.ID {
	x, _ := g.X(p)
	return party.ID([]byte{byte(x)})
}

// newSession makes the session's id from a fresh nonce of each party, and
// fails when the parties came for different things: binding names them all.
func newSession(ctx context.Context, net mpc.Network, g mpc.Group, binding [32]byte, holes holes) (*session, error) {
	s := &session{net: net, parties: net.Parties(), ids: map[mpc.PartyID]party.ID{}, holes: holes}
	fields := [][]byte{g.Digest[:], {byte(g.T)}, binding[:]}
	for _, p := range g.Parties {
		fields = append(fields, []byte(p))
	}
	var err error
	if s.id, err = mpc.Greet(ctx, net, mpc.Digest("zonesigner cggmp binding v1", fields...)); err != nil {
		return nil, err
	}
	for _, p := range s.parties {
		if _, ok := g.X(p); !ok {
			return nil, &mpc.ArgumentError{Msg: fmt.Sprintf("operator %q does not belong to the group", p)}
		}
		s.ids[p] = libraryID(g, p)
	}
	return s, nil
}

// libraryIDs are the library's names of all parties but without, sorted.
func (s *session) libraryIDs(without mpc.PartyID) []party.ID {
	var ids []party.ID
	for _, p := range s.parties {
		if p != without {
			ids = append(ids, s.ids[p])
		}
	}
	slices.Sort(ids)
	return ids
}

// run runs one protocol of the library to its end and returns its result, and
// the digest of all that was broadcast in it, which all parties hold alike.
// stages(p) are the stages of what p sends. No two runs of a session share a
// label.
//
// The library's handler would take messages in any order, from anybody, and
// tell who cheated. We give it a round's messages when all are here and have
// their shapes, and believe it where it refuses a message by itself.
func (s *session) run(ctx context.Context, label string, start protocol.StartFunc, stages func(mpc.PartyID) []stage) (result any, view [32]byte, err error) {
	id := mpc.Digest("zonesigner cggmp run v1", s.id[:], []byte(label))
	var h *protocol.MultiHandler
	if err := s.guard(func() (err error) {
		// Without a pool of workers: a panic in one could not be caught.
		h, err = protocol.NewMultiHandler(start, id[:])
		return err
	}); err != nil {
		return nil, view, fmt.Errorf("%s: start: %w", label, err)
	}
	view = id
	own := stages(s.net.Self())
	for i := range own {
		number := i + 2 // the library counts the start as its first
		name := label + "/" + strconv.Itoa(number)
		out, err := s.outgoing(h, number, own[i])
		if err != nil {
			return nil, view, fmt.Errorf("%s: %w", name, err)
		}
		frames, err := s.exchange(ctx, name, i, out, stages)
		if err != nil {
			return nil, view, err
		}
		fields := [][]byte{view[:]}
		for _, p := range s.parties {
			fields = append(fields, frames[p].broadcast)
		}
		view = mpc.Digest("zonesigner cggmp view v1", fields...)
		if err := s.accept(h, out, frames); err != nil {
			return nil, view, fmt.Errorf("%s: %w", name, err)
		}
	}
	// The library echoes the broadcasts of a round in the next one, so those
	// of the last round are compared here, and all others once more.
	if !s.holes.noEcho {
		if err := mpc.ConfirmView(ctx, s.net, label+"/echo", view, "operators were sent different broadcasts"); err != nil {
			return nil, view, err
		}
	}
	result, err = h.Result()
	if err != nil {
		return nil, view, s.dispute(label + ": ended without a result")
	}
	return result, view, nil
}

// outbox is what this party sends in a round, as the library made it.
type outbox struct {
	header    protocol.Message // what all messages of the run have alike
	broadcast []byte
	direct    map[mpc.PartyID][]byte
}

// outgoing takes a round's messages from the library. There is room in its
// channel for two rounds, so nothing waits for us. When it makes others than
// the round has, it has found an inconsistency: it would go on to publish
// this party's nonces so that the cheater can be named. (It names the wrong
// one: its proofs mix up who is proving.) We stop instead.
func (s *session) outgoing(h *protocol.MultiHandler, number int, want stage) (*outbox, error) {
	out := &outbox{direct: map[mpc.PartyID][]byte{}}
	inconsistent := s.dispute("what the operators sent does not fit together")
	for {
		var m *protocol.Message
		select {
		case m = <-h.Listen():
		default:
		}
		switch {
		case m == nil:
			directs := 0
			if want.direct != nil {
				directs = len(s.parties) - 1
			}
			if out.broadcast == nil || len(out.direct) != directs {
				return nil, inconsistent
			}
			return out, nil
		case int(m.RoundNumber) != number:
			return nil, inconsistent
		case m.Broadcast:
			if whole(want.broadcast, m.Data) != nil && !s.holes.noStop {
				return nil, inconsistent
			}
			out.header, out.broadcast = *m, m.Data
		default:
			if want.direct == nil || whole(want.direct, m.Data) != nil {
				return nil, inconsistent
			}
			for p, id := range s.ids {
				if id == m.To {
					out.direct[p] = m.Data
				}
			}
		}
	}
}

// exchange sends the frames of stage i and returns those of all parties,
// checked.
func (s *session) exchange(ctx context.Context, name string, i int, out *outbox, stages func(mpc.PartyID) []stage) (map[mpc.PartyID]frame, error) {
	for _, p := range s.parties {
		if p == s.net.Self() {
			continue
		}
		f := frame{out.header.BroadcastVerification, out.broadcast, out.direct[p]}
		if err := s.net.Send(ctx, p, name, f.encode()); err != nil {
			return nil, err
		}
	}
	got, err := mpc.Gather(ctx, s.net, name, nil)
	if err != nil {
		return nil, err
	}
	frames := map[mpc.PartyID]frame{s.net.Self(): {broadcast: out.broadcast}}
	for _, p := range s.parties {
		if p == s.net.Self() {
			continue
		}
		f, err := decodeFrame(got[p], stages(p)[i], i == 0)
		if s.holes.noShapes {
			f, err = splitFrame(got[p], i == 0)
		}
		if err != nil {
			return nil, &mpc.CheatError{Parties: []mpc.PartyID{p}, What: fmt.Sprintf("its message of round %s: %v", name, err)}
		}
		frames[p] = f
	}
	return frames, nil
}

// accept gives the library the frames of the others. Every header is ours.
func (s *session) accept(h *protocol.MultiHandler, out *outbox, frames map[mpc.PartyID]frame) error {
	for _, p := range s.parties {
		if p == s.net.Self() {
			continue
		}
		m := out.header
		m.From, m.To, m.BroadcastVerification = s.ids[p], "", frames[p].echo
		m.Broadcast, m.Data = true, frames[p].broadcast
		if err := s.feed(h, p, m); err != nil {
			return err
		}
		if len(frames[p].direct) == 0 {
			continue
		}
		m.To, m.Broadcast, m.Data = s.ids[s.net.Self()], false, frames[p].direct
		if err := s.feed(h, p, m); err != nil {
			return err
		}
	}
	return nil
}

// feed gives the library one message of p. When it refuses just that one, p
// sent something that does not verify. Whatever else it says, with the last
// message of a round, tells that somebody cheated, not who.
func (s *session) feed(h *protocol.MultiHandler, p mpc.PartyID, m protocol.Message) error {
	var refused protocol.Error
	if err := s.guard(func() error {
		h.Accept(&m)
		_, err := h.Result()
		if !errors.As(err, &refused) {
			return nil // a result, or not finished
		}
		return nil
	}); err != nil {
		return err
	}
	switch {
	case refused.Err == nil:
		return nil
	case len(refused.Culprits) == 1 && refused.Culprits[0] == s.ids[p]:
		return &mpc.CheatError{Parties: []mpc.PartyID{p}, What: "its message does not verify: " + refused.Err.Error()}
	default:
		return s.dispute("what the operators sent does not fit together: " + refused.Err.Error())
	}
}

// guard runs f, which calls into the library. A panic there comes from what
// peers sent, or is a fault of the library; it ends the session, not the
// process, and its text is shown only where it holds no values of ours.
func (s *session) guard(f func() error) (err error) {
	if s.holes.noGuard {
		return f()
	}
	defer func() {
		if r := recover(); r != nil {
			what := "the library panicked"
			if fault, ok := r.(runtime.Error); ok {
				what += ": " + fault.Error()
			}
			err = s.dispute(what)
		}
	}()
	return f()
}

// dispute blames all others: at least one of them cheated.
func (s *session) dispute(what string) error {
	return mpc.Dispute(mpc.Without(s.parties, s.net.Self()), what)
}
