// Package sharefile is the form in which an operator is given its share of a
// key that the key's owner has split: public data, which all operators are
// given alike, and the share, sealed so that this operator alone can read it.
//
// Sealing is a key encapsulation with X25519 (RFC 7748), HKDF with SHA-256
// (RFC 5869) and AES-256-GCM, to the operator's identity, which is an Ed25519
// key: both curves are one, up to a map (RFC 7748, section 4.1). Why that key
// may decrypt besides signing is in docs/protocol.md, section 7a. Everything in
// the file is bound to the sealed share as associated data. Who made the file
// is not proven by it: shares that fit the public key can only be made by who
// has the private key, and which key it is, people compare.
package sharefile

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"filippo.io/edwards25519"

	"zonesigner/mpc"
)

// magic begins a file and carries its version.
const magic = "zonesigner share of a dealt key v1\n"

// MaxSize bounds a file in bytes, maxField each of its fields.
const (
	MaxSize  = 64 << 10
	maxField = 32 << 10
)

// Dealing is the public part, the same for all operators.
type Dealing struct {
	Group       string // its name, for people
	Epoch       uint64 // of the group
	GroupDigest [32]byte
	Zone        string
	Role        string // KSK, ZSK or CSK
	Engine      string
	Public      []byte // as in a DNSKEY
	Shares      []byte // public shares of all operators, as the engine encodes them
}

// Digest names the dealing: who has the same was dealt the same key, for the
// same use, by the same randomness.
func (d *Dealing) Digest() [32]byte {
	return mpc.Digest("zonesigner dealing of a key v1", d.append(nil))
}

// append encodes: length-prefixed fields, big-endian numbers.
func (d *Dealing) append(b []byte) []byte {
	b = appendField(b, []byte(d.Group))
	b = binary.BigEndian.AppendUint64(b, d.Epoch)
	b = append(b, d.GroupDigest[:]...)
	for _, text := range []string{d.Zone, d.Role, d.Engine} {
		b = appendField(b, []byte(text))
	}
	return appendField(appendField(b, d.Public), d.Shares)
}

func readDealing(r *mpc.Reader) (d Dealing) {
	d.Group = string(field(r))
	d.Epoch = r.Uint64()
	copy(d.GroupDigest[:], r.Take(32))
	d.Zone, d.Role, d.Engine = string(field(r)), string(field(r)), string(field(r))
	d.Public, d.Shares = bytes.Clone(field(r)), bytes.Clone(field(r))
	return d
}

func appendField(b, field []byte) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(field))), field...)
}

// field reads one of at most maxField bytes.
func field(r *mpc.Reader) []byte {
	n := r.Uint32()
	if n > maxField {
		return r.Take(-1)
	}
	return r.Take(int(n))
}

// Name is what an operator's file is called: by zone, algorithm, tag and
// operator, as in "example.org+013+34812.a.share".
func Name(zone string, algorithm uint8, tag uint16, operator string) string {
	name := strings.TrimSuffix(zone, ".")
	if name == "" {
		name = "root"
	}
	return fmt.Sprintf("%s+%03d+%05d.%s.share", strings.ReplaceAll(name, "/", "%2F"), algorithm, tag, operator)
}

// File is one operator's.
type File struct {
	Dealing
	Operator string

	ephemeral []byte // X25519 public key
	sealed    []byte
	bound     []byte // what comes before sealed
}

// Seal makes the file of the operator whose identity is to. share is secret and
// stays the caller's; random is 32 fresh bytes.
func Seal(d *Dealing, operator string, to ed25519.PublicKey, share []byte, random io.Reader) ([]byte, error) {
	var seed [32]byte
	if _, err := io.ReadFull(random, seed[:]); err != nil {
		return nil, fmt.Errorf("seal share: %w", err)
	}
	defer clear(seed[:])
	ephemeral, err := ecdh.X25519().NewPrivateKey(seed[:])
	if err != nil {
		return nil, fmt.Errorf("seal share: %w", err)
	}
	recipient, err := montgomery(to)
	if err != nil {
		return nil, fmt.Errorf("seal share for operator %s: %w", operator, err)
	}
	secret, err := ephemeral.ECDH(recipient)
	if err != nil {
		return nil, fmt.Errorf("seal share for operator %s: %w", operator, err)
	}
	aead, err := cipherOf(secret, ephemeral.PublicKey(), to)
	if err != nil {
		return nil, err
	}
	b := d.append([]byte(magic))
	b = appendField(b, []byte(operator))
	b = append(b, ephemeral.PublicKey().Bytes()...)
	if len(b)+len(share)+aead.Overhead() > MaxSize {
		return nil, fmt.Errorf("seal share: %d bytes, a file has %d at most", len(b), MaxSize)
	}
	// The key is used once, so the nonce may be constant.
	return aead.Seal(b, make([]byte, aead.NonceSize()), share, bytes.Clone(b)), nil
}

// Parse takes a file apart, strictly. Nothing in it is authentic before Open.
func Parse(b []byte) (*File, error) {
	if len(b) > MaxSize {
		return nil, fmt.Errorf("share file: longer than %d bytes", MaxSize)
	}
	r := mpc.NewReader(b)
	if string(r.Take(len(magic))) != magic {
		return nil, errors.New("share file: it is not the share of a dealt key, of version 1")
	}
	f := &File{Dealing: readDealing(r)}
	f.Operator = string(field(r))
	f.ephemeral = bytes.Clone(r.Take(32))
	if r.Short() {
		return nil, errors.New("share file: it is damaged, or cut off")
	}
	f.bound, f.sealed = bytes.Clone(b[:len(b)-r.Len()]), bytes.Clone(b[len(b)-r.Len():])
	return f, nil
}

// Open returns the share, which is secret, when the file is whole and was
// sealed to key.
func (f *File) Open(key ed25519.PrivateKey) ([]byte, error) {
	private, err := scalar(key)
	if err != nil {
		return nil, err
	}
	sender, err := ecdh.X25519().NewPublicKey(f.ephemeral)
	if err != nil {
		return nil, errors.New("share file: its ephemeral key is none")
	}
	secret, err := private.ECDH(sender) // refuses points of small order
	if err != nil {
		return nil, errors.New("share file: its ephemeral key is none")
	}
	aead, err := cipherOf(secret, sender, key.Public().(ed25519.PublicKey))
	if err != nil {
		return nil, err
	}
	share, err := aead.Open(nil, make([]byte, aead.NonceSize()), f.sealed, f.bound)
	if err != nil {
		return nil, errors.New("share file: it is damaged, or sealed to another identity")
	}
	return share, nil
}

// cipherOf derives the key of one file and erases secret. The label parts it
// from whatever else the identity is used for.
func cipherOf(secret []byte, ephemeral *ecdh.PublicKey, to ed25519.PublicKey) (cipher.AEAD, error) {
	defer clear(secret)
	info := "zonesigner sealed share v1\n" + string(ephemeral.Bytes()) + string(to)
	key, err := hkdf.Key(sha256.New, secret, nil, info, 32)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// montgomery maps an Ed25519 public key to that of X25519 with the same private
// number.
func montgomery(key ed25519.PublicKey) (*ecdh.PublicKey, error) {
	p, err := new(edwards25519.Point).SetBytes(key)
	if err != nil {
		return nil, errors.New("its identity is no Ed25519 key")
	}
	return ecdh.X25519().NewPublicKey(p.BytesMontgomery())
}

// scalar is the private number of an Ed25519 key (RFC 8032, section 5.1.5),
// which X25519 clamps alike (RFC 7748, section 5).
func scalar(key ed25519.PrivateKey) (*ecdh.PrivateKey, error) {
	if len(key) != ed25519.PrivateKeySize {
		return nil, errors.New("share file: the identity is no Ed25519 key")
	}
	h := sha512.Sum512(key.Seed())
	defer clear(h[:])
	return ecdh.X25519().NewPrivateKey(h[:32])
}
