package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"zonesigner/knot"
	"zonesigner/zonesignerd/internal/lab"
)

const (
	zone  = "demo.example."
	child = "child.demo.example." // an unsigned zone below it, on the same public servers
)

// demo is three operators on one machine.
type demo struct {
	*printer
	bin, dir  string
	knotd     string
	launch    func(log, name string, args ...string) (*lab.Process, error)
	operators []*operator
	policy    int       // number of the policy in force
	ds        []string  // of the zone, as keys ds prints them
	keysAt    time.Time // when the keys were made
	signed    *transfer // what all served last
}

// operator is one of them: a folder, a daemon, and two Knots.
type operator struct {
	d              *demo
	name, dir      string
	port           int // of its NATS server
	hidden, public *server
	daemon         *lab.Process
}

// server is a Knot in a folder of its own.
type server struct {
	dir, conf, socket string
	port              int
	process           *lab.Process
}

func newDemo(p *printer, bin string, keep bool) (*demo, error) {
	if _, err := os.Stat(bin); err != nil {
		return nil, fmt.Errorf("the program to demonstrate: %w", err)
	}
	d := &demo{printer: p, bin: bin, launch: lab.Launch}
	if keep {
		d.launch = lab.Detach
	}
	var err error
	if d.knotd, err = lab.Program("knotd"); err != nil {
		return nil, err
	}
	for _, name := range []string{"kdig", "knsupdate", "delv"} {
		if _, err := lab.Program(name); err != nil {
			return nil, err
		}
	}
	// Not below $TMPDIR: a socket's path has 107 bytes at most.
	if d.dir, err = os.MkdirTemp("/tmp", "zonesigner-demo-"); err != nil {
		return nil, err
	}
	for _, name := range []string{"a", "b", "c"} {
		o := &operator{d: d, name: name, dir: filepath.Join(d.dir, name)}
		d.operators = append(d.operators, o)
		if err := os.Mkdir(o.dir, 0o700); err != nil {
			return nil, err
		}
		if o.port, err = lab.FreePort(); err != nil {
			return nil, err
		}
		if o.hidden, err = newServer(filepath.Join(o.dir, "hidden"), hiddenConfig); err != nil {
			return nil, err
		}
		if o.public, err = newServer(filepath.Join(o.dir, "public"), publicConfig); err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(o.public.dir, "child.zone"), []byte(childText), 0o644); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// others is all operators but o.
func (d *demo) others(o *operator) []*operator {
	var list []*operator
	for _, other := range d.operators {
		if other != o {
			list = append(list, other)
		}
	}
	return list
}

func newServer(dir, config string) (*server, error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	port, err := lab.FreePort()
	if err != nil {
		return nil, err
	}
	s := &server{dir: dir, conf: filepath.Join(dir, "knot.conf"), socket: filepath.Join(dir, "knot.sock"), port: port}
	text := strings.NewReplacer("DIR", dir, "PORT", fmt.Sprint(port)).Replace(common + config)
	return s, os.WriteFile(s.conf, []byte(text), 0o644)
}

// start starts a Knot and waits until it answers on its control socket.
func (d *demo) startServer(ctx context.Context, s *server) (err error) {
	if s.process, err = d.launch(filepath.Join(s.dir, "knotd.log"), d.knotd, "-c", s.conf); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, lab.Patience)
	defer cancel()
	if err := knot.NewControl(s.socket, lab.Patience).WaitReady(ctx); err != nil {
		return fmt.Errorf("the Knot in %s: %w", s.dir, err)
	}
	return nil
}

func (o *operator) socket() string { return filepath.Join(o.dir, "run", "control.sock") }
func (o *operator) config() string { return filepath.Join(o.dir, "etc", "zonesignerd.yaml") }

// start starts an operator's daemon.
func (o *operator) start() (err error) {
	o.daemon, err = o.d.launch(filepath.Join(o.dir, "zonesignerd.log"), o.d.bin, "run", "--config", o.config())
	return err
}

// up starts all that an operator runs.
func (o *operator) up(ctx context.Context) error {
	for _, s := range []*server{o.hidden, o.public} {
		if err := o.d.startServer(ctx, s); err != nil {
			return err
		}
	}
	return o.start()
}

// down stops all that an operator runs.
func (o *operator) down() {
	o.daemon.Stop()
	o.hidden.process.Stop()
	o.public.process.Stop()
}

func (d *demo) stopAll() {
	for _, o := range d.operators {
		o.down()
	}
}

// run runs zonesignerd at an operator, shows both, and wants it to succeed.
func (o *operator) run(ctx context.Context, args ...string) (string, error) {
	r, err := o.try(ctx, args...)
	if err != nil {
		return "", err
	}
	line := o.d.brief("zonesignerd " + strings.Join(args, " "))
	if r.status != 0 {
		return "", fmt.Errorf("%s$ %s ended with status %d: %s", o.name, line, r.status, strings.TrimSpace(r.err))
	}
	o.d.command(o.name, line, o.d.brief(r.err+r.out))
	return r.out, nil
}

// status shows an operator's status, but for what is the same all the time.
func (o *operator) status(ctx context.Context) error {
	r, err := o.try(ctx, "status")
	if err != nil {
		return err
	}
	if r.status != 0 {
		return fmt.Errorf("%s$ zonesignerd status ended with status %d: %s", o.name, r.status, r.err+r.out)
	}
	shown := []string{"..."}
	for part := range strings.SplitSeq(r.out, "\n\n") {
		if !strings.HasPrefix(part, "operator "+o.name) && !strings.HasPrefix(part, "KNOT") {
			shown = append(shown, part)
		}
	}
	o.d.command(o.name, "zonesignerd status", strings.Join(shown, "\n"))
	return nil
}

// try runs zonesignerd at an operator, shows nothing and judges nothing.
func (o *operator) try(ctx context.Context, args ...string) (result, error) {
	return runCommand(ctx, o.dir, []string{"ZONESIGNER_SOCKET=" + o.socket(), "NO_COLOR=1"}, "", o.d.bin, args...)
}

// read asks an operator's daemon for something as JSON.
func read[T any](ctx context.Context, o *operator, args ...string) (v T, err error) {
	r, err := o.try(ctx, append(args, "--json")...)
	if err != nil {
		return v, err
	}
	if r.status != 0 {
		return v, errors.New(strings.TrimSpace(r.err))
	}
	return v, json.Unmarshal([]byte(r.out), &v)
}

// brief leaves the folder's name out of what is shown.
func (d *demo) brief(text string) string { return strings.ReplaceAll(text, d.dir+"/", "") }

// leave lets everything run on, and says how to look at it, how to change the
// zone, and how to end it.
func (d *demo) leave() error {
	stop := "#!/bin/sh\n# Ends the demonstration and removes its folder.\nkill"
	change := "#!/bin/sh\n# usage: change a|b|c|all OWNER TTL TYPE DATA: gives OWNER that record of TYPE at hidden Knots.\nset -eu\nat=$1; shift\n"
	for _, o := range d.operators {
		for _, p := range []*lab.Process{o.daemon, o.hidden.process, o.public.process} {
			stop += fmt.Sprintf(" %d", p.PID())
		}
		change += fmt.Sprintf("case $at in %s|all) printf 'server 127.0.0.1 %d\\nzone %s\\ndel %%s %%s\\nadd %%s\\nsend\\n' \"$1\" \"$3\" \"$*\" | knsupdate;; esac\n", o.name, o.hidden.port, zone)
	}
	stop += fmt.Sprintf("\nsleep 1\nrm -r %s\n", d.dir)
	for name, text := range map[string]string{"stop": stop, "change": change} {
		if err := os.WriteFile(filepath.Join(d.dir, name), []byte(text), 0o755); err != nil {
			return err
		}
	}
	fmt.Fprintf(d.w, "\n%s\n", d.paint(bold, "All of it runs on"))
	for _, o := range d.operators {
		fmt.Fprintf(d.w, "   operator %s:  %s --config %s status\n", o.name, d.bin, o.config())
		fmt.Fprintf(d.w, "                kdig @127.0.0.1 -p %d www.%s A +dnssec\n", o.public.port, zone)
	}
	fmt.Fprintf(d.w, "   to change:   %s/change all www.%s 60 A 192.0.2.99   (or at a, b or c alone)\n", d.dir, zone)
	fmt.Fprintf(d.w, "   logs:        %s/*/*.log %s/*/*/*.log\n", d.dir, d.dir)
	fmt.Fprintf(d.w, "   to end it:   %s/stop\n", d.dir)
	return nil
}

// common begins every Knot's configuration.
const common = `server:
    rundir: DIR
    listen: 127.0.0.1@PORT
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
control:
    listen: DIR/knot.sock
    timeout: 30
log:
  - target: stderr
    server: info
    zone: info
    control: warning
database:
    storage: DIR
    journal-db-max-size: 200M
    kasp-db-max-size: 10M
    timer-db-max-size: 10M
acl:
  - id: here
    address: 127.0.0.1
    action: [transfer, update]
`

// hiddenConfig is for the Knot that takes the unsigned zone from its owner.
const hiddenConfig = `zone:
  - domain: demo.example.
    file: DIR/demo.zone
    dnssec-signing: off
    zonefile-load: difference-no-serial
    zonefile-sync: -1
    journal-content: all
    acl: here
`

// publicConfig is for the Knot that serves the signed zone. It validates what
// it is given, so that the demonstration does not have to take the daemon's
// word for it.
const publicConfig = `zone:
  - domain: demo.example.
    dnssec-signing: off
    dnssec-validation: on
    zonefile-load: none
    zonefile-sync: -1
    journal-content: all
    acl: here
  - domain: child.demo.example.
    file: DIR/child.zone
    zonefile-sync: -1
`

// zoneText is the zone as its owner writes it.
const zoneText = `$ORIGIN demo.example.
$TTL 60
@       SOA  ns1 hostmaster 1 300 60 900 60
@       NS   ns1
@       NS   ns2
@       MX   10 mail
@       TXT  "v=spf1 mx -all"
ns1     A    127.0.0.1
ns2     A    127.0.0.1
mail    A    192.0.2.25
www     A    192.0.2.80
www     AAAA 2001:db8::80
ftp     CNAME www
*.apps  A    192.0.2.90
child   NS   ns.child
ns.child A   127.0.0.1
`

// zoneFile is zoneText with many hosts, so that a change is a small part of it.
func zoneFile() []byte {
	text := []byte(zoneText)
	for i := range 100 {
		text = fmt.Appendf(text, "host-%d A 198.51.100.%d\n", i, i)
	}
	return text
}

const childText = `$ORIGIN child.demo.example.
$TTL 60
@   SOA ns hostmaster 1 300 60 900 60
@   NS  ns
ns  A   127.0.0.1
www A   203.0.113.80
`
