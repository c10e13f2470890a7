package frost

import (
	"context"
	"fmt"

	"filippo.io/edwards25519"

	"zonesigner/mpc"
)

// Sign signs the messages of all requests, as they are (PureEdDSA), in runs.
// All members of session.Set, and nobody else, are in net and
// call it with the same session. A run that was begun leaves its tuples spent,
// whatever happens.
func (s *Signer) Sign(ctx context.Context, net mpc.Network, session mpc.SignSession, progress func(done int)) ([][]mpc.Signature, error) {
	said := make([]mpc.SigningKey, len(session.Requests))
	keys, quorums := make([]*KeyShare, len(said)), make([]*quorum, len(said))
	for i, req := range session.Requests {
		var err error
		if keys[i], err = s.key(req.Key, session.Set); err != nil {
			return nil, err
		}
		if quorums[i], err = keys[i].newQuorum(session.Set, s.holes); err != nil {
			return nil, err
		}
		said[i] = mpc.SigningKey{Engine: Engine, Group: keys[i].Group, Epoch: keys[i].Epoch}
	}
	spender := &mpc.Spender{
		Identity: s.cfg.Identity, Store: s.cfg.Store, RunSize: s.runSize, Window: s.cfg.Window, Signed: s.cfg.Signed,
		NoRequest: s.holes.noRequest, NoStatements: s.holes.noStatements,
	}
	signatures, err := spender.Sign(ctx, net, session, said, progress, func(r *mpc.Run) (mpc.Spending, error) {
		sp := &spending{net: net, round: r.Round}
		for _, p := range r.Parts {
			own, err := decodeTuples(p.Blob, len(session.Set), p.Tuples.From, p.Tuples.Count)
			if err != nil {
				sp.Close()
				return nil, err
			}
			sp.parts = append(sp.parts, spent{quorum: quorums[p.Request], share: keys[p.Request].Share, own: own, messages: p.Messages})
		}
		return sp, nil
	})
	if err != nil {
		return nil, fmt.Errorf("frost: %w", err)
	}
	return signatures, nil
}

// spending is what one run opens. It implements mpc.Spending.
type spending struct {
	net   mpc.Network
	round string // prefix of its rounds
	parts []spent
}

// Opening is nothing: commitments to nonces are public since the tuple was
// made, and a share of a signature waits for the statements.
func (sp *spending) Opening() []byte { return nil }

// Finish opens the signatures.
func (sp *spending) Finish(ctx context.Context, _ map[mpc.PartyID][]byte) ([]mpc.Signature, error) {
	return openRun(ctx, sp.net, sp.round, sp.parts)
}

// Close erases the nonces.
func (sp *spending) Close() {
	for _, p := range sp.parts {
		p.own.erase()
	}
}

// spent is tuples of one chunk, the key that they are of, and the messages that
// they sign.
type spent struct {
	quorum   *quorum
	share    *edwards25519.Scalar // of the key; secret
	own      *tuples
	messages [][]byte
}

// openRun is the signature share generation and aggregation of RFC 9591,
// sections 5.2 and 5.3, for a run of tuples in one round: everyone aggregates.
func openRun(ctx context.Context, net mpc.Network, round string, parts []spent) ([]mpc.Signature, error) {
	var own []byte
	var all []*signing
	for _, p := range parts {
		width := p.own.members * commitmentSize
		for i, m := range p.messages {
			g, err := p.quorum.prepare(m, p.own.commitments[i*width:(i+1)*width])
			if err != nil {
				return nil, err
			}
			all = append(all, g)
			own = append(own, p.quorum.share(g, p.own.nonces[i], p.share).Bytes()...)
		}
	}
	got, err := mpc.Exchange(ctx, net, round+"/z", own)
	if err != nil {
		return nil, err
	}
	for _, p := range net.Parties() {
		if len(got[p]) != len(own) {
			return nil, cheated(p, fmt.Sprintf("shares of signatures of %d bytes, want %d", len(got[p]), len(own)))
		}
	}
	var signatures []mpc.Signature
	var shares [][]*edwards25519.Scalar // of each signature, of each member
	var check batch
	for _, p := range parts {
		for range p.messages {
			at := len(signatures)
			z := make([]*edwards25519.Scalar, len(p.quorum.parties))
			for j, member := range p.quorum.parties {
				if z[j], err = decodeScalar(got[member][32*at : 32*at+32]); err != nil {
					return nil, cheated(member, "share of a signature: "+err.Error())
				}
			}
			shares = append(shares, z)
			signatures = append(signatures, all[at].aggregate(z))
			check.add(p.quorum, all[at])
		}
	}
	if parts[0].quorum.holes.noFinalCheck || len(all) > 1 && check.verify() {
		return signatures, nil
	}
	at := 0
	for _, p := range parts {
		for _, m := range p.messages {
			if err := p.quorum.verify(all[at], m, signatures[at], shares[at]); err != nil {
				return nil, err
			}
			at++
		}
	}
	return signatures, nil
}
