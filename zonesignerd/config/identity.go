package config

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/nats-io/nkeys"
)

// NewIdentity makes an operator's identity: the seed, as it stands in its
// file, and the public key. The seed is secret.
func NewIdentity() (seed []byte, nkey string, err error) {
	pair, err := nkeys.CreateUser()
	if err != nil {
		return nil, "", fmt.Errorf("making an identity: %w", err)
	}
	defer pair.Wipe()
	if seed, err = pair.Seed(); err != nil {
		return nil, "", fmt.Errorf("making an identity: %w", err)
	}
	if nkey, err = pair.PublicKey(); err != nil {
		return nil, "", fmt.Errorf("making an identity: %w", err)
	}
	return append(seed, '\n'), nkey, nil
}

// ReadIdentity reads an identity file, which nobody but its owner may read.
func ReadIdentity(path string) (ed25519.PrivateKey, error) {
	text, err := ReadSecret(path, 256)
	if err != nil {
		return nil, err
	}
	prefix, raw, err := nkeys.DecodeSeed(bytes.TrimSpace(text))
	if err != nil || prefix != nkeys.PrefixByteUser || len(raw) != ed25519.SeedSize {
		return nil, fmt.Errorf("%s holds no nkey seed: want 58 characters that begin with SU", path)
	}
	return ed25519.NewKeyFromSeed(raw), nil
}

// NKey is the text form of a public key.
func NKey(key ed25519.PublicKey) (string, error) {
	text, err := nkeys.Encode(nkeys.PrefixByteUser, key)
	return string(text), err
}

// PublicKey decodes an operator's nkey.
func PublicKey(nkey string) (ed25519.PublicKey, error) {
	raw, err := nkeys.Decode(nkeys.PrefixByteUser, []byte(nkey))
	if err != nil || len(raw) != ed25519.PublicKeySize {
		return nil, errNotNKey
	}
	// Base32 has spare bits at its end: two texts must not be one key, or one
	// operator could stand in a group under two names.
	if again, err := NKey(raw); err != nil || again != nkey {
		return nil, errNotNKey
	}
	return raw, nil
}

// ReadSecret reads a file of at most limit bytes that holds a secret. It
// refuses one that others than its owner may read.
func ReadSecret(path string, limit int64) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe is not waited for, but refused
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: want a regular file", path)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("%s has mode %04o, others may use it: want 0600", path, mode)
	}
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	if int64(len(text)) > limit {
		return nil, errors.New(path + " is longer than such a file can be")
	}
	return text, nil
}
