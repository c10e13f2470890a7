package pipeline

import (
	"context"
	"fmt"

	"zonesigner/dnssec"
	"zonesigner/zonesignerd/internal/agree"
)

// Draft is the plan that this operator would propose: of a content or, with nil,
// of what it has to sign, which is the newest content that it read, or else the
// last agreed one again; at that time or, with 0, that of its clock. Nothing is
// proposed, promised or used up.
func (z *Zone) Draft(ctx context.Context, content *dnssec.Zone, at uint32) (*dnssec.Plan, error) {
	w := &want{version: &version{}, zone: content} // a version: not a refresh
	if content != nil {
		w.content, w.source = agree.Digest(content.ContentDigest()), content.Serial()
	} else if w = z.toSign(); w == nil {
		return nil, fmt.Errorf("%w: nothing was read for zone %s yet", ErrNoContent, z.name)
	}
	release, err := z.heavy(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	d, err := z.draft(w, at)
	if err != nil {
		return nil, err
	}
	return d.plan, nil
}

// toSign is what Draft plans where no content is given; nil: there is none.
func (z *Zone) toSign() *want {
	z.mu.Lock()
	defer z.mu.Unlock()
	if v := z.newest(); v != nil && !z.head.of(v, z.policy) && v.seq > z.headSeq {
		return &want{zone: v.zone, version: v, content: v.digest, source: v.serial}
	}
	if z.head == nil {
		return nil
	}
	return &want{content: z.head.Content, source: z.head.Source}
}
