package knot

import "time"

// SetSlowReader calls f between two reads of a reply.
func (c *Control) SetSlowReader(f func()) { c.slowReader = f }

// SetPause sets the longest gap within a reply that is trusted.
func (c *Control) SetPause(d time.Duration) { c.pause = d }

// SetLaxTSIG takes out the demand that messages be signed.
func (s *AXFRSource) SetLaxTSIG() { s.laxTSIG = true }
