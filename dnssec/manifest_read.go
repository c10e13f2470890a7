package dnssec

import (
	"bufio"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

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
	if p.f[0] == "zonemd" {
		if err := p.zonemd(h); err != nil {
			return nil, err
		}
		if err := p.next(); err != nil {
			return nil, err
		}
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

// zonemd reads the line that is only there where a ZONEMD record is wanted.
func (p *manifestReader) zonemd(h *ManifestHeader) (err error) {
	if len(p.f) != 3 {
		return fmt.Errorf("%q: expected \"zonemd\" and 2 more words", clip(p.text))
	}
	if h.ZONEMD = ZONEMDPolicy(p.f[1]); !h.ZONEMD.Wanted() {
		return fmt.Errorf("unknown ZONEMD policy %q", clip(p.f[1]))
	}
	if p.f[2] == "-" {
		return nil
	}
	if h.ZONEMDDigest, err = parseHex(p.f[2]); err != nil {
		return err
	}
	if want := newZoneHash(h.ZONEMD.hash()).Size(); len(h.ZONEMDDigest) != want {
		return fmt.Errorf("ZONEMD digest of %d bytes, expected %d", len(h.ZONEMDDigest), want)
	}
	return nil
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
