// Package keyfile reads the private keys of zones in the forms in which their
// owners keep them: BIND's (K<zone>.+<algorithm>+<tag>.private), PEM and
// PKCS #8, and writes new ones in BIND's. The algorithms are 8 (RSA with
// SHA-256, RFC 5702), 13 and 14 (ECDSA, RFC 6605) and 15 (Ed25519, RFC 8080).
package keyfile

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"zonesigner/dnssec"
)

// MaxSize bounds a key's file in bytes.
const MaxSize = 64 << 10

// Key is a private key and its public half.
type Key struct {
	Algorithm uint8  // of DNSSEC: 8, 13, 14 or 15
	Public    []byte // as in a DNSKEY: RFC 3110, section 2; RFC 6605, section 4; RFC 8080, section 3
	// Private is secret: the number of a P-256 or P-384 key, 32 or 48 bytes
	// big-endian, the seed of an Ed25519 key (RFC 8032, section 5.1.5), or an
	// RSA key in PKCS #1 form.
	Private []byte
}

// Erase overwrites the private half.
func (k *Key) Erase() { clear(k.Private) }

// Format keeps every printing verb from the private half.
func (k *Key) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "private key of algorithm %d", k.Algorithm)
}

// Shareable reports a key of an algorithm that no group can share.
func (k *Key) Shareable() error {
	if k.Algorithm == dnssec.ECDSAP256SHA256 || k.Algorithm == dnssec.ED25519 {
		return nil
	}
	return fmt.Errorf("key file: the key is of algorithm %d; only keys of algorithm 13 (ECDSA P-256) and 15 (Ed25519) can be shared", k.Algorithm)
}

// Signer is the key for crypto's functions.
func (k *Key) Signer() (crypto.Signer, error) {
	switch k.Algorithm {
	case dnssec.RSASHA256:
		return x509.ParsePKCS1PrivateKey(k.Private)
	case dnssec.ECDSAP256SHA256:
		return ecdsa.ParseRawPrivateKey(elliptic.P256(), k.Private)
	case dnssec.ECDSAP384SHA384:
		return ecdsa.ParseRawPrivateKey(elliptic.P384(), k.Private)
	case dnssec.ED25519:
		if len(k.Private) == ed25519.SeedSize {
			return ed25519.NewKeyFromSeed(k.Private), nil
		}
	}
	return nil, fmt.Errorf("no key of algorithm %d", k.Algorithm)
}

// Parse reads the text of a key file. Its errors quote nothing of it but field
// names and algorithm numbers.
func Parse(text []byte) (*Key, error) {
	switch {
	case len(text) > MaxSize:
		return nil, fmt.Errorf("key file: longer than %d bytes", MaxSize)
	case bytes.HasPrefix(text, []byte("Private-key-format:")):
		return parseBIND(text)
	case bytes.Contains(text, []byte("-----BEGIN ")):
		return parsePEM(text)
	case len(text) > 0 && text[0] == 0x30: // a SEQUENCE
		return parsePKCS8(text)
	}
	return nil, errors.New("key file: neither BIND's (Private-key-format: v1.3), PEM nor PKCS #8")
}

// version is one of BIND's formats: 1.2 and later differ in fields that are
// notes.
var version = regexp.MustCompile(`^v1\.[2-9]$`)

func parseBIND(text []byte) (*Key, error) {
	fields := map[string]string{}
	for i, line := range strings.Split(string(text), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == ';' {
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if _, twice := fields[name]; !ok || twice {
			return nil, fmt.Errorf("key file: line %d: want \"Field: value\", each field once", i+1)
		}
		fields[name] = strings.TrimSpace(value)
	}
	if !version.MatchString(fields["Private-key-format"]) {
		return nil, errors.New("key file: its Private-key-format is not v1.2 or v1.3")
	}
	number, _, _ := strings.Cut(fields["Algorithm"], " ")
	algorithm, err := strconv.ParseUint(number, 10, 8)
	if err != nil {
		return nil, errors.New("key file: Algorithm is no number")
	}
	switch algorithm {
	case dnssec.RSASHA256:
		return fromFields(fields)
	case dnssec.ECDSAP256SHA256, dnssec.ECDSAP384SHA384, dnssec.ED25519:
	default:
		return nil, wrongAlgorithm(fmt.Sprintf("the key is of algorithm %d", algorithm))
	}
	secret, there := fields["PrivateKey"]
	if !there {
		return nil, errors.New("key file: there is no PrivateKey in it; is the key in a hardware module?")
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(secret)
	if err != nil {
		return nil, errors.New("key file: PrivateKey is not base64")
	}
	defer clear(raw)
	if algorithm == dnssec.ED25519 {
		return fromSeed(raw)
	}
	whole := withZeros(uint8(algorithm), raw)
	defer clear(whole)
	return fromNumber(uint8(algorithm), whole)
}

// mostZeros is how many zero bytes in front of a number are restored: one key
// in 2³² has more, a file that was cut or is of another curve may lack any.
const mostZeros = 4

// withZeros is a copy of a private key with the zeros in front that BIND leaves
// out, which is in one key of 256.
func withZeros(algorithm uint8, raw []byte) []byte {
	size := 32
	if algorithm == dnssec.ECDSAP384SHA384 {
		size = 48
	}
	if missing := size - len(raw); missing < 0 || missing > mostZeros {
		size = len(raw)
	}
	whole := make([]byte, size)
	copy(whole[size-len(raw):], raw)
	return whole
}

func parsePEM(text []byte) (*Key, error) {
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return nil, errors.New("key file: no private key in its PEM")
		}
		defer clear(block.Bytes)
		switch {
		case strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED"), block.Type == "ENCRYPTED PRIVATE KEY":
			return nil, errors.New("key file: it is encrypted; decrypt it first, as with `openssl pkey`")
		case block.Type == "EC PRIVATE KEY":
			key, err := x509.ParseECPrivateKey(block.Bytes)
			if err != nil {
				return nil, errors.New("key file: EC PRIVATE KEY: damaged, or of a curve that is not known")
			}
			return fromStandard(key)
		case block.Type == "PRIVATE KEY":
			return parsePKCS8(block.Bytes)
		}
	}
}

func parsePKCS8(der []byte) (*Key, error) {
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, errors.New("key file: PKCS #8: damaged, or of an algorithm that is not known")
	}
	return fromStandard(key)
}

func fromStandard(key any) (*Key, error) {
	switch k := key.(type) {
	case *ecdsa.PrivateKey:
		var algorithm uint8
		switch k.Curve {
		case elliptic.P256():
			algorithm = dnssec.ECDSAP256SHA256
		case elliptic.P384():
			algorithm = dnssec.ECDSAP384SHA384
		default:
			return nil, wrongAlgorithm("the key is on " + k.Curve.Params().Name)
		}
		raw, err := k.Bytes()
		if err != nil {
			return nil, errors.New("key file: the private key is not one of its curve")
		}
		defer clear(raw)
		return fromNumber(algorithm, raw)
	case ed25519.PrivateKey:
		return fromSeed(k.Seed())
	case *rsa.PrivateKey:
		return fromRSA(k)
	}
	return nil, wrongAlgorithm(fmt.Sprintf("it holds a key of type %T", key))
}

// fromNumber checks that 1 ≤ raw < n and computes the public half.
func fromNumber(algorithm uint8, raw []byte) (*Key, error) {
	curve, size := elliptic.P256(), 32
	if algorithm == dnssec.ECDSAP384SHA384 {
		curve, size = elliptic.P384(), 48
	}
	key, err := ecdsa.ParseRawPrivateKey(curve, raw)
	if err != nil {
		return nil, fmt.Errorf("key file: the private key is not one of %s: %d bytes, above 0 and below the order", curve.Params().Name, size)
	}
	public, err := key.PublicKey.Bytes()
	if err != nil {
		return nil, errors.New("key file: the private key has no public half")
	}
	return &Key{Algorithm: algorithm, Public: public[1:], Private: bytes.Clone(raw)}, nil
}

func fromSeed(raw []byte) (*Key, error) {
	if len(raw) != ed25519.SeedSize {
		return nil, fmt.Errorf("key file: the private key of Ed25519 has %d bytes, want %d", len(raw), ed25519.SeedSize)
	}
	key := ed25519.NewKeyFromSeed(raw)
	defer clear(key)
	return &Key{Algorithm: dnssec.ED25519, Public: bytes.Clone(key[ed25519.SeedSize:]), Private: bytes.Clone(raw)}, nil
}

func wrongAlgorithm(what string) error {
	return fmt.Errorf("key file: %s; want one of algorithm 8 (RSA, SHA-256), 13 (ECDSA P-256), 14 (ECDSA P-384) or 15 (Ed25519)", what)
}

// name is how BIND names the files of a key.
var name = regexp.MustCompile(`^K(.+)\+([0-9]{3})\+([0-9]{5})\.(private|key|state)$`)

// CheckName reports that a file's name, where it is one of BIND's, is that of
// another zone, or that its tag is not the key's. The tag depends on the flags
// of the DNSKEY, so it tells a KSK from a ZSK, too. zone ends with a dot.
func CheckName(path, zone string, algorithm uint8, tag uint16) error {
	parts := name.FindStringSubmatch(filepath.Base(path))
	if parts == nil {
		return nil
	}
	inFile := zone
	if apex, err := dnssec.ParseName(zone); err == nil {
		inFile = fileZone(apex)
	}
	if !strings.EqualFold(strings.TrimSuffix(parts[1], ".")+".", inFile) {
		return fmt.Errorf("%s: by its name it is a key of %s, not of %s", path, parts[1], zone)
	}
	if want := fmt.Sprintf("%03d", algorithm); parts[2] != want {
		return fmt.Errorf("%s: by its name it is of algorithm %s, the key in it is of %s", path, parts[2], want)
	}
	if want := fmt.Sprintf("%05d", tag); parts[3] != want {
		return fmt.Errorf("%s: by its name the key's tag is %s, in the role that is wanted it would be %s: is the role right?", path, parts[3], want)
	}
	return nil
}
