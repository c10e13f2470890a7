package keyfile

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"zonesigner/dnssec"
)

// Mnemonics are the names of the algorithms (RFC 8624, section 3.1).
var Mnemonics = map[uint8]string{
	dnssec.RSASHA256: "RSASHA256", dnssec.ECDSAP256SHA256: "ECDSAP256SHA256",
	dnssec.ECDSAP384SHA384: "ECDSAP384SHA384", dnssec.ED25519: "ED25519",
}

// Generate makes a new key; of algorithm 8, one of 2,048 bits.
func Generate(algorithm uint8) (*Key, error) {
	var key any
	var err error
	switch algorithm {
	case dnssec.RSASHA256:
		key, err = rsa.GenerateKey(rand.Reader, rsaSize)
	case dnssec.ECDSAP256SHA256:
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case dnssec.ECDSAP384SHA384:
		key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case dnssec.ED25519:
		_, key, err = ed25519.GenerateKey(rand.Reader)
	default:
		return nil, fmt.Errorf("algorithm %d: want 8, 13, 14 or 15", algorithm)
	}
	if err != nil {
		return nil, err
	}
	return fromStandard(key)
}

// BIND is the text of the key's file in BIND's form, which is secret.
func (k *Key) BIND() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "Private-key-format: v1.3\nAlgorithm: %d (%s)\n", k.Algorithm, Mnemonics[k.Algorithm])
	field := func(name string, raw []byte) {
		fmt.Fprintf(&b, "%s: %s\n", name, base64.StdEncoding.EncodeToString(raw))
	}
	signer, err := k.Signer()
	if key, ok := signer.(*rsa.PrivateKey); ok && err == nil {
		for i, n := range rsaNumbers(key) {
			field(rsaNames[i], n.Bytes())
		}
	} else {
		field("PrivateKey", k.Private)
	}
	return b.Bytes()
}

// Write puts the key, whose DNSKEY is record, into two files of a directory as
// BIND has them, and returns their path without .private and .key. A file that
// is there is not overwritten: the error is fs.ErrExist. After an error neither
// file is left of those that it made.
func (k *Key) Write(dir string, zone dnssec.Name, record dnssec.Key) (base string, err error) {
	base = filepath.Join(dir, fmt.Sprintf("K%s+%03d+%05d", fileZone(zone), record.Algorithm, record.KeyTag()))
	text := fmt.Sprintf("; key tag %d\n%s IN DNSKEY %d 3 %d %s\n", record.KeyTag(), zone, record.Flags, record.Algorithm,
		base64.StdEncoding.EncodeToString(record.PublicKey))
	private := k.BIND()
	defer clear(private)
	if err := writeNew(base+".private", private, 0o600); err != nil {
		return "", err
	}
	if err := writeNew(base+".key", []byte(text), 0o644); err != nil {
		return "", errors.Join(err, os.Remove(base+".private"))
	}
	return base, nil
}

// writeNew writes a file that is not there yet, in full or not at all.
func writeNew(path string, text []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// Pattern matches the names of the private keys of a zone and algorithm.
func Pattern(zone dnssec.Name, algorithm uint8) string {
	return fmt.Sprintf("K%s+%03d+[0-9][0-9][0-9][0-9][0-9].private", fileZone(zone), algorithm)
}

// fileZone is a zone's name as BIND has it in names of files: all but letters,
// digits, - and _ is escaped, so that no name leads to another directory, as
// those of RFC 2317 would.
func fileZone(zone dnssec.Name) string {
	if zone == dnssec.Root {
		return "."
	}
	var b []byte
	for len(zone) > 1 {
		for _, c := range []byte(zone[1 : 1+zone[0]]) {
			switch {
			case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_':
				b = append(b, c)
			default:
				b = fmt.Appendf(b, "%%%02X", c)
			}
		}
		b = append(b, '.')
		zone = zone.Parent()
	}
	return string(b)
}
