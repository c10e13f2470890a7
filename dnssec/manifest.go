package dnssec

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strconv"
	"strings"
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
		line("denial nsec3 %s %d %s", bit(h.Denial.OptOut), h.Denial.Iterations, saltText(h.Denial.Salt))
	} else {
		line("denial nsec")
	}
	line("cds %s", h.CDS)
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

func saltText(salt []byte) string {
	if len(salt) == 0 {
		return "-"
	}
	return hex.EncodeToString(salt)
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

// ParseManifest reads a manifest in its canonical form: what it accepts,
// Bytes gives back byte for byte. An error names the line. It reads no more
// than the manifest and one byte.
func ParseManifest(r io.Reader) (*Manifest, error) {
	p := &manifestReader{r: bufio.NewReaderSize(r, 1<<13)}
	m, err := p.manifest()
	if err != nil {
		return nil, fmt.Errorf("manifest: line %d: %w", p.line, err)
	}
	return m, nil
}

type manifestReader struct {
	r    *bufio.Reader
	line int
	text string          // the current line
	f    []string        // its words
	head strings.Builder // the lines up to "items"
}

var errCanonical = errors.New("not in canonical form")

// next reads a line, which ends with "\n" and is at most 8 KiB long.
func (p *manifestReader) next() error {
	p.line++
	b, err := p.r.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return errors.New("line too long")
	case errors.Is(err, io.EOF):
		return io.ErrUnexpectedEOF
	case err != nil:
		return err
	}
	p.text = string(b)
	p.f = strings.Split(p.text[:len(p.text)-1], " ")
	if p.f[0] != "item" {
		p.head.WriteString(p.text)
	}
	return nil
}

// field reads the line "name word...", with as many words.
func (p *manifestReader) field(name string, words int) ([]string, error) {
	if err := p.next(); err != nil {
		return nil, err
	}
	if p.f[0] != name || len(p.f) != words+1 {
		return nil, fmt.Errorf("%q: expected %q and %d more words", clip(strings.TrimSuffix(p.text, "\n")), name, words)
	}
	return p.f[1:], nil
}

func (p *manifestReader) number(name string, v *uint32) error {
	f, err := p.field(name, 1)
	if err == nil {
		*v, err = parseNumber[uint32](f[0], 32)
	}
	return err
}

func (p *manifestReader) counted(name string, n *int, sum *[32]byte) error {
	f, err := p.field(name, 2)
	if err != nil {
		return err
	}
	v, err := parseNumber[uint32](f[0], 31)
	if err != nil {
		return err
	}
	*n = int(v)
	*sum, err = parseDigest(f[1])
	return err
}

func (p *manifestReader) manifest() (*Manifest, error) {
	m := &Manifest{}
	h := &m.ManifestHeader
	if err := p.next(); err != nil {
		return nil, err
	}
	version, ok := strings.CutPrefix(p.text, manifestMagic)
	if !ok {
		return nil, fmt.Errorf("expected %q and a version", manifestMagic)
	}
	if version != strconv.Itoa(ManifestVersion)+"\n" {
		return nil, fmt.Errorf("version %q, expected %d", clip(strings.TrimSuffix(version, "\n")), ManifestVersion)
	}
	f, err := p.field("zone", 1)
	if err != nil {
		return nil, err
	}
	if h.Zone, err = ParseName(f[0]); err != nil {
		return nil, err
	}
	if err := errors.Join(p.number("source-serial", &h.SourceSerial), p.number("serial", &h.Serial)); err != nil {
		return nil, err
	}
	if f, err = p.field("content", 1); err != nil {
		return nil, err
	}
	if h.Content, err = parseDigest(f[0]); err != nil {
		return nil, err
	}
	if f, err = p.field("base", 1); err != nil {
		return nil, err
	}
	if f[0] != "-" {
		d, err := parseDigest(f[0])
		if err != nil {
			return nil, err
		}
		h.Base = &d
	}
	for _, n := range []struct {
		name string
		v    *uint32
	}{{"time", &h.Time}, {"lifetime", &h.Lifetime}, {"refresh", &h.Refresh}, {"dnskey-ttl", &h.DNSKEYTTL}} {
		if err := p.number(n.name, n.v); err != nil {
			return nil, err
		}
	}
	if err := p.denial(&h.Denial); err != nil {
		return nil, err
	}
	if f, err = p.field("cds", 1); err != nil {
		return nil, err
	}
	switch h.CDS = CDSPolicy(f[0]); h.CDS {
	case CDSNone, CDSRollover, CDSAlways, CDSDelete:
	default:
		return nil, fmt.Errorf("unknown CDS policy %q", clip(f[0]))
	}
	if err := p.next(); err != nil {
		return nil, err
	}
	for p.f[0] == "key" {
		k, err := parseKey(p.f[1:])
		if err != nil {
			return nil, err
		}
		if h.Keys = append(h.Keys, k); len(h.Keys) > 64 {
			return nil, errors.New("more than 64 keys")
		}
		if err := p.next(); err != nil {
			return nil, err
		}
	}
	if p.f[0] != "made" || len(p.f) != 3 {
		return nil, fmt.Errorf("%q: expected \"key\" or \"made\"", clip(p.text))
	}
	made, err := parseNumber[uint32](p.f[1], 31)
	if err != nil {
		return nil, err
	}
	h.Made = int(made)
	if h.MadeDigest, err = parseDigest(p.f[2]); err != nil {
		return nil, err
	}
	if err := p.counted("kept", &h.Kept, &h.KeptDigest); err != nil {
		return nil, err
	}
	var items uint32
	if err := p.number("items", &items); err != nil {
		return nil, err
	}
	if h.Items = int(items); items >= 1<<31 {
		return nil, errors.New("too many items")
	}
	if p.head.String() != string(h.append(nil)) {
		return nil, errCanonical
	}
	return m, p.items(m)
}

func (p *manifestReader) denial(d *Denial) error {
	if err := p.next(); err != nil {
		return err
	}
	switch {
	case p.text == "denial nsec\n":
		return nil
	case len(p.f) != 5 || p.f[0] != "denial" || p.f[1] != "nsec3":
		return fmt.Errorf("%q: expected \"denial nsec\" or \"denial nsec3\" and 3 more words", clip(p.text))
	}
	var err error
	d.NSEC3 = true
	if d.OptOut, err = parseFlag(p.f[2]); err != nil {
		return err
	}
	if d.Iterations, err = parseNumber[uint16](p.f[3], 16); err != nil {
		return err
	}
	if p.f[4] != "-" {
		if d.Salt, err = parseHex(p.f[4]); err != nil {
			return err
		}
	}
	return d.validate()
}

// items reads the items, which are in canonical order without repetition, and
// the end.
func (p *manifestReader) items(m *Manifest) error {
	m.List = make([]ManifestItem, 0, min(m.Items, 1<<12)) // a false count must not allocate
	for range m.Items {
		f, err := p.field("item", 6)
		if err != nil {
			return err
		}
		it, err := parseItem(f)
		if err != nil {
			return err
		}
		if string(it.append(nil)) != p.text {
			return errCanonical
		}
		if !it.Owner.IsSubdomainOf(m.Zone) {
			return fmt.Errorf("%s is out of zone", it.Owner)
		}
		if n := len(m.List); n > 0 {
			last := m.List[n-1]
			if c := compareRRsets(RRset{Owner: last.Owner, Type: last.Type}, RRset{Owner: it.Owner, Type: it.Type}); c > 0 {
				return fmt.Errorf("%s %s is out of order", it.Owner, TypeName(it.Type))
			}
		}
		m.List = append(m.List, it)
	}
	if err := p.next(); err != nil {
		return err
	}
	if p.text != "end\n" {
		return fmt.Errorf("%q: expected \"end\"", clip(p.text))
	}
	if _, err := p.r.ReadByte(); !errors.Is(err, io.EOF) {
		return errors.New("data after the end")
	}
	return nil
}

func parseItem(f []string) (it ManifestItem, err error) {
	if it.Owner, err = ParseName(f[0]); err != nil {
		return it, err
	}
	if it.Type, err = parseType(f[1]); err != nil {
		return it, err
	}
	if it.KeyTag, err = parseNumber[uint16](f[2], 16); err != nil {
		return it, err
	}
	if it.Inception, err = parseNumber[uint32](f[3], 32); err != nil {
		return it, err
	}
	if it.Expiration, err = parseNumber[uint32](f[4], 32); err != nil {
		return it, err
	}
	it.Message, err = parseDigest(f[5])
	return it, err
}

func parseKey(f []string) (k Key, err error) {
	if len(f) != 6 {
		return k, fmt.Errorf("key: %d words, expected 6", len(f))
	}
	k.ID, k.State = f[0], KeyState(f[4])
	if k.Flags, err = parseNumber[uint16](f[1], 16); err != nil {
		return k, err
	}
	if k.CSK, err = parseFlag(f[2]); err != nil {
		return k, err
	}
	if k.Algorithm, err = parseNumber[uint8](f[3], 8); err != nil {
		return k, err
	}
	if k.PublicKey, err = base64.StdEncoding.Strict().DecodeString(f[5]); err != nil {
		return k, fmt.Errorf("key: %w", err)
	}
	return k, k.Validate()
}

// parseNumber reads a decimal number without sign or leading zeros.
func parseNumber[T uint8 | uint16 | uint32](s string, bits int) (T, error) {
	v, err := strconv.ParseUint(s, 10, bits)
	if err != nil || strconv.FormatUint(v, 10) != s {
		return 0, fmt.Errorf("%q is not a number of %d bits", clip(s), bits)
	}
	return T(v), nil
}

func parseFlag(s string) (bool, error) {
	if s != "0" && s != "1" {
		return false, fmt.Errorf("%q: expected 0 or 1", clip(s))
	}
	return s == "1", nil
}

func parseHex(s string) ([]byte, error) {
	b, err := hex.DecodeString(s)
	if err != nil || hex.EncodeToString(b) != s || s == "" {
		return nil, fmt.Errorf("%q is not lower-case hexadecimal", clip(s))
	}
	return b, nil
}

func parseDigest(s string) ([32]byte, error) {
	b, err := parseHex(s)
	if err != nil || len(b) != 32 {
		return [32]byte{}, fmt.Errorf("%q is not a SHA-256 digest in hexadecimal", clip(s))
	}
	return [32]byte(b), nil
}

// CompareManifests says in words how b ("there") differs from a ("here"), at
// most max lines (0: all); nothing when they are the same.
func CompareManifests(a, b *Manifest, max int) []string {
	var out []string
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	x := strings.Split(string(a.ManifestHeader.append(nil)), "\n")
	y := strings.Split(string(b.ManifestHeader.append(nil)), "\n")
	here, there := headerLines(x), headerLines(y)
	for _, name := range []string{"zone", "source-serial", "serial", "content", "base", "time", "lifetime", "refresh",
		"dnskey-ttl", "denial", "cds", "key", "made", "kept", "items"} {
		if here[name] != there[name] {
			say("%s: here %s, there %s", manifestWords[name], here[name], there[name])
		}
	}
	i, j := 0, 0
	for i < len(a.List) || j < len(b.List) {
		if max > 0 && len(out) >= max {
			return out[:max]
		}
		order := 0
		switch {
		case i == len(a.List):
			order = 1
		case j == len(b.List):
			order = -1
		default:
			order = a.List[i].compare(b.List[j])
		}
		switch {
		case order < 0:
			say("%s with key %d: to be signed here, not there", a.List[i].what(), a.List[i].KeyTag)
			i++
		case order > 0:
			say("%s with key %d: to be signed there, not here", b.List[j].what(), b.List[j].KeyTag)
			j++
		default:
			p, q := a.List[i], b.List[j]
			switch {
			case p.Inception != q.Inception || p.Expiration != q.Expiration:
				say("%s: valid here %d to %d, there %d to %d", p.what(), p.Inception, p.Expiration, q.Inception, q.Expiration)
			case p.Message != q.Message:
				say("%s: the records differ", p.what())
			}
			i++
			j++
		}
	}
	if max > 0 && len(out) > max {
		out = out[:max]
	}
	return out
}

var manifestWords = map[string]string{
	"zone": "zone", "source-serial": "serial of the unsigned zone", "serial": "serial of the signed zone",
	"content": "content", "base": "published zone", "time": "time", "lifetime": "rrsig-lifetime",
	"refresh": "rrsig-refresh", "dnskey-ttl": "dnskey-ttl", "denial": "denial of existence", "cds": "CDS policy",
	"key": "keys", "made": "records that signing makes", "kept": "signatures kept", "items": "signatures to be made",
}

func headerLines(lines []string) map[string]string {
	m := map[string]string{}
	for _, l := range lines {
		name, rest, _ := strings.Cut(l, " ")
		if m[name] != "" {
			rest = m[name] + "; " + rest
		}
		m[name] = rest
	}
	return m
}

func (m ManifestItem) compare(o ManifestItem) int {
	if c := compareRRsets(RRset{Owner: m.Owner, Type: m.Type}, RRset{Owner: o.Owner, Type: o.Type}); c != 0 {
		return c
	}
	return int(m.KeyTag) - int(o.KeyTag)
}

func (m ManifestItem) what() string { return m.Owner.String() + " " + TypeName(m.Type) }
