package knot

import (
	"net"
	"time"

	"github.com/miekg/dns"
)

// SetSlowReader calls f between two reads of a reply.
func (c *Control) SetSlowReader(f func()) { c.slowReader = f }

// SetPause sets the longest gap within a reply that is trusted.
func (c *Control) SetPause(d time.Duration) { c.pause = d }

// SetSlowWorker calls f while a difference is made.
func (c *Control) SetSlowWorker(f func()) { c.slowWorker = f }

// SetLaxTSIG takes out the demand that messages be signed.
func (s *AXFRSource) SetLaxTSIG() { s.laxTSIG = true }

// ProviderForTest signs a message after unsigned ones.
func ProviderForTest(key TSIG, between []byte, mac string) dns.TsigProvider {
	return keyProvider{key: key, between: between, mac: len(mac) / 2}
}

// TransferForTest is Read on a connection that is there already.
func (s *AXFRSource) TransferForTest(c net.Conn) (rrs []dns.RR, err error) {
	err = s.converse(c, dns.TypeAXFR, s.collect(&rrs))
	return rrs, err
}

// SetLaxTSIG takes out the demand that queries be signed.
func (p *Primary) SetLaxTSIG() { p.laxTSIG = true }

// QuestionForTest reads a query.
func (p *Primary) QuestionForTest(raw []byte) (*dns.Msg, error) { return p.question(raw) }
