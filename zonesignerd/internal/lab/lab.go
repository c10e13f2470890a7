package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"zonesigner/knot"
	"zonesigner/zonesignerd/config"
	"zonesigner/zonesignerd/internal/api"
)

// Patience bounds every wait for something that takes a moment.
const Patience = time.Minute

// Lab is a group of operators.
type Lab struct {
	Dir, Bin  string
	Operators []*Operator
}

// Operator is a directory, a daemon, and two Knots.
type Operator struct {
	Name, Dir      string
	Hidden, Public *Knot
	Daemon         *Process
	API            *api.Client

	bin  string
	port int
}

// Knot is a knotd with one zone.
type Knot struct {
	Dir, Socket string
	Port        int
	Process     *Process
	Control     *knot.Control
}

// New makes the operators' directories below dir, with identities,
// configurations and the group file, through the commands of the program bin.
// With transfers the daemons are their public Knots' masters. edit may change
// each configuration.
func New(ctx context.Context, dir, bin, zone string, transfers bool, edit func(*config.Daemon), names ...string) (*Lab, error) {
	l := &Lab{Dir: dir, Bin: bin}
	var lines strings.Builder
	for _, name := range names {
		o := &Operator{Name: name, Dir: filepath.Join(dir, name), bin: bin}
		l.Operators = append(l.Operators, o)
		if err := os.Mkdir(o.Dir, 0o700); err != nil {
			return nil, err
		}
		var err error
		if o.port, err = FreePort(); err != nil {
			return nil, err
		}
		if o.Hidden, err = newKnot(filepath.Join(o.Dir, "hidden"), zone, hiddenConfig); err != nil {
			return nil, err
		}
		var transfer config.Transfer
		public := publicConfig
		if transfers {
			port, err := FreePort()
			if err != nil {
				return nil, err
			}
			transfer = config.Transfer{Listen: fmt.Sprintf("127.0.0.1:%d", port), TSIG: filepath.Join(o.path(), "transfer.tsig")}
			public = strings.ReplaceAll(masterConfig, "MASTER", fmt.Sprint(port)) + public + "    master: daemon\n"
		}
		if o.Public, err = newKnot(filepath.Join(o.Dir, "public"), zone, public); err != nil {
			return nil, err
		}
		address := fmt.Sprintf("127.0.0.1:%d", o.port)
		m, err := Measure(ctx, o.Dir, bin, "init", "--name", name, "--address", address, "--listen", address,
			"--state", filepath.Join(o.Dir, "state"), "--run", filepath.Join(o.Dir, "run"),
			"--hidden", o.Hidden.Socket, "--public", o.Public.Socket, o.path())
		if err != nil {
			return nil, err
		}
		lines.WriteString(m.Out)
		if transfers {
			if err := os.WriteFile(transfer.TSIG, []byte("hmac-sha256:lab:"+labSecret+"\n"), 0o600); err != nil {
				return nil, err
			}
		}
		err = o.configure(func(c *config.Daemon) {
			c.Knot.Transfer = transfer
			edit(c)
		})
		if err != nil {
			return nil, err
		}
	}
	all := filepath.Join(dir, "lines")
	if err := os.WriteFile(all, []byte(lines.String()), 0o644); err != nil {
		return nil, err
	}
	for _, o := range l.Operators {
		if _, err := Measure(ctx, o.Dir, bin, "group", "make", "--name", "lab", "--out", filepath.Join(o.path(), "group.yaml"), all); err != nil {
			return nil, err
		}
	}
	return l, nil
}

func (o *Operator) path() string { return filepath.Join(o.Dir, "etc") }

func (o *Operator) configure(edit func(*config.Daemon)) error {
	file := filepath.Join(o.path(), "zonesignerd.yaml")
	cfg, err := config.LoadDaemon(file)
	if err != nil {
		return err
	}
	edit(cfg)
	o.API = api.NewClient(cfg.Socket.Path)
	text, err := config.FormatDaemon(cfg)
	if err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o600)
}

// Start starts all Knots and daemons and waits until the operators reach one
// another.
func (l *Lab) Start(ctx context.Context) error {
	knotd, err := Program("knotd")
	if err != nil {
		return err
	}
	for _, o := range l.Operators {
		for _, k := range []*Knot{o.Hidden, o.Public} {
			if k.Process, err = Launch(filepath.Join(k.Dir, "knotd.log"), knotd, "-c", filepath.Join(k.Dir, "knot.conf")); err != nil {
				return err
			}
		}
	}
	for _, o := range l.Operators {
		for _, k := range []*Knot{o.Hidden, o.Public} {
			wait, cancel := context.WithTimeout(ctx, Patience)
			err := k.Control.WaitReady(wait)
			cancel()
			if err != nil {
				return err
			}
		}
	}
	return l.StartDaemons(ctx)
}

// StartDaemons starts the daemons alone, for zones from files and into files,
// and waits until the operators reach one another.
func (l *Lab) StartDaemons(ctx context.Context) (err error) {
	for _, o := range l.Operators {
		o.Daemon, err = Launch(filepath.Join(o.Dir, "zonesignerd.log"), o.bin, "run", "--config", filepath.Join(o.path(), "zonesignerd.yaml"))
		if err != nil {
			return err
		}
	}
	for _, o := range l.Operators {
		err := Until(ctx, Patience, "operator "+o.Name+" to reach the others", func() (bool, string) {
			s, err := o.API.Status(ctx)
			if err != nil {
				return false, err.Error()
			}
			for _, p := range s.Peers {
				if !p.Ready {
					return false, "operator " + p.Name + ": " + p.Reason
				}
			}
			return true, ""
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Stop ends everything.
func (l *Lab) Stop() {
	for _, o := range l.Operators {
		o.Daemon.Stop()
		o.Hidden.Process.Stop()
		o.Public.Process.Stop()
	}
}

// Run runs a command of zonesignerd at the operator's daemon.
func (o *Operator) Run(ctx context.Context, args ...string) (string, error) {
	m, err := Measure(ctx, o.Dir, o.bin, append([]string{"--config", filepath.Join(o.path(), "zonesignerd.yaml")}, args...)...)
	return m.Out, err
}

// JSON runs a command and decodes what it prints.
func (o *Operator) JSON(ctx context.Context, v any, args ...string) error {
	out, err := o.Run(ctx, append(args, "--json")...)
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(out), v)
}

func newKnot(dir, zone, text string) (*Knot, error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	port, err := FreePort()
	if err != nil {
		return nil, err
	}
	k := &Knot{Dir: dir, Socket: filepath.Join(dir, "knot.sock"), Port: port}
	k.Control = knot.NewControl(k.Socket, Patience)
	text = strings.NewReplacer("DIR", dir, "PORT", fmt.Sprint(port), "ZONE", zone).Replace(commonConfig + text)
	return k, os.WriteFile(filepath.Join(dir, "knot.conf"), []byte(text), 0o644)
}

// WriteZone gives the hidden Knot the zone's text; Reload makes it take it.
func (k *Knot) WriteZone(text []byte) error {
	tmp := filepath.Join(k.Dir, "new")
	if err := os.WriteFile(tmp, text, 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(k.Dir, "zone"))
}

// Reload makes the Knot read its zone files again.
func (k *Knot) Reload(ctx context.Context) error {
	knotc, err := Program("knotc")
	if err != nil {
		return err
	}
	_, err = Measure(ctx, k.Dir, knotc, "-s", k.Socket, "-t", "120", "zone-reload")
	return err
}

const commonConfig = `server:
    rundir: DIR
    listen: 127.0.0.1@PORT
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
control:
    listen: DIR/knot.sock
    timeout: 60
log:
  - target: stderr
    server: info
    zone: info
    control: warning
database:
    storage: DIR
    journal-db-max-size: 9G
acl:
  - id: here
    address: 127.0.0.1
    action: [transfer, update]
`

const hiddenConfig = `zone:
  - domain: ZONE
    file: DIR/zone
    dnssec-signing: off
    zonefile-load: difference-no-serial
    zonefile-sync: -1
    journal-content: all
    journal-max-usage: 4G
    acl: here
`

const publicConfig = `zone:
  - domain: ZONE
    dnssec-signing: off
    dnssec-validation: off
    zonefile-load: none
    zonefile-sync: -1
    journal-content: all
    journal-max-usage: 8G
    acl: here
`

// labSecret is the TSIG secret between a daemon and its public Knot.
const labSecret = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="

const masterConfig = `key:
  - id: lab
    algorithm: hmac-sha256
    secret: ` + labSecret + `
remote:
  - id: daemon
    address: 127.0.0.1@MASTER
    key: lab
`
