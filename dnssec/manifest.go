package dnssec

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"runtime"
	"strconv"
	"sync"
)

// ManifestVersion is the version that WriteManifest writes. It is the number
// on the first line.
const ManifestVersion = 1

const manifestMagic = "zonesigner manifest "

// A manifest is text: fields of one line each in fixed order, then one line
// for each item, then "end".
//
//	zonesigner manifest 1
//	zone example.org.
//	source-serial 2026112001
//	serial 2026112002
//	content <SHA-256>               Zone.ContentDigest
//	base <SHA-256> | -              SignedZone.Digest of what is published
//	time 1795132800
//	lifetime 1209600
//	refresh 604800
//	dnskey-ttl 3600
//	denial nsec | nsec3 <opt-out: 0 or 1> <iterations> <salt or ->
//	cds none
//	zonemd <policy> <digest> | -    where the policy wants one; -: not known yet
//	key <id> <flags> <csk: 0 or 1> <algorithm> <state> <public key, base64>
//	made <count> <SHA-256>          RRsets that signing makes: keys, denial
//	kept <count> <SHA-256>          signatures that come from the base
//	items <count>
//	item <owner> <type> <key tag> <inception> <expiration> <SHA-256 of the message>
//	end
//
// Its digest therefore fixes the whole signed zone but the signatures still
// to be made.

// WriteManifest writes the plan's manifest.
func (p *Plan) WriteManifest(w io.Writer) error {
	bw := bufio.NewWriterSize(w, 1<<16)
	bw.Write(p.manifestHeader())
	p.writeItems(func(b []byte) { bw.Write(b) })
	bw.WriteString("end\n")
	return bw.Flush()
}

// Manifest is the manifest as text. For a large zone it is large; Digest does
// without it.
func (p *Plan) Manifest() []byte {
	var b bytes.Buffer
	_ = p.WriteManifest(&b) // a Buffer takes everything
	return b.Bytes()
}

// Digest is the SHA-256 of the manifest. It is computed once.
func (p *Plan) Digest() [32]byte { return p.digest() }

func (p *Plan) manifestDigest() [32]byte {
	h := sha256.New()
	_ = p.WriteManifest(h)
	return [32]byte(h.Sum(nil))
}

func (p *Plan) manifestHeader() []byte {
	content := p.content.ContentDigest()
	h := ManifestHeader{
		Zone: p.signed.apex, SourceSerial: p.signed.sourceSerial, Serial: p.params.Serial, Content: content,
		Time: p.params.Time, Lifetime: p.params.Lifetime, Refresh: p.params.Refresh, DNSKEYTTL: p.params.DNSKEYTTL,
		Denial: p.params.Denial, CDS: p.params.CDS, Keys: p.params.Keys, Kept: p.Kept(), Items: p.Len(),
	}
	if h.CDS == "" {
		h.CDS = CDSNone
	}
	if p.params.ZONEMD.Wanted() {
		h.ZONEMD, h.ZONEMDDigest = p.params.ZONEMD, p.zonemd
	}
	if p.params.Base != nil {
		d := p.params.Base.Digest()
		h.Base = &d
	}
	made := sha256.New()
	h.Made = p.signed.hashGenerated(made)
	h.MadeDigest = [32]byte(made.Sum(nil))
	h.KeptDigest = p.keptDigest()
	return h.append(nil)
}

// keptDigest hashes, for each signature from the base, owner, type and the
// signature.
func (p *Plan) keptDigest() [32]byte {
	h := sha256.New()
	var buf []byte
	item := 0
	for i, s := range p.signed.sets {
		sigs := p.signed.signaturesAt(i)
		for j := range sigs {
			if item < len(p.items) && p.items[item].sig == p.signed.first[i]+uint32(j) {
				item++
				continue
			}
			buf = append(append(buf[:0], s.Owner...), byte(s.Type>>8), byte(s.Type))
			buf = appendSignatures(buf, sigs[j:j+1])
			h.Write(buf)
		}
	}
	return [32]byte(h.Sum(nil))
}

// writeItems gives the item lines in order. All CPUs make them, a stretch
// each at a time, so memory does not grow with the zone.
func (p *Plan) writeItems(write func([]byte)) {
	const stretch = 2048
	threads := runtime.GOMAXPROCS(0)
	bufs := make([][]byte, threads)
	for lo := 0; lo < len(p.items); lo += stretch * threads {
		var wg sync.WaitGroup
		for t := range threads {
			from := min(lo+t*stretch, len(p.items))
			to := min(from+stretch, len(p.items))
			wg.Go(func() { bufs[t] = p.appendItems(bufs[t][:0], from, to) })
		}
		wg.Wait()
		for _, b := range bufs {
			write(b)
		}
	}
}

func (p *Plan) appendItems(dst []byte, from, to int) []byte {
	var msg []byte
	for i := from; i < to; i++ {
		it := p.items[i]
		s, g := p.signed.sets[it.set], &p.signed.sigs[it.sig]
		msg = p.signed.appendMessage(msg[:0], s, g)
		m := ManifestItem{Owner: s.Owner, Type: s.Type, KeyTag: g.KeyTag, Inception: g.Inception, Expiration: g.Expiration,
			Message: sha256.Sum256(msg)}
		dst = m.append(dst)
	}
	return dst
}

// ManifestHeader is what a manifest says before its items.
type ManifestHeader struct {
	Zone         Name
	SourceSerial uint32
	Serial       uint32
	Content      [32]byte
	Base         *[32]byte // nil: nothing is published
	Time         uint32
	Lifetime     uint32
	Refresh      uint32
	DNSKEYTTL    uint32
	Denial       Denial
	CDS          CDSPolicy
	ZONEMD       ZONEMDPolicy // empty: none
	ZONEMDDigest []byte       // of the ZONEMD record; nil: not known yet
	Keys         []Key
	Made         int // RRsets that signing makes
	MadeDigest   [32]byte
	Kept         int // signatures from the base
	KeptDigest   [32]byte
	Items        int
}

// ManifestItem is one signature to be made.
type ManifestItem struct {
	Owner      Name
	Type       uint16
	KeyTag     uint16
	Inception  uint32
	Expiration uint32
	Message    [32]byte // SHA-256 of Plan.Message
}

// Manifest is a manifest that was read.
type Manifest struct {
	ManifestHeader
	List []ManifestItem
}

func (h *ManifestHeader) append(dst []byte) []byte {
	line := func(format string, a ...any) { dst = fmt.Appendf(dst, format+"\n", a...) }
	line("%s%d", manifestMagic, ManifestVersion)
	line("zone %s", h.Zone)
	line("source-serial %d", h.SourceSerial)
	line("serial %d", h.Serial)
	line("content %x", h.Content)
	if h.Base == nil {
		line("base -")
	} else {
		line("base %x", *h.Base)
	}
	line("time %d", h.Time)
	line("lifetime %d", h.Lifetime)
	line("refresh %d", h.Refresh)
	line("dnskey-ttl %d", h.DNSKEYTTL)
	if h.Denial.NSEC3 {
		line("denial nsec3 %s %d %s", bit(h.Denial.OptOut), h.Denial.Iterations, hexOrNone(h.Denial.Salt))
	} else {
		line("denial nsec")
	}
	line("cds %s", h.CDS)
	if h.ZONEMD != "" {
		line("zonemd %s %s", h.ZONEMD, hexOrNone(h.ZONEMDDigest))
	}
	for _, k := range h.Keys {
		line("key %s %d %s %d %s %s", k.ID, k.Flags, bit(k.CSK), k.Algorithm, k.State, base64.StdEncoding.EncodeToString(k.PublicKey))
	}
	line("made %d %x", h.Made, h.MadeDigest)
	line("kept %d %x", h.Kept, h.KeptDigest)
	line("items %d", h.Items)
	return dst
}

func bit(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

func hexOrNone(b []byte) string {
	if len(b) == 0 {
		return "-"
	}
	return hex.EncodeToString(b)
}

func (m *ManifestItem) append(dst []byte) []byte {
	dst = m.Owner.appendText(append(dst, "item "...))
	dst = appendTypeName(append(dst, ' '), m.Type)
	dst = strconv.AppendUint(append(dst, ' '), uint64(m.KeyTag), 10)
	dst = strconv.AppendUint(append(dst, ' '), uint64(m.Inception), 10)
	dst = strconv.AppendUint(append(dst, ' '), uint64(m.Expiration), 10)
	dst = hex.AppendEncode(append(dst, ' '), m.Message[:])
	return append(dst, '\n')
}

// Bytes is the manifest as text, the inverse of ParseManifest.
func (m *Manifest) Bytes() []byte {
	dst := m.ManifestHeader.append(nil)
	for i := range m.List {
		dst = m.List[i].append(dst)
	}
	return append(dst, "end\n"...)
}
