package figures

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"zonesigner/mpc"
	"zonesigner/zonesignerd/internal/agree"
)

// kind is that of proposals to sign.
const kind agree.Kind = "bench"

// proposal is the body of one. What is to be signed everybody derives itself.
type proposal struct {
	Manifest agree.Digest     `json:"manifest"`
	Tuples   []mpc.TupleRange `json:"tuples"`
}

// task is what an operator knows of the signing that goes on, and what becomes
// of it.
type task struct {
	mu       sync.Mutex
	set      mpc.SignerSet
	manifest agree.Digest
	messages [][]byte
	done     func(error)
}

// sign lets the first operator propose n messages; when all have accepted, the
// members of the set sign them. It returns when each has all signatures.
func (g *group) sign(ctx context.Context, n int) (time.Duration, error) {
	messages := make([][]byte, n)
	all := sha256.New()
	for i := range messages {
		messages[i] = fmt.Appendf(nil, "an RRset of about two hundred bytes, number %d %0150d", i, time.Now().UnixNano())
		all.Write(messages[i])
	}
	manifest := agree.Digest(all.Sum(nil))
	results := make(chan error, len(g.set))
	for _, o := range g.operators {
		o.task.begin(g.set, manifest, messages, func(err error) {
			if err != nil {
				err = fmt.Errorf("operator %s: %w", o.id, err)
			}
			results <- err
		})
	}
	ranges, err := g.first().store.choose(n)
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	agreed, err := g.first().agreement.Propose(ctx, kind, "bench", g.set, proposal{manifest, ranges})
	if err != nil {
		return 0, err
	}
	g.first().Run(ctx, agreed)
	for range g.set {
		select {
		case err := <-results:
			if err != nil {
				return 0, err
			}
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	return time.Since(begin), nil
}

func (t *task) begin(set mpc.SignerSet, manifest agree.Digest, messages [][]byte, done func(error)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.set, t.manifest, t.messages, t.done = set, manifest, messages, done
}

func (t *task) get() (set mpc.SignerSet, manifest agree.Digest, messages [][]byte, done func(error)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.set, t.manifest, t.messages, t.done
}

// control sends a control message, counted.
func (o *operator) control(ctx context.Context, to mpc.PartyID, b []byte) error {
	o.meter.add(len(b))
	return o.transport.Send(ctx, to, b)
}

// Judge implements agree.Handler.
func (o *operator) Judge(_ context.Context, _ agree.Digest, p *agree.Proposal, _ func(agree.Verdict, string)) agree.Answer {
	var body proposal
	_, manifest, _, _ := o.task.get()
	if err := json.Unmarshal(p.Body, &body); err != nil || !bytes.Equal(body.Manifest[:], manifest[:]) {
		return agree.Answer{Verdict: agree.Refuse, Code: "manifest", Reason: "another manifest"}
	}
	return agree.Answer{Verdict: agree.Accept}
}

// Run implements agree.Handler: the signing itself.
func (o *operator) Run(ctx context.Context, a *agree.Agreed) {
	set, manifest, messages, done := o.task.get()
	var body proposal
	if err := json.Unmarshal(a.Proposal.Body, &body); err != nil {
		done(err)
		return
	}
	done(o.within(ctx, a.Session, set, func(ctx context.Context, o *operator, net mpc.Network) error {
		signatures, err := o.signer.Sign(ctx, net, mpc.SignSession{ID: a.Session, Set: set, Stripe: a.Proposal.Proposer, Agreed: true, Requests: []mpc.SignRequest{
			{Key: o.key.ID, Manifest: manifest, Tuples: body.Tuples, Messages: messages},
		}}, nil)
		if err == nil && (len(signatures) != 1 || len(signatures[0]) != len(messages)) {
			err = errors.New("signatures are missing")
		}
		return err
	}))
}

// Abandon implements agree.Handler.
func (o *operator) Abandon(_ agree.Digest, _ *agree.Proposal, why error) {
	_, _, _, done := o.task.get()
	done(why)
}

// Answered implements agree.Handler.
func (o *operator) Answered(*agree.Proposal, mpc.PartyID, *agree.Answer) {}
