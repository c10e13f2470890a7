package node

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"zonesigner/mpc"
)

// blame remembers which operators and signer sets failed lately, so that
// aborting is no way to burn pools for ever.
type blame struct {
	mu      sync.Mutex
	parties map[mpc.PartyID]outage
	sets    map[string]outage
}

// outage is a time of rest; a failure soon after it makes the next one twice
// as long.
type outage struct {
	until time.Time
	pause time.Duration
	cheat bool
}

func (o outage) longer(now time.Time, least, most time.Duration) outage {
	if now.After(o.until.Add(10 * time.Minute)) {
		o.pause = 0 // that was long ago
	}
	o.pause = max(least, min(2*o.pause, most))
	o.until = now.Add(o.pause)
	return o
}

// note draws the consequence of a failed session. A cheat that is named is
// left out for ten minutes; one that stopped answering, for a time that
// doubles; and so rests a set in which somebody cheated and the evidence does
// not tell who.
func (b *blame) note(set mpc.SignerSet, err error, now time.Time) {
	var noted *notedError
	if errors.As(err, &noted) {
		return // with the session that others shared
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.parties == nil {
		b.parties, b.sets = map[mpc.PartyID]outage{}, map[string]outage{}
	}
	if cheat, ok := mpc.AsCheat(err); ok {
		if cheat.Disputed {
			b.sets[set.String()] = b.sets[set.String()].longer(now, 30*time.Second, 10*time.Minute)
			return
		}
		for _, id := range cheat.Parties {
			b.parties[id] = outage{now.Add(10 * time.Minute), 10 * time.Minute, true}
		}
		return
	}
	if absent, ok := mpc.AsAbsent(err); ok {
		for _, id := range absent.Parties {
			if !b.parties[id].cheat || now.After(b.parties[id].until) {
				b.parties[id] = b.parties[id].longer(now, time.Second, 5*time.Minute)
			}
		}
	}
}

// notedError is a failure whose consequence is drawn.
type notedError struct{ err error }

func (e *notedError) Error() string { return e.err.Error() }
func (e *notedError) Unwrap() error { return e.err }

// why says for what a set rests, and until when; "": it does not.
func (b *blame) why(set mpc.SignerSet, now time.Time) (string, time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if o := b.sets[set.String()]; now.Before(o.until) {
		return "somebody in it cheated, it is not known who", o.until
	}
	for _, id := range set {
		switch o := b.parties[id]; {
		case !now.Before(o.until):
		case o.cheat:
			return "operator " + string(id) + " cheated", o.until
		default:
			return "operator " + string(id) + " stopped answering in a session", o.until
		}
	}
	return "", time.Time{}
}

// leftOut is a signer set that is not used though its members may all be up.
type leftOut struct {
	set   mpc.SignerSet
	why   string
	until time.Time // zero: not a matter of time
}

// leftOutError lists the sets that are left out. There is one at least, or no
// set has this operator in it.
type leftOutError []leftOut

// within reports whether a set comes back by then.
func (e leftOutError) within(by time.Time) bool {
	return slices.ContainsFunc(e, func(l leftOut) bool { return !l.until.IsZero() && l.until.Before(by) })
}

func (e leftOutError) Error() string {
	if len(e) == 0 {
		return "no signer set has this operator in it"
	}
	var parts []string
	for _, l := range e {
		s := "signer set " + l.set.String() + " is left out"
		if !l.until.IsZero() {
			s += " until " + l.until.UTC().Format(time.RFC3339)
		}
		parts = append(parts, s+": "+l.why)
	}
	return strings.Join(parts, "; ")
}

// forgive ends the rest of an operator that was away and is back. How often it
// failed is not forgotten: coming back each time must not let it fail for ever.
// One that cheated, or failed too often, rests on.
func (b *blame) forgive(id mpc.PartyID, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if o, rests := b.parties[id]; rests && !o.cheat && o.pause < 30*time.Second && now.Before(o.until) {
		o.until = now
		b.parties[id] = o
	}
}

// absolve ends all rests: people have looked into what went wrong.
func (b *blame) absolve() {
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.parties)
	clear(b.sets)
}
