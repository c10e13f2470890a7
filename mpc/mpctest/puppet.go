package mpctest

import (
	"context"
	"slices"
	"sync"

	"zonesigner/mpc"
)

// Alter says what the adversary sends instead of b, which is its own to change.
// It may look at what others already sent in any round (Puppet.Look) before it
// decides: the adversary rushes.
type Alter = func(p *Puppet, ctx context.Context, to mpc.PartyID, round string, b []byte) []byte

// Blind is an Alter that looks at nothing but its message. nil stays nil.
func Blind(alter func(to mpc.PartyID, round string, b []byte) []byte) Alter {
	if alter == nil {
		return nil
	}
	return func(_ *Puppet, _ context.Context, to mpc.PartyID, round string, b []byte) []byte {
		return alter(to, round, b)
	}
}

// Puppet is the adversary's network: it alters what is sent, and keeps what is
// received.
type Puppet struct {
	mpc.Network
	// Got is what came, by sender and round ("b main/1"), to be read when
	// nothing is under way.
	Got map[string][]byte

	alter Alter
	mu    sync.Mutex
	waits map[string]*arrival
}

// arrival is a message that someone waits for, or that has come.
type arrival struct {
	done chan struct{} // closed when b and err are known
	b    []byte
	err  error
}

// NewPuppet stands before net. alter may be nil.
func NewPuppet(net mpc.Network, alter Alter) *Puppet {
	p := &Puppet{alter: alter}
	p.attach(net)
	return p
}

// Corrupt is a puppet of party a in each session whose networks pass wrap; what
// it got is of the last one.
func Corrupt(alter Alter) (p *Puppet, wrap func(net mpc.Network) mpc.Network) {
	p = &Puppet{alter: alter}
	return p, func(net mpc.Network) mpc.Network {
		if net.Self() != "a" {
			return net
		}
		p.attach(net)
		return p
	}
}

func (p *Puppet) attach(net mpc.Network) {
	p.Network, p.Got, p.waits = net, map[string][]byte{}, map[string]*arrival{}
}

// Send sends what the adversary makes of b.
func (p *Puppet) Send(ctx context.Context, to mpc.PartyID, round string, b []byte) error {
	if p.alter != nil {
		b = p.alter(p, ctx, to, round, slices.Clone(b))
	}
	return p.Network.Send(ctx, to, round, b)
}

// Recv is what from sent in round.
func (p *Puppet) Recv(ctx context.Context, from mpc.PartyID, round string) ([]byte, error) {
	b, err := p.wait(ctx, from, round)
	return slices.Clone(b), err
}

// Look waits for what from sent in round, which Recv still returns afterwards;
// nil when it never comes.
func (p *Puppet) Look(ctx context.Context, from mpc.PartyID, round string) []byte {
	b, _ := p.wait(ctx, from, round)
	return b
}

func (p *Puppet) wait(ctx context.Context, from mpc.PartyID, round string) ([]byte, error) {
	key := string(from) + " " + round
	p.mu.Lock()
	a, waits := p.waits[key]
	if !waits {
		a = &arrival{done: make(chan struct{})}
		p.waits[key] = a
	}
	p.mu.Unlock()
	if waits {
		<-a.done
		return a.b, a.err
	}
	a.b, a.err = p.Network.Recv(ctx, from, round)
	if a.err == nil {
		p.mu.Lock()
		p.Got[key] = a.b
		p.mu.Unlock()
	}
	close(a.done)
	return a.b, a.err
}
