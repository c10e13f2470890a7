package localkeys

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"zonesigner/dnssec"
	"zonesigner/zonesignerd/config"
	"zonesigner/zonesignerd/internal/keyfile"
)

// The roles of keys that are named before their file.
const (
	roleKSK     = "ksk"
	roleZSK     = "zsk"
	roleCSK     = "csk"
	rolePublish = "publish" // in the DNSKEY RRset, and signs nothing
)

// Load reads the key that spec names: [ksk:|zsk:|csk:|publish:]FILE. FILE is
// one of BIND's, with or without .private or .key, PEM or PKCS #8. What the
// role does not say, the DNSKEY in the .key file beside says, or the key tag in
// the file's name. With publish:, FILE is a .key file, and its private half is
// not needed.
func Load(spec string, apex dnssec.Name) (*Key, error) {
	role, path := splitRole(spec)
	if role == rolePublish {
		record, err := readRecord(withSuffix(path, ".key"), apex)
		if err != nil {
			return nil, err
		}
		return published(record, withSuffix(path, ".key")), nil
	}
	if !exists(path) || strings.HasSuffix(path, ".key") {
		if p := withSuffix(path, ".private"); exists(p) {
			path = p
		}
	}
	text, err := config.ReadSecret(path, keyfile.MaxSize)
	if err != nil {
		return nil, err
	}
	defer clear(text)
	secret, err := keyfile.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	defer secret.Erase()
	flags, err := flagsOf(role, path, apex, secret)
	if err != nil {
		return nil, err
	}
	return newKey(secret, flags, role == roleCSK, apex, path)
}

func newKey(secret *keyfile.Key, flags uint16, csk bool, apex dnssec.Name, source string) (*Key, error) {
	k := &Key{Source: source, Key: dnssec.Key{Flags: flags, CSK: csk, Algorithm: secret.Algorithm, PublicKey: secret.Public, State: dnssec.Active}}
	k.ID = keyID(k.Key)
	if err := k.Validate(); err != nil {
		return nil, fmt.Errorf("%s: %w", source, err)
	}
	if err := keyfile.CheckName(source, apex.String(), k.Algorithm, k.KeyTag()); err != nil {
		return nil, err
	}
	private, err := secret.Signer()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", source, err)
	}
	if k.signer, err = newSigner(private, k.Key, secret.Private); err != nil {
		return nil, fmt.Errorf("%s: %w", source, err)
	}
	return k, nil
}

func published(record dnssec.Key, source string) *Key {
	record.State = dnssec.Published
	record.ID = keyID(record)
	return &Key{Key: record, Source: source}
}

// keyID is how manifests name the key: by algorithm and tag, as BIND's files.
func keyID(k dnssec.Key) string { return fmt.Sprintf("%03d+%05d", k.Algorithm, k.KeyTag()) }

func splitRole(spec string) (role, path string) {
	role, path, ok := strings.Cut(spec, ":")
	if ok && slices.Contains([]string{roleKSK, roleZSK, roleCSK, rolePublish}, role) {
		return role, path
	}
	return "", spec
}

func withSuffix(path, suffix string) string {
	return strings.TrimSuffix(strings.TrimSuffix(path, ".key"), ".private") + suffix
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// tagInName is the key tag in a name of BIND's.
var tagInName = regexp.MustCompile(`^K.+\+[0-9]{3}\+([0-9]{5})\.private$`)

// flagsOf says what a key is for.
func flagsOf(role, path string, apex dnssec.Name, secret *keyfile.Key) (uint16, error) {
	switch role {
	case roleKSK, roleCSK:
		return 257, nil
	case roleZSK:
		return 256, nil
	}
	if beside := withSuffix(path, ".key"); beside != path && exists(beside) {
		record, err := readRecord(beside, apex)
		if err != nil {
			return 0, err
		}
		if record.Algorithm != secret.Algorithm || !slices.Equal(record.PublicKey, secret.Public) {
			return 0, fmt.Errorf("%s: its DNSKEY is not that of the private key in %s", beside, path)
		}
		return record.Flags, nil
	}
	if parts := tagInName.FindStringSubmatch(filepath.Base(path)); parts != nil {
		for _, flags := range []uint16{257, 256} {
			k := dnssec.Key{Flags: flags, Algorithm: secret.Algorithm, PublicKey: secret.Public}
			if fmt.Sprintf("%05d", k.KeyTag()) == parts[1] {
				return flags, nil
			}
		}
	}
	return 0, fmt.Errorf("%s: nothing says what the key is for: put ksk:, zsk: or csk: before the file's name", path)
}

// readRecord reads a .key file, which has one DNSKEY record of the zone.
func readRecord(path string, apex dnssec.Name) (k dnssec.Key, err error) {
	defer func() {
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%s: %w", path, err)
		}
	}()
	f, err := os.Open(path)
	if err != nil {
		return k, err
	}
	defer f.Close()
	zp := dns.NewZoneParser(io.LimitReader(f, keyfile.MaxSize), ".", "")
	zp.SetDefaultTTL(3600)
	var found *dns.DNSKEY
	for rr, ok := zp.Next(); ok; rr, ok = zp.Next() {
		record, isKey := rr.(*dns.DNSKEY)
		if !isKey || found != nil {
			return k, errors.New("want one DNSKEY record and nothing else")
		}
		found = record
	}
	if err := zp.Err(); err != nil {
		return k, err
	}
	if found == nil {
		return k, errors.New("no DNSKEY record in it")
	}
	owner, err := dnssec.ParseName(found.Hdr.Name)
	if err != nil {
		return k, err
	}
	if owner != apex {
		return k, fmt.Errorf("a key of %s, not of %s", owner, apex)
	}
	public, err := base64.StdEncoding.DecodeString(found.PublicKey)
	if err != nil {
		return k, errors.New("the public key is not base64")
	}
	k = dnssec.Key{ID: "key", Flags: found.Flags, Algorithm: found.Algorithm, PublicKey: public, State: dnssec.Active}
	if found.Protocol != 3 {
		return k, fmt.Errorf("protocol %d, want 3", found.Protocol)
	}
	if found.Flags&dns.REVOKE != 0 {
		return k, errors.New("the key is revoked (RFC 5011)")
	}
	return k, k.Validate()
}

// Create makes new keys of a zone in a directory, as BIND has them: a KSK and
// a ZSK, or one CSK. Nothing is overwritten, and where the directory has keys
// of the zone and algorithm already, nothing is made.
func Create(dir string, apex dnssec.Name, algorithm uint8, csk bool) ([]*Key, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	there, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, f := range there {
		if ok, _ := filepath.Match(keyfile.Pattern(apex, algorithm), f.Name()); ok {
			return nil, fmt.Errorf("%s is there: keys of %s and algorithm %d are not made a second time; sign with --key", filepath.Join(dir, f.Name()), apex, algorithm)
		}
	}
	roles := []uint16{257, 256}
	if csk {
		roles = roles[:1]
	}
	var keys []*Key
	for _, flags := range roles {
		k, err := create(dir, apex, algorithm, flags, csk, keys)
		if err != nil {
			return nil, errors.Join(err, Remove(keys)) // a part of a key set is of no use
		}
		keys = append(keys, k)
	}
	return keys, nil
}

// Remove removes the files of keys that Create made.
func Remove(made []*Key) error {
	var errs []error
	for _, k := range made {
		errs = append(errs, os.Remove(k.Source), os.Remove(withSuffix(k.Source, ".key")))
	}
	return errors.Join(errs...)
}

func create(dir string, apex dnssec.Name, algorithm uint8, flags uint16, csk bool, beside []*Key) (*Key, error) {
	for {
		secret, err := keyfile.Generate(algorithm)
		if err != nil {
			return nil, err
		}
		record := dnssec.Key{Flags: flags, Algorithm: algorithm, PublicKey: secret.Public}
		if slices.ContainsFunc(beside, func(k *Key) bool { return k.KeyTag() == record.KeyTag() }) {
			secret.Erase()
			continue // validators would have to try both
		}
		defer secret.Erase()
		base, err := secret.Write(dir, apex, record)
		if err != nil {
			return nil, err
		}
		k, err := newKey(secret, flags, csk, apex, base+".private")
		if err != nil {
			return nil, errors.Join(err, Remove([]*Key{{Source: base + ".private"}}))
		}
		return k, nil
	}
}
