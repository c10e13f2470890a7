package config

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"strconv"
)

// Digests are over a list of fields, each as its length in four bytes,
// big-endian, and its bytes; numbers are decimal text, durations seconds.
// How a YAML file is laid out does not matter, nor does whether a default
// was written down.

// Digest is what operators compare of the group: all of it, and the signer
// sets as they come out under an active engine and under a passive one.
func (g *Group) Digest() [32]byte {
	f := newFields("zonesigner group v1")
	f.text(g.Name)
	f.number(int64(g.Epoch))
	f.number(int64(g.Threshold))
	f.text(g.Engine)
	f.number(int64(len(g.Operators)))
	for _, o := range g.Operators {
		f.text(o.Name)
		f.text(o.NKey)
		f.text(o.Address)
	}
	for _, engine := range []string{MalShamir, Shamir} { // the others have the sets of one of them
		sets := g.Sets(engine)
		f.number(int64(len(sets)))
		for _, s := range sets {
			f.text(s.String())
		}
	}
	return f.sum()
}

// Digest is what operators compare of a zone's policy: everything but Source
// and Publish, which are each operator's own. What came after the first
// release is in it when it is set, so that the digests of other policies stay
// as they were.
func (p *Policy) Digest() [32]byte {
	f := newFields("zonesigner policy v1")
	f.text(p.Zone)
	f.text(p.Engine)
	f.text(p.SerialPolicy)
	for _, d := range []Duration{
		p.RRSIGLifetime, p.RRSIGRefresh, p.DNSKEYTTL, p.PropagationDelay,
		p.KSKLifetime, p.ZSKLifetime, p.MaxOutage,
	} {
		f.number(d.Seconds())
	}
	f.flag(p.SingleTypeSigning)
	f.flag(p.Denial.NSEC3)
	f.flag(p.Denial.OptOut)
	f.number(int64(p.Denial.Iterations))
	f.text(p.Denial.Salt)
	f.text(p.ZONEMD)
	f.text(p.ContentFrom)
	f.text(p.ContentQuorum)
	f.text(p.OnExpiry)
	if p.AlgorithmRollover {
		f.text("algorithm-rollover")
	}
	return f.sum()
}

type fields struct{ h hash.Hash }

func newFields(domain string) fields {
	f := fields{sha256.New()}
	f.text(domain)
	return f
}

func (f fields) text(s string) {
	var length [4]byte
	binary.BigEndian.PutUint32(length[:], uint32(len(s)))
	f.h.Write(length[:])
	f.h.Write([]byte(s))
}

func (f fields) number(n int64) { f.text(strconv.FormatInt(n, 10)) }

func (f fields) flag(b bool) { f.text(strconv.FormatBool(b)) }

func (f fields) sum() [32]byte { return [32]byte(f.h.Sum(nil)) }
