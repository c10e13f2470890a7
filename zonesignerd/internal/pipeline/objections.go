package pipeline

import (
	"encoding/json"
	"fmt"
	"slices"

	"zonesigner/mpc"
	"zonesigner/zonesignerd/internal/agree"
)

// objection is an operator's signed refusal of a content. It is kept durably:
// neither its being away later nor our restart undoes it.
type objection struct {
	Peer    mpc.PartyID  `json:"peer"`
	Content agree.Digest `json:"content"`
	Reason  string       `json:"reason"`
}

// maxObjections bounds what one operator's refusals make us keep.
const maxObjections = 8

// object notes an objection; z.mu is held.
func (z *Zone) object(o objection) {
	if slices.ContainsFunc(z.against, func(a objection) bool { return a.Peer == o.Peer && a.Content == o.Content }) {
		return
	}
	z.against = append(z.against, o)
	mine := 0
	for _, a := range slices.Backward(z.against) {
		if a.Peer == o.Peer {
			mine++
		}
	}
	if mine > maxObjections {
		// Contents that are no longer held cannot be proposed to us either.
		i := slices.IndexFunc(z.against, func(a objection) bool { return a.Peer == o.Peer && !z.holds(a.Content) })
		if i < 0 {
			i = slices.IndexFunc(z.against, func(a objection) bool { return a.Peer == o.Peer })
		}
		z.against = slices.Delete(z.against, i, i+1)
	}
	z.keepObjections()
}

// holds reports whether a version with the content is kept; z.mu is held.
func (z *Zone) holds(content agree.Digest) bool {
	return slices.ContainsFunc(z.versions, func(v *version) bool { return v.digest == content })
}

// reconciled takes back what an operator had against a content that it now
// accepts, and what we had against another one that it proposed before.
func (z *Zone) reconciled(p *agree.Proposal, from mpc.PartyID) {
	var body Proposal
	if json.Unmarshal(p.Body, &body) != nil {
		return
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	if r, ok := z.refusals[from]; ok && r.Content == body.Content {
		delete(z.refusals, from)
	}
	if body.Refresh {
		return
	}
	self := z.d.Identity.Self()
	if r, ok := z.refusals[self]; ok && r.proposer == from && r.Content != body.Content {
		delete(z.refusals, self)
	}
	if z.dissent[from] == body.Content {
		delete(z.dissent, from)
	}
	n := len(z.against)
	z.against = slices.DeleteFunc(z.against, func(a objection) bool { return a.Peer == from && a.Content == body.Content })
	if len(z.against) != n {
		z.keepObjections()
	}
}

// forgive forgets all objections, once the newest version is signed; z.mu is
// held.
func (z *Zone) forgive() {
	if z.against != nil {
		z.against = nil
		z.keepObjections()
	}
}

// refusedBy finds a refusal of the content by an operator outside set: being
// absent now does not undo it. With content quorum t+1 it does not count.
func (z *Zone) refusedBy(content agree.Digest, set mpc.SignerSet) (objection, bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	for _, a := range z.against {
		if a.Content == content && !set.Contains(a.Peer) && !z.policy.TPlus1 {
			return a, true
		}
	}
	return objection{}, false
}

func objectionsKey(zone string) string { return "zone/" + zone + "/objections" }

// keepObjections makes them durable; z.mu is held.
func (z *Zone) keepObjections() {
	b, err := json.Marshal(z.against)
	if err == nil {
		err = z.d.Store.Put(objectionsKey(z.name), b)
	}
	if err != nil {
		z.log.Error("refusals not kept", "err", err)
	}
}

func (z *Zone) loadObjections() error {
	b, err := z.d.Store.Get(objectionsKey(z.name))
	if err != nil || b == nil {
		return err
	}
	if err := json.Unmarshal(b, &z.against); err != nil {
		return fmt.Errorf("refusals of zone %s: %w", z.name, err)
	}
	return nil
}
