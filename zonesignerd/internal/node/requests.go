package node

import (
	"sync"

	"zonesigner/zonesignerd/internal/api"
)

// requests remembers what was asked over the local socket and is not kept
// elsewhere: the last of them, for as long as the daemon runs.
type requests struct {
	mu   sync.Mutex
	list []*request
}

// request is one of them; view makes its present form.
type request struct {
	digest string
	view   func() *api.Request
}

const keepRequests = 200

func (r *requests) add(digest string, view func() *api.Request) *api.Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.list) >= keepRequests {
		r.list = r.list[1:]
	}
	r.list = append(r.list, &request{digest, view})
	return view()
}

func (r *requests) find(digest string) (*api.Request, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := len(r.list) - 1; i >= 0; i-- {
		if r.list[i].digest == digest {
			return r.list[i].view(), true
		}
	}
	return nil, false
}
