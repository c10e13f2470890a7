package figures

import (
	"context"
	"sync"
	"time"

	"zonesigner/mpc"
)

// meter counts what one operator sends, and notes when rounds pass.
type meter struct {
	mu              sync.Mutex
	bytes, messages int
	first, last     string    // rounds to watch
	from, to        time.Time // the beginning of first, the end of last
}

func (m *meter) reset() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.bytes, m.messages = 0, 0
}

func (m *meter) add(bytes int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.bytes += bytes
	m.messages++
}

func (m *meter) sent() (bytes, messages int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.bytes, m.messages
}

// watch looks out for the first message sent in round first and the last one
// received in round last.
func (m *meter) watch(first, last string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.first, m.last, m.from, m.to = first, last, time.Time{}, time.Time{}
}

func (m *meter) watched() (from, to time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.from, m.to
}

// metered is a session with a meter.
type metered struct {
	mpc.Network
	meter *meter
}

func (s *metered) Send(ctx context.Context, to mpc.PartyID, round string, b []byte) error {
	s.meter.add(len(b))
	s.meter.mu.Lock()
	if round == s.meter.first && s.meter.from.IsZero() {
		s.meter.from = time.Now()
	}
	s.meter.mu.Unlock()
	return s.Network.Send(ctx, to, round, b)
}

func (s *metered) Recv(ctx context.Context, from mpc.PartyID, round string) ([]byte, error) {
	b, err := s.Network.Recv(ctx, from, round)
	s.meter.mu.Lock()
	defer s.meter.mu.Unlock()
	if round == s.meter.last && err == nil {
		s.meter.to = time.Now()
	}
	return b, err
}
