package knot

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// TSIG is a shared key for zone transfers and NOTIFY (RFC 8945). It prints
// without its secret.
type TSIG struct {
	Name      string // absolute, lower-case
	Algorithm string // absolute, as in "hmac-sha256."
	secret    string // base64
}

// String names the key and never its secret.
func (k TSIG) String() string { return k.Algorithm + ":" + k.Name + ":***" }

// GoString keeps the secret out of %#v.
func (k TSIG) GoString() string { return k.String() }

// ParseTSIG reads "algorithm:name:base64", the form that kdig -y takes. HMAC
// of SHA-256, SHA-384 and SHA-512 are taken, secrets from 16 bytes on.
func ParseTSIG(text string) (TSIG, error) {
	f := strings.Split(strings.TrimSpace(text), ":")
	if len(f) != 3 {
		return TSIG{}, fmt.Errorf("tsig key has %d fields, expected algorithm:name:base64", len(f))
	}
	k := TSIG{Algorithm: canonicalZone(f[0]), Name: canonicalZone(f[1]), secret: f[2]}
	switch k.Algorithm {
	case dns.HmacSHA256, dns.HmacSHA384, dns.HmacSHA512:
	default:
		return TSIG{}, fmt.Errorf("tsig algorithm %q, expected hmac-sha256, hmac-sha384 or hmac-sha512", f[0])
	}
	if _, ok := dns.IsDomainName(k.Name); !ok || k.Name == "." {
		return TSIG{}, fmt.Errorf("tsig key name %q is not a domain name", f[1])
	}
	secret, err := base64.StdEncoding.DecodeString(k.secret)
	if err != nil {
		return TSIG{}, fmt.Errorf("tsig key %s: the secret is not base64", k.Name)
	}
	if len(secret) < 16 {
		return TSIG{}, fmt.Errorf("tsig key %s: the secret has %d bytes, expected 16 or more", k.Name, len(secret))
	}
	return k, nil
}

// LoadTSIG reads ParseTSIG's form from a file, which must not be open to
// others.
func LoadTSIG(path string) (TSIG, error) {
	f, err := os.Open(path)
	if err != nil {
		return TSIG{}, fmt.Errorf("tsig file: %w", err)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return TSIG{}, fmt.Errorf("tsig file: %w", err)
	}
	if fi.Mode().Perm()&0o077 != 0 {
		return TSIG{}, fmt.Errorf("tsig file %s has mode %#o, expected 0600", path, fi.Mode().Perm())
	}
	b, err := io.ReadAll(io.LimitReader(f, 4096))
	if err != nil {
		return TSIG{}, fmt.Errorf("tsig file: %w", err)
	}
	k, err := ParseTSIG(string(b))
	if err != nil {
		return TSIG{}, fmt.Errorf("tsig file %s: %w", path, err)
	}
	return k, nil
}

// keyProvider makes miekg/dns sign and verify with one key alone.
type keyProvider struct {
	key TSIG
	// between holds the unsigned messages since the last signed one, which
	// the MAC covers too (RFC 8945, section 5.3.1); mac is the length of the
	// prior MAC, which stands before them.
	between []byte
	mac     int
}

func (p keyProvider) Generate(msg []byte, t *dns.TSIG) ([]byte, error) {
	if !strings.EqualFold(t.Hdr.Name, p.key.Name) || !strings.EqualFold(t.Algorithm, p.key.Algorithm) {
		return nil, dns.ErrKey
	}
	secret, err := base64.StdEncoding.DecodeString(p.key.secret)
	if err != nil {
		return nil, err
	}
	var newHash func() hash.Hash
	switch p.key.Algorithm {
	case dns.HmacSHA256:
		newHash = sha256.New
	case dns.HmacSHA384:
		newHash = sha512.New384
	case dns.HmacSHA512:
		newHash = sha512.New
	default:
		return nil, dns.ErrKeyAlg
	}
	h := hmac.New(newHash, secret)
	prior := 0
	if p.mac > 0 {
		prior = 2 + p.mac
	}
	if prior > len(msg) {
		return nil, dns.ErrSig
	}
	h.Write(msg[:prior])
	h.Write(p.between)
	h.Write(msg[prior:])
	return h.Sum(nil), nil
}

func (p keyProvider) Verify(msg []byte, t *dns.TSIG) error {
	want, err := p.Generate(msg, t)
	if err != nil {
		return err
	}
	// Truncated MACs are not taken.
	got, err := hex.DecodeString(t.MAC)
	if err != nil || !hmac.Equal(want, got) {
		return dns.ErrSig
	}
	return nil
}

// signMessage makes the TSIG record, in wire format, for a message that is
// packed already: the library would pack each of its records anew. mac is that of
// the message before, in hexadecimal; timersOnly is for all but the first answer
// (RFC 8945, section 5.3.1).
func signMessage(message []byte, t *dns.TSIG, key TSIG, mac string, timersOnly bool) (record []byte, next string, err error) {
	blank := &dns.Msg{MsgHdr: dns.MsgHdr{Id: t.OrigId}, Extra: []dns.RR{t}}
	p := packedProvider{keyProvider{key: key, between: message, mac: len(mac) / 2}}
	signed, next, err := dns.TsigGenerateWithProvider(blank, p, mac, timersOnly)
	if err != nil {
		return nil, "", err
	}
	return signed[headerSize:], next, nil
}

// headerSize is the length of a message without records.
const headerSize = 12

// packedProvider signs the message in between instead of the blank one that it
// is given.
type packedProvider struct{ keyProvider }

func (p packedProvider) Generate(blank []byte, t *dns.TSIG) ([]byte, error) {
	prior := 0
	if p.mac > 0 {
		prior = 2 + p.mac
	}
	if len(blank) < prior+headerSize {
		return nil, dns.ErrSig
	}
	return p.keyProvider.Generate(slices.Delete(blank, prior, prior+headerSize), t)
}
