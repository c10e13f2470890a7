package config

import (
	"crypto/x509"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// LoadDaemon reads the daemon's configuration. Paths in it that are relative
// are taken from the file's own directory.
func LoadDaemon(path string) (*Daemon, error) {
	text, err := ReadFile(path)
	if err != nil {
		return nil, err
	}
	c, err := ParseDaemon(path, text)
	if err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	c.resolve(dir)
	return c, nil
}

// LoadGroup reads a group file.
func LoadGroup(path string) (*Group, error) {
	text, err := ReadFile(path)
	if err != nil {
		return nil, err
	}
	return ParseGroup(path, text)
}

// LoadPolicy reads a zone's policy.
func LoadPolicy(path string) (*Policy, error) {
	text, err := ReadFile(path)
	if err != nil {
		return nil, err
	}
	return ParsePolicy(path, text)
}

// ParseDaemon reads the text of a daemon's configuration; file is its name
// for messages. All faults are reported at once, as Faults. Paths stay as
// they are written.
func ParseDaemon(file string, text []byte) (*Daemon, error) {
	c := defaultDaemon()
	if err := parse(file, text, &c, "daemon", &c.Version, c.Validate); err != nil {
		return nil, err
	}
	return &c, nil
}

// ParseGroup reads the text of a group file, like ParseDaemon.
func ParseGroup(file string, text []byte) (*Group, error) {
	g := defaultGroup()
	if err := parse(file, text, &g, "group", &g.Version, g.Validate); err != nil {
		return nil, err
	}
	return &g, nil
}

// ParsePolicy reads the text of a zone's policy, like ParseDaemon.
func ParsePolicy(file string, text []byte) (*Policy, error) {
	p := defaultPolicy()
	validate := func() error {
		p.normalise()
		return p.Validate()
	}
	if err := parse(file, text, &p, "policy", &p.Version, validate); err != nil {
		return nil, err
	}
	return &p, nil
}

// parse reads text over the defaults in v.
func parse(file string, text []byte, v any, what string, version *int, validate func() error) error {
	d, err := decode(file, text, v)
	if err != nil {
		return err
	}
	if err := d.version(what, *version); err != nil {
		return err
	}
	return d.finish(validate)
}

// ReadCA reads nats.ca, a file of certificates in PEM; nil without a file.
func ReadCA(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("nats.ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("nats.ca: %s: expected certificates in PEM, it holds none", path)
	}
	return pool, nil
}

// ReadFile reads the text of a file, or as much of one that is too large as its
// parser needs to say so.
func ReadFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return text, nil
}
