package dnssec

import (
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// hashEncoding is base32 with the extended hex alphabet, no padding (RFC 5155,
// section 1.3), in lower case as canonical owner names are.
var hashEncoding = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)

// typeNames are the types that we call by name. The table is our own and does
// not follow a library's: manifests must not change with it, and every server
// must know the names.
var typeNames = map[uint16]string{
	dns.TypeA: "A", dns.TypeNS: "NS", dns.TypeCNAME: "CNAME", dns.TypeSOA: "SOA", dns.TypePTR: "PTR", dns.TypeHINFO: "HINFO",
	dns.TypeMX: "MX", dns.TypeTXT: "TXT", dns.TypeRP: "RP", dns.TypeAFSDB: "AFSDB", dns.TypeAAAA: "AAAA", dns.TypeLOC: "LOC",
	dns.TypeSRV: "SRV", dns.TypeNAPTR: "NAPTR", dns.TypeKX: "KX", dns.TypeCERT: "CERT", dns.TypeDNAME: "DNAME", dns.TypeDS: "DS",
	dns.TypeSSHFP: "SSHFP", dns.TypeRRSIG: "RRSIG", dns.TypeNSEC: "NSEC", dns.TypeDNSKEY: "DNSKEY", dns.TypeDHCID: "DHCID",
	dns.TypeNSEC3: "NSEC3", dns.TypeNSEC3PARAM: "NSEC3PARAM", dns.TypeTLSA: "TLSA", dns.TypeCDS: "CDS", dns.TypeCDNSKEY: "CDNSKEY",
	dns.TypeOPENPGPKEY: "OPENPGPKEY", dns.TypeSMIMEA: "SMIMEA", dns.TypeCSYNC: "CSYNC", dns.TypeZONEMD: "ZONEMD",
	dns.TypeSVCB: "SVCB", dns.TypeHTTPS: "HTTPS", dns.TypeSPF: "SPF", dns.TypeEUI48: "EUI48", dns.TypeEUI64: "EUI64",
	dns.TypeURI: "URI", dns.TypeCAA: "CAA",
}

// typeTable is typeNames by number, which every record that is written asks.
var typeTable = func() (table [dns.TypeCAA + 1]string) {
	for t, name := range typeNames {
		table[t] = name
	}
	return table
}()

func appendTypeName(dst []byte, t uint16) []byte {
	if int(t) < len(typeTable) && typeTable[t] != "" {
		return append(dst, typeTable[t]...)
	}
	return strconv.AppendUint(append(dst, "TYPE"...), uint64(t), 10)
}

// ownFormat reports whether appendRDataFields writes the type in its own
// presentation format. All others are written as RFC 3597 has it, type and
// rdata: every server reads that, whatever types it knows.
func ownFormat(t uint16) bool {
	switch t {
	case dns.TypeA, dns.TypeAAAA, dns.TypeNS, dns.TypeCNAME, dns.TypeDNAME, dns.TypePTR, dns.TypeMX, dns.TypeTXT,
		dns.TypeSOA, dns.TypeSRV, dns.TypeCAA, dns.TypeDS, dns.TypeCDS, dns.TypeDNSKEY, dns.TypeCDNSKEY,
		dns.TypeTLSA, dns.TypeSMIMEA, dns.TypeSSHFP, dns.TypeHINFO, dns.TypeNAPTR, dns.TypeRP, dns.TypeAFSDB, dns.TypeKX,
		dns.TypeOPENPGPKEY, dns.TypeURI, dns.TypeNSEC, dns.TypeNSEC3, dns.TypeNSEC3PARAM, dns.TypeZONEMD:
		return true
	}
	return false
}

// appendTypeAndRData appends "TYPE rdata". Rdata that does not have its
// type's form is written as RFC 3597 has it.
func appendTypeAndRData(dst []byte, t uint16, rdata string) []byte {
	start := len(dst)
	if ownFormat(t) {
		dst = append(appendTypeName(dst, t), ' ')
		if out, ok := appendRDataFields(dst, t, rdata); ok {
			return out
		}
		dst = dst[:start]
	}
	dst = strconv.AppendUint(append(dst, "TYPE"...), uint64(t), 10)
	dst = strconv.AppendInt(append(dst, ` \# `...), int64(len(rdata)), 10)
	if rdata == "" {
		return dst
	}
	dst = append(dst, ' ')
	for i := range len(rdata) {
		dst = append(dst, hexDigits[rdata[i]>>4], hexDigits[rdata[i]&15])
	}
	return dst
}

const hexDigits = "0123456789abcdef"

// typeAndRData is the same as two strings.
func typeAndRData(t uint16, rdata string) (typ, data string) {
	typ, data, _ = strings.Cut(string(appendTypeAndRData(nil, t, rdata)), " ")
	return typ, data
}

// appendRDataFields appends rdata in presentation format; false when the
// rdata does not have the type's form.
func appendRDataFields(dst []byte, t uint16, d string) ([]byte, bool) {
	f := fields{dst: dst, d: d, ok: true}
	switch t {
	case dns.TypeA:
		f.address(4)
	case dns.TypeAAAA:
		f.address(16)
	case dns.TypeNS, dns.TypeCNAME, dns.TypeDNAME, dns.TypePTR:
		f.name()
	case dns.TypeMX, dns.TypeAFSDB, dns.TypeKX:
		f.number(2)
		f.name()
	case dns.TypeRP:
		f.name()
		f.name()
	case dns.TypeHINFO:
		f.quoted()
		f.quoted()
	case dns.TypeNAPTR:
		f.number(2)
		f.number(2)
		f.quoted()
		f.quoted()
		f.quoted()
		f.name()
	case dns.TypeURI:
		f.number(2)
		f.number(2)
		f.quotedRest()
	case dns.TypeOPENPGPKEY:
		f.base64Rest()
	case dns.TypeSRV:
		f.number(2)
		f.number(2)
		f.number(2)
		f.name()
	case dns.TypeTXT:
		for f.quoted(); f.ok && f.d != ""; {
			f.quoted()
		}
	case dns.TypeSOA:
		f.name()
		f.name()
		for range 5 {
			f.number(4)
		}
	case dns.TypeCAA:
		f.number(1)
		f.bare()
		f.quotedRest()
	case dns.TypeDS, dns.TypeCDS:
		f.number(2)
		f.number(1)
		f.number(1)
		f.hexRest()
	case dns.TypeTLSA, dns.TypeSMIMEA:
		f.number(1)
		f.number(1)
		f.number(1)
		f.hexRest()
	case dns.TypeSSHFP:
		f.number(1)
		f.number(1)
		f.hexRest()
	case dns.TypeZONEMD:
		f.ok = len(d) >= zonemdHead+12 // shorter digests are none (RFC 8976, section 2.2.4)
		f.number(4)
		f.number(1)
		f.number(1)
		f.hexRest()
	case dns.TypeDNSKEY, dns.TypeCDNSKEY:
		f.number(2)
		f.number(1)
		f.number(1)
		f.base64Rest()
	case dns.TypeNSEC:
		f.name()
		f.bitmap()
	case dns.TypeNSEC3PARAM:
		f.number(1)
		f.number(1)
		f.number(2)
		f.salt()
	case dns.TypeNSEC3:
		f.number(1)
		f.number(1)
		f.number(2)
		f.salt()
		f.nextHash()
		f.bitmap()
	default:
		return nil, false
	}
	return f.dst, f.ok && f.d == ""
}

// fields writes one field of rdata after the other.
type fields struct {
	dst   []byte
	d     string // what is left
	ok    bool
	begun bool
}

// take cuts n bytes off, and writes the space between two fields.
func (f *fields) take(n int) string {
	if !f.ok || n < 0 || n > len(f.d) {
		f.ok = false
		return ""
	}
	if f.begun {
		f.dst = append(f.dst, ' ')
	}
	f.begun = true
	v := f.d[:n]
	f.d = f.d[n:]
	return v
}

func (f *fields) number(size int) {
	var n uint64
	v := f.take(size)
	for i := range len(v) {
		n = n<<8 | uint64(v[i])
	}
	if f.ok {
		f.dst = strconv.AppendUint(f.dst, n, 10)
	}
}

func (f *fields) name() {
	n, err := wireNameLen(f.d)
	if err != nil {
		n = -1
	}
	if v := f.take(n); f.ok {
		f.dst = Name(v).appendText(f.dst)
	}
}

func (f *fields) address(size int) {
	v := f.take(size)
	if !f.ok {
		return
	}
	if size == 4 {
		f.dst = netip.AddrFrom4([4]byte([]byte(v))).AppendTo(f.dst)
	} else {
		f.dst = netip.AddrFrom16([16]byte([]byte(v))).AppendTo(f.dst)
	}
}

// counted takes a length byte and as many bytes.
func (f *fields) counted() string {
	if f.d == "" {
		f.ok = false
		return ""
	}
	if v := f.take(1 + int(f.d[0])); f.ok {
		return v[1:]
	}
	return ""
}

func (f *fields) quoted()     { f.quote(f.counted()) }
func (f *fields) quotedRest() { f.quote(f.take(len(f.d))) }

func (f *fields) quote(s string) {
	if !f.ok {
		return
	}
	f.dst = append(f.dst, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ' || c >= 0x7f:
			f.dst = appendDecimalEscape(f.dst, c)
		case c == '"' || c == '\\':
			f.dst = append(f.dst, '\\', c)
		default:
			f.dst = append(f.dst, c)
		}
	}
	f.dst = append(f.dst, '"')
}

// bare writes a counted string of letters and digits, as CAA tags are.
func (f *fields) bare() {
	v := f.counted()
	for i := range len(v) {
		if c := lower(v[i]); !isDigit(c) && (c < 'a' || c > 'z') {
			f.ok = false
		}
	}
	f.ok = f.ok && v != ""
	f.dst = append(f.dst, v...)
}

func (f *fields) hexRest() {
	v := f.take(len(f.d))
	f.ok = f.ok && v != ""
	f.dst = hex.AppendEncode(f.dst, []byte(v))
}

func (f *fields) base64Rest() {
	v := f.take(len(f.d))
	f.ok = f.ok && v != ""
	f.dst = appendBase64(f.dst, v)
}

// appendBase64 appends s in base64; what is as short as signatures are is
// copied to the stack.
func appendBase64(dst []byte, s string) []byte {
	var buf [128]byte
	return base64.StdEncoding.AppendEncode(dst, append(buf[:0], s...))
}

func (f *fields) salt() {
	if v := f.counted(); v == "" {
		f.dst = append(f.dst, '-')
	} else {
		f.dst = hex.AppendEncode(f.dst, []byte(v))
	}
}

func (f *fields) nextHash() {
	v := f.counted()
	f.ok = f.ok && v != ""
	f.dst = hashEncoding.AppendEncode(f.dst, []byte(v))
}

// bitmap writes a type bit map (RFC 4034, section 4.1.2), which may be empty.
func (f *fields) bitmap() {
	if f.d == "" {
		return
	}
	var buf [16]uint16
	types, ok := parseBitmap(buf[:0], f.take(len(f.d)))
	f.ok = f.ok && ok
	for i, t := range types {
		if i > 0 {
			f.dst = append(f.dst, ' ')
		}
		f.dst = appendTypeName(f.dst, t)
	}
}

// appendBitmap appends the type bit map of sorted types.
func appendBitmap(dst []byte, types []uint16) []byte {
	for len(types) > 0 {
		window := types[0] >> 8
		var bits [32]byte
		last := 0
		for len(types) > 0 && types[0]>>8 == window {
			low := types[0] & 0xff
			bits[low/8] |= 0x80 >> (low % 8)
			last = int(low / 8)
			types = types[1:]
		}
		dst = append(dst, byte(window), byte(last+1))
		dst = append(dst, bits[:last+1]...)
	}
	return dst
}

// parseBitmap is the strict inverse of appendBitmap. It appends to types.
func parseBitmap(types []uint16, b string) ([]uint16, bool) {
	last := -1
	for b != "" {
		if len(b) < 3 || int(b[0]) <= last || b[1] == 0 || b[1] > 32 || len(b) < 2+int(b[1]) {
			return nil, false
		}
		last = int(b[0])
		bits := b[2 : 2+int(b[1])]
		if bits[len(bits)-1] == 0 {
			return nil, false
		}
		for i := range len(bits) {
			for j := range 8 {
				if bits[i]&(0x80>>j) != 0 {
					types = append(types, uint16(last<<8|i*8|j))
				}
			}
		}
		b = b[2+len(bits):]
	}
	return types, true
}

// appendTime appends an RRSIG's time as YYYYMMDDHHMMSS (RFC 4034, section 3.2).
func appendTime(dst []byte, t uint32) []byte {
	at := time.Unix(int64(t), 0).UTC()
	year, month, day := at.Date() // until 2106
	hour, minute, second := at.Clock()
	for _, n := range [...]int{year / 100, year % 100, int(month), day, hour, minute, second} {
		dst = append(dst, '0'+byte(n/10), '0'+byte(n%10))
	}
	return dst
}

// appendRRSIGText appends an RRSIG's rdata in presentation format.
func appendRRSIGText(dst []byte, s RRset, zone Name, g *Signature) []byte {
	dst = appendTypeName(dst, s.Type)
	dst = strconv.AppendUint(append(dst, ' '), uint64(g.Algorithm), 10)
	dst = strconv.AppendUint(append(dst, ' '), uint64(s.Owner.rrsigLabels()), 10)
	dst = strconv.AppendUint(append(dst, ' '), uint64(s.TTL), 10)
	dst = appendTime(append(dst, ' '), g.Expiration)
	dst = appendTime(append(dst, ' '), g.Inception)
	dst = strconv.AppendUint(append(dst, ' '), uint64(g.KeyTag), 10)
	dst = zone.appendText(append(dst, ' '))
	return appendBase64(append(dst, ' '), g.Sig)
}

// soaFields are the numbers of an SOA's rdata.
func soaNumbers(rdata string) []byte { return []byte(rdata[len(rdata)-20:]) }

func soaSerial(rdata string) uint32  { return binary.BigEndian.Uint32(soaNumbers(rdata)) }
func soaMinimum(rdata string) uint32 { return binary.BigEndian.Uint32(soaNumbers(rdata)[16:]) }

// withSerial is the SOA rdata with another serial.
func withSerial(rdata string, serial uint32) []byte {
	b := []byte(rdata)
	binary.BigEndian.PutUint32(b[len(b)-20:], serial)
	return b
}
