package config

import (
	"net/url"
	"path/filepath"
	"time"
)

// DefaultDir is where the files are by default.
const DefaultDir = "/etc/zonesigner"

// DefaultSocket is the local command socket by default.
const DefaultSocket = "/run/zonesigner/control.sock"

func defaultDaemon() Daemon {
	return Daemon{
		Identity:     filepath.Join(DefaultDir, "identity.seed"),
		Group:        filepath.Join(DefaultDir, "group.yaml"),
		State:        "/var/lib/zonesigner",
		Run:          "/run/zonesigner",
		Socket:       Socket{Path: DefaultSocket},
		Knot:         Knot{Hidden: "/run/knot-hidden/knot.sock", Public: "/run/knot/knot.sock", Timeout: Duration(30 * time.Second)},
		PollInterval: Duration(2 * time.Second),
		Pools:        Pools{Depth: 4096, Changes: 128, Chunk: 1024},
		Sessions:     Sessions{Timeout: Duration(10 * time.Second), ClockBound: Duration(time.Minute), Settle: Duration(30 * time.Second)},
		Log:          Log{Level: "info", Format: "text"},
	}
}

// resolve makes the paths absolute, those that are relative from dir.
func (c *Daemon) resolve(dir string) {
	for _, p := range []*string{
		&c.Identity, &c.Group, &c.State, &c.Run, &c.Socket.Path,
		&c.Keystore.KeyFile, &c.Keystore.PassphraseFile, &c.Knot.Hidden, &c.Knot.Public, &c.Knot.Transfer.TSIG, &c.NATS.CA,
	} {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
}

// Validate returns all that is wrong, as Faults, or nil. It looks at no file.
func (c *Daemon) Validate() error {
	var fs faults
	if !validName(c.Operator) {
		fs.add("operator", "%q is no operator's name: want %s", c.Operator, nameForm)
	}
	for _, p := range []struct{ key, value string }{
		{"identity", c.Identity}, {"group", c.Group}, {"state", c.State}, {"run", c.Run},
		{"socket.path", c.Socket.Path}, {"knot.hidden", c.Knot.Hidden}, {"knot.public", c.Knot.Public},
	} {
		if p.value == "" {
			fs.add(p.key, "missing: want a path")
		}
	}
	// A socket's path has to fit sockaddr_un, 108 bytes with its final zero.
	if len(c.Socket.Path) > 107 {
		fs.add("socket.path", "has %d bytes: a socket's path has at most 107", len(c.Socket.Path))
	}
	if c.Knot.Hidden != "" && c.Knot.Hidden == c.Knot.Public {
		fs.add("knot.public", "is the hidden Knot's socket too: one Knot cannot hold both forms of a zone")
	}
	if c.State != "" && c.State == c.Run {
		fs.add("run", "is the state directory too: it must be emptied by a reboot, the state must not be")
	}
	switch t := c.Knot.Transfer; {
	case t.Listen == "" && t.TSIG != "":
		fs.add("knot.transfer.listen", "missing: want it together with knot.transfer.tsig, as in 127.0.0.1:5380")
	case t.Listen != "" && t.TSIG == "":
		fs.add("knot.transfer.tsig", "missing: who has no key must not get zones, nor give Knot others")
	case t.Listen != "":
		if err := checkHostPort(t.Listen, true); err != nil {
			fs.add("knot.transfer.listen", "%v", err)
		}
	}
	c.validateKeystore(&fs)
	c.validateNATS(&fs)

	bounded := func(path string, d Duration, least, most time.Duration) {
		if time.Duration(d) < least || time.Duration(d) > most {
			fs.add(path, "%s: want %s to %s", d, Duration(least), Duration(most))
		}
	}
	bounded("poll-interval", c.PollInterval, time.Second, 24*time.Hour)
	bounded("knot.timeout", c.Knot.Timeout, time.Second, time.Hour)
	bounded("sessions.timeout", c.Sessions.Timeout, time.Second, time.Hour)
	bounded("sessions.clock-bound", c.Sessions.ClockBound, time.Second, time.Minute)
	bounded("sessions.settle", c.Sessions.Settle, 0, time.Hour)
	if c.Pools.Depth < 0 || c.Pools.Depth > 16<<20 {
		fs.add("pools.depth", "%d: want 0 to %d", c.Pools.Depth, 16<<20)
	}
	if c.Pools.Changes < 0 || c.Pools.Changes > 1<<20 {
		fs.add("pools.changes", "%d: want 0 to %d", c.Pools.Changes, 1<<20)
	}
	if c.Pools.Chunk < 1 || c.Pools.Chunk > 8192 {
		fs.add("pools.chunk", "%d: want 1 to 8192", c.Pools.Chunk)
	}
	fs.oneOf("log.level", c.Log.Level, "debug", "info", "warn", "error")
	fs.oneOf("log.format", c.Log.Format, "text", "json")
	return fs.err()
}

func (c *Daemon) validateKeystore(fs *faults) {
	set := 0
	for _, v := range []string{c.Keystore.KeyFile, c.Keystore.Credential, c.Keystore.PassphraseFile} {
		if v != "" {
			set++
		}
	}
	if set != 1 {
		fs.add("keystore", "%d of key-file, credential and passphrase-file are set: want exactly one", set)
	}
	if c.Keystore.Credential != "" && filepath.Base(c.Keystore.Credential) != c.Keystore.Credential {
		fs.add("keystore.credential", "%q is a path: want the name that LoadCredential gives", c.Keystore.Credential)
	}
}

func (c *Daemon) validateNATS(fs *faults) {
	switch {
	case c.NATS.Listen == "" && len(c.NATS.URLs) == 0:
		fs.add("nats", "neither listen nor urls is set: want listen, as in 0.0.0.0:7473")
	case c.NATS.Listen != "" && len(c.NATS.URLs) > 0:
		fs.add("nats.urls", "listen is set too: want one of them, the embedded server is off with urls")
	case c.NATS.Listen != "":
		if err := checkHostPort(c.NATS.Listen, true); err != nil {
			fs.add("nats.listen", "%v", err)
		}
	}
	for i, u := range c.NATS.URLs {
		parsed, err := url.Parse(u)
		if err != nil || (parsed.Scheme != "nats" && parsed.Scheme != "tls") || parsed.Hostname() == "" {
			fs.add(index("nats.urls", i), "not a server: want nats://host:port or tls://host:port")
		} else if parsed.User != nil {
			fs.add(index("nats.urls", i), "holds a user: operators authenticate with their nkeys")
		} else if c.NATS.CA != "" && parsed.Scheme != "tls" {
			fs.add(index("nats.urls", i), "is without tls, and nats.ca is set: want tls://host:port")
		}
	}
	if c.NATS.CA != "" && len(c.NATS.URLs) == 0 {
		fs.add("nats.ca", "is for the servers of nats.urls: the embedded one knows the operators by their nkeys")
	}
}
