package config

import (
	"encoding/hex"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

const (
	hour = Duration(time.Hour)
	day  = 24 * hour
)

func defaultPolicy() Policy {
	return Policy{
		SerialPolicy:     "increment",
		RRSIGLifetime:    30 * day,
		RRSIGRefresh:     15 * day,
		DNSKEYTTL:        hour,
		PropagationDelay: hour,
		MaxOutage:        3 * day,
		ZONEMD:           "none",
		ContentFrom:      "primary",
		ContentQuorum:    "all-present",
		OnExpiry:         "keep",
		Source:           Source{Type: "knot"},
		Publish:          Publish{Type: "knot"},
	}
}

// maxIterations is what validators of today still follow as secure; RFC 9276,
// section 3.1, wants 0.
const maxIterations = 50

// normalise brings what can be written in several ways to one form, so that
// digests are equal when meanings are.
func (p *Policy) normalise() {
	p.Zone = canonicalZone(p.Zone)
	p.Denial.Salt = strings.ToLower(p.Denial.Salt)
	if p.Denial.Salt == "-" {
		p.Denial.Salt = ""
	}
}

// canonicalZone is the name in lower case with its final dot.
func canonicalZone(name string) string {
	if name == "" {
		return ""
	}
	return dns.CanonicalName(name)
}

// Validate returns all that is wrong, as Faults, or nil.
func (p *Policy) Validate() error {
	var fs faults
	if _, ok := dns.IsDomainName(p.Zone); !ok || p.Zone == "" {
		fs.add("zone", "%q is no domain name", p.Zone)
	} else if p.Zone != canonicalZone(p.Zone) {
		fs.add("zone", "%q: want lower case and a final dot", p.Zone)
	}
	if p.Engine != "" {
		fs.oneOf("engine", p.Engine, engineNames...)
	}
	fs.oneOf("serial-policy", p.SerialPolicy, "keep", "increment", "unixtime", "dateserial")
	fs.oneOf("zonemd-generate", p.ZONEMD, "none", "zonemd-sha384", "zonemd-sha512")
	fs.oneOf("content-from", p.ContentFrom, "primary", "copies")
	fs.oneOf("content-quorum", p.ContentQuorum, "all-present", "t+1")
	fs.oneOf("on-expiry", p.OnExpiry, "keep", "withdraw")
	if p.SerialPolicy == "keep" && p.ContentFrom == "copies" {
		fs.add("serial-policy", "keep needs content-from: primary, because copies that are edited separately have serials of their own")
	}
	p.validateTimes(&fs)
	p.validateDenial(&fs)
	p.validatePlaces(&fs)
	return fs.err()
}

func (p *Policy) validateTimes(fs *faults) {
	for _, d := range []struct {
		path  string
		value Duration
	}{
		{"rrsig-lifetime", p.RRSIGLifetime}, {"rrsig-refresh", p.RRSIGRefresh}, {"dnskey-ttl", p.DNSKEYTTL},
		{"propagation-delay", p.PropagationDelay}, {"ksk-lifetime", p.KSKLifetime}, {"zsk-lifetime", p.ZSKLifetime}, {"max-outage", p.MaxOutage},
	} {
		if d.value < 0 || time.Duration(d.value)%time.Second != 0 || d.value.Seconds() > maxDuration {
			fs.add(d.path, "%s: want whole seconds, at most 68 years", d.value)
		}
	}
	if p.RRSIGLifetime <= p.RRSIGRefresh {
		fs.add("rrsig-lifetime", "%s is not above rrsig-refresh, %s: every signature would be due at once", p.RRSIGLifetime, p.RRSIGRefresh)
	}
	// A signature that is replaced when it has rrsig-refresh left is still
	// served for propagation-delay, and then cached for a TTL.
	if least := p.PropagationDelay + p.DNSKEYTTL; p.RRSIGRefresh <= least {
		fs.add("rrsig-refresh", "%s is not above propagation-delay + dnskey-ttl, %s: signatures would expire in caches", p.RRSIGRefresh, least)
	}
	for _, d := range []struct {
		path  string
		value Duration
	}{{"ksk-lifetime", p.KSKLifetime}, {"zsk-lifetime", p.ZSKLifetime}} {
		if least := p.PropagationDelay + p.DNSKEYTTL; d.value != 0 && d.value <= least {
			fs.add(d.path, "%s is not above propagation-delay + dnskey-ttl, %s: a roll-over could not end before the next begins", d.value, least)
		}
	}
	if p.SingleTypeSigning && p.ZSKLifetime != 0 {
		fs.add("zsk-lifetime", "is set with single-type-signing: the one key has ksk-lifetime")
	}
}

// CheckZone compares the policy with facts of the zone: its SOA expire and
// its largest TTL, in seconds. A secondary may serve what it has for SOA
// expire after it lost its primary; those signatures must still be valid.
func (p *Policy) CheckZone(soaExpire, maxTTL uint32) error {
	var fs faults
	expire, ttl := Duration(soaExpire)*Duration(time.Second), Duration(maxTTL)*Duration(time.Second)
	if least := expire + p.PropagationDelay; p.RRSIGRefresh <= least {
		fs.add("rrsig-refresh", "%s is not above the zone's SOA expire + propagation-delay, %s: a secondary that is cut off would serve expired signatures", p.RRSIGRefresh, least)
	}
	if least := ttl + p.PropagationDelay; p.RRSIGRefresh <= least {
		fs.add("rrsig-refresh", "%s is not above the zone's largest TTL + propagation-delay, %s: signatures would expire in caches", p.RRSIGRefresh, least)
	}
	return fs.err()
}

func (p *Policy) validateDenial(fs *faults) {
	d := p.Denial
	if salt, err := hex.DecodeString(d.Salt); err != nil || len(salt) > 255 {
		fs.add("denial.nsec3-salt", "%q: want at most 255 bytes in hexadecimal, or - for none", d.Salt)
	}
	if d.Iterations > maxIterations {
		fs.add("denial.nsec3-iterations", "%d: want 0 (RFC 9276), validators treat a zone with more than %d as unsigned", d.Iterations, maxIterations)
	}
	if !d.NSEC3 && (d.OptOut || d.Iterations != 0 || d.Salt != "") {
		fs.add("denial", "has options of nsec3 without nsec3: true")
	}
}

func (p *Policy) validatePlaces(fs *faults) {
	needs := func(path, value, kind string, wanted bool) {
		if wanted && value == "" {
			fs.add(path, "missing: type %s needs it", kind)
		}
		if !wanted && value != "" {
			fs.add(path, "does not go with type %s", kind)
		}
	}
	absolute := func(path, value string) {
		if value != "" && !filepath.IsAbs(value) {
			fs.add(path, "%q: want an absolute path, the daemon reads it", value)
		}
	}
	s := p.Source
	sources := []string{"knot", "file", "axfr", "approved"}
	fs.oneOf("source.type", s.Type, sources...)
	if slices.Contains(sources, s.Type) {
		needs("source.file", s.File, s.Type, s.Type == "file")
		needs("source.server", s.Server, s.Type, s.Type == "axfr")
		if s.Type != "axfr" {
			needs("source.tsig", s.TSIG, s.Type, false)
			needs("source.notify", s.Notify, s.Type, false)
		}
	}
	absolute("source.file", s.File)
	absolute("source.tsig", s.TSIG)
	if s.Server != "" {
		if err := checkHostPort(s.Server, false); err != nil {
			fs.add("source.server", "%v", err)
		}
	}
	if s.Notify != "" {
		if err := checkHostPort(s.Notify, true); err != nil {
			fs.add("source.notify", "%v", err)
		}
	}
	fs.oneOf("publish.type", p.Publish.Type, "knot", "file")
	if slices.Contains([]string{"knot", "file"}, p.Publish.Type) {
		needs("publish.file", p.Publish.File, p.Publish.Type, p.Publish.Type == "file")
	}
	absolute("publish.file", p.Publish.File)
	if p.Source.File != "" && p.Source.File == p.Publish.File {
		fs.add("publish.file", "is the source's file too: it would be overwritten")
	}
}
