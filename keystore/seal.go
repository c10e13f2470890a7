package keystore

import (
	"bytes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/chacha20poly1305"
)

const keySize = chacha20poly1305.KeySize

// box seals values under the data key with XChaCha20-Poly1305, whose 24-byte
// nonces are long enough to be drawn at random for the life of a key.
type box struct {
	aead   cipher.AEAD
	macKey []byte // for state.toggle
}

func newBox(dataKey []byte) (*box, error) {
	a, err := chacha20poly1305.NewX(dataKey)
	if err != nil {
		return nil, err
	}
	macKey, err := hkdf.Expand(sha256.New, dataKey, "zonesigner keystore pools", sha256.Size)
	if err != nil {
		return nil, err
	}
	return &box{a, macKey}, nil
}

// seal returns nonce, ciphertext and tag. The place (bucket path and key) and
// the format are authenticated, so a value moved elsewhere does not open.
func (b *box) seal(value, key []byte, bucket ...[]byte) []byte {
	nonce := make([]byte, b.aead.NonceSize(), b.aead.NonceSize()+len(value)+b.aead.Overhead())
	rand.Read(nonce)
	return b.aead.Seal(nonce, nonce, value, place(key, bucket))
}

// open is the inverse of seal.
func (b *box) open(sealed, key []byte, bucket ...[]byte) ([]byte, error) {
	n := b.aead.NonceSize()
	if len(sealed) < n+b.aead.Overhead() {
		return nil, fmt.Errorf("%w: value of %q in bucket %q is cut short", ErrDamaged, key, bytes.Join(bucket, []byte("/")))
	}
	value, err := b.aead.Open(nil, sealed[:n], sealed[n:], place(key, bucket))
	if err != nil {
		return nil, fmt.Errorf("%w: value of %q in bucket %q fails its authentication", ErrDamaged, key, bytes.Join(bucket, []byte("/")))
	}
	return value, nil
}

func place(key []byte, bucket [][]byte) []byte {
	aad := fmt.Appendf(nil, "zonesigner keystore %d\x00", format)
	for _, part := range append(bucket[:len(bucket):len(bucket)], key) {
		aad = binary.BigEndian.AppendUint32(aad, uint32(len(part)))
		aad = append(aad, part...)
	}
	return aad
}

// Kinds of sealing key, as the file names them.
const (
	kindKey        = "key"        // 32 random bytes, from a key file or a credential
	kindPassphrase = "passphrase" // argon2id
)

// Source is where the sealing key comes from. It is read when the store is
// opened or resealed, and not kept.
type Source struct {
	kind string
	name string
	read func() ([]byte, error) // the key, or the passphrase
	cost argonCost              // of a new wrapping, by passphrase
}

// String names the source, without its content.
func (s Source) String() string { return s.name }

// KeyFile is a file with 32 random bytes in hexadecimal, readable by its owner
// alone (mode 0600 or less).
func KeyFile(path string) Source {
	return Source{kind: kindKey, name: "key file " + path, read: func() ([]byte, error) {
		return readKey(path, true)
	}}
}

// Credential is a systemd credential (systemd.exec(5), LoadCredential= and
// LoadCredentialEncrypted=) with the content of a key file. A store may be
// opened with a key file one day and with the same key as credential the next.
func Credential(name string) Source {
	return Source{kind: kindKey, name: "credential " + name, read: func() ([]byte, error) {
		dir := os.Getenv("CREDENTIALS_DIRECTORY")
		if dir == "" {
			return nil, errors.New("CREDENTIALS_DIRECTORY is not set; the service needs LoadCredential= or LoadCredentialEncrypted=")
		}
		if name == "" || name != filepath.Base(name) || strings.HasPrefix(name, ".") {
			return nil, fmt.Errorf("credential name %q is not a file name", name)
		}
		return readKey(filepath.Join(dir, name), false) // systemd sets the permissions
	}}
}

// PassphraseFile is a file with the passphrase on its first line, readable by
// its owner alone.
func PassphraseFile(path string) Source {
	return Source{kind: kindPassphrase, name: "passphrase file " + path, cost: defaultCost, read: func() ([]byte, error) {
		b, err := readSmall(path, true)
		if err != nil {
			return nil, err
		}
		line, _, _ := bytes.Cut(b, []byte("\n"))
		return bytes.TrimSuffix(line, []byte("\r")), nil
	}}
}

// Passphrase asks ask for the passphrase, for instance at a terminal.
func Passphrase(ask func() ([]byte, error)) Source {
	return Source{kind: kindPassphrase, name: "passphrase", cost: defaultCost, read: ask}
}

// NewKeyFile writes a fresh key file for KeyFile; it never replaces a file.
func NewKeyFile(path string) error {
	key := make([]byte, keySize)
	rand.Read(key)
	defer clear(key)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return fmt.Errorf("new key file: %w", err)
	}
	_, err = fmt.Fprintf(f, "%x\n", key)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		os.Remove(path)
		return fmt.Errorf("new key file: %w", err)
	}
	return syncDir(filepath.Dir(path))
}

func readKey(path string, private bool) ([]byte, error) {
	b, err := readSmall(path, private)
	if err != nil {
		return nil, err
	}
	defer clear(b)
	key, err := parseKey(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

// parseKey reads 64 hexadecimal digits, one newline allowed.
func parseKey(b []byte) ([]byte, error) {
	b = bytes.TrimSuffix(b, []byte("\n"))
	key := make([]byte, keySize)
	if len(b) != hex.EncodedLen(keySize) {
		return nil, fmt.Errorf("has %d characters, expected 64 hexadecimal digits", len(b))
	}
	if _, err := hex.Decode(key, b); err != nil {
		return nil, errors.New("expected 64 hexadecimal digits")
	}
	return key, nil
}

// readSmall reads a file of at most 4 KiB. Permissions are checked on the open
// file, so that it cannot be exchanged in between.
func readSmall(path string, private bool) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	if private && info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%w: %s has mode %04o, expected 0600", ErrPermissions, path, info.Mode().Perm())
	}
	const limit = 4096
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if len(b) > limit {
		return nil, fmt.Errorf("%s is longer than %d bytes", path, limit)
	}
	return b, nil
}

// argonCost is what argon2id (RFC 9106) is run with.
type argonCost struct {
	Time    uint32 `json:"time"`
	Memory  uint32 `json:"memory_kib"`
	Threads uint8  `json:"threads"`
}

// defaultCost is the second recommendation of RFC 9106, section 4.
var defaultCost = argonCost{Time: 3, Memory: 64 << 10, Threads: 4}

// check bounds what a file may make us spend: 1 GiB and 64 passes.
func (c argonCost) check() error {
	if c.Time < 1 || c.Time > 64 || c.Memory < 8 || c.Memory > 1<<20 || c.Threads < 1 || c.Threads > 64 {
		return fmt.Errorf("argon2id parameters %+v are out of bounds", c)
	}
	return nil
}

// sealRecord is how the data key lies in the file: JSON after its SHA-256.
// The checksum tells damage from a wrong key.
type sealRecord struct {
	Kind    string     `json:"kind"`
	Cost    *argonCost `json:"argon2id,omitempty"`
	Salt    []byte     `json:"salt,omitempty"`
	Wrapped []byte     `json:"wrapped"` // by box.seal
}

var wrapPlace = []byte("data key")

func wrap(src Source, dataKey []byte) ([]byte, error) {
	rec := sealRecord{Kind: src.kind}
	if src.kind == kindPassphrase {
		rec.Cost = &src.cost
		rec.Salt = make([]byte, 16)
		rand.Read(rec.Salt)
	}
	kek, err := rec.kek(src)
	if err != nil {
		return nil, err
	}
	rec.Wrapped = kek.seal(dataKey, wrapPlace, bucketMeta)
	text, err := json.Marshal(rec)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(text)
	return append(sum[:], text...), nil
}

func unwrap(src Source, stored []byte) ([]byte, error) {
	rec, err := parseSealRecord(stored)
	if err != nil {
		return nil, err
	}
	if src.kind != rec.Kind {
		return nil, fmt.Errorf("%w: it is sealed with a %s, but was given %s", ErrBadSource, rec.Kind, src.describe())
	}
	kek, err := rec.kek(src)
	if err != nil {
		return nil, err
	}
	dataKey, err := kek.open(rec.Wrapped, wrapPlace, bucketMeta)
	if err != nil {
		if rec.Kind == kindPassphrase {
			return nil, fmt.Errorf("%w: the passphrase is not the one it was sealed with (%s)", ErrWrongKey, src)
		}
		return nil, fmt.Errorf("%w: the key is not the one it was sealed with (%s)", ErrWrongKey, src)
	}
	return dataKey, nil
}

func (s Source) describe() string {
	if s.kind == "" {
		return "nothing"
	}
	return s.name
}

func parseSealRecord(stored []byte) (*sealRecord, error) {
	if len(stored) < sha256.Size || sha256.Sum256(stored[sha256.Size:]) != [sha256.Size]byte(stored[:sha256.Size]) {
		return nil, fmt.Errorf("%w: the record of the sealing key fails its checksum", ErrDamaged)
	}
	var rec sealRecord
	if err := json.Unmarshal(stored[sha256.Size:], &rec); err != nil {
		return nil, fmt.Errorf("%w: the record of the sealing key: %w", ErrDamaged, err)
	}
	switch {
	case rec.Kind == kindKey && rec.Cost == nil:
	case rec.Kind == kindPassphrase && rec.Cost != nil && len(rec.Salt) == 16:
		if err := rec.Cost.check(); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
	default:
		return nil, fmt.Errorf("%w: the record of the sealing key has kind %q, which is unknown or incomplete", ErrDamaged, rec.Kind)
	}
	return &rec, nil
}

// kek makes the key that wraps the data key.
func (r *sealRecord) kek(src Source) (*box, error) {
	if src.read == nil {
		return nil, fmt.Errorf("%w: none is configured", ErrBadSource)
	}
	secret, err := src.read()
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrBadSource, src, err)
	}
	defer clear(secret)
	if r.Kind == kindPassphrase {
		if len(secret) == 0 {
			return nil, fmt.Errorf("%w: %s: the passphrase is empty", ErrBadSource, src)
		}
		secret = argon2.IDKey(secret, r.Salt, r.Cost.Time, r.Cost.Memory, r.Cost.Threads, keySize)
		defer clear(secret)
	}
	return newBox(secret)
}
