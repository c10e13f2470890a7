package config

import (
	"bytes"
	"embed"
	"strconv"
	"strings"
	"text/template"
)

//go:embed samples/*.yaml
var sampleFiles embed.FS

var samples = template.Must(template.New("").Funcs(template.FuncMap{
	"quote": quoteYAML,
	"sets":  flowSets,
}).ParseFS(sampleFiles, "samples/*.yaml"))

// DefaultDaemon is the configuration of an operator that sets nothing but its
// name, the keystore's key file and the address that it listens on.
func DefaultDaemon(operator, keyFile, listen string) *Daemon {
	c := defaultDaemon()
	c.Version, c.Operator, c.Keystore.KeyFile, c.NATS.Listen = 1, operator, keyFile, listen
	return &c
}

// DefaultPolicy is the policy of a zone that sets nothing.
func DefaultPolicy(zone string) *Policy {
	p := defaultPolicy()
	p.Version, p.Zone = 1, zone
	p.normalise()
	return &p
}

// FormatDaemon writes a configuration file with every option explained. It
// leaves out nats.urls.
func FormatDaemon(c *Daemon) ([]byte, error) { return format("daemon.yaml", c) }

// FormatGroup writes a group file with every option explained.
func FormatGroup(g *Group) ([]byte, error) { return format("group.yaml", g) }

// FormatPolicy writes a policy with every option explained. It leaves out the
// salt and the details of source and publish.
func FormatPolicy(p *Policy) ([]byte, error) { return format("policy.yaml", p) }

func format(name string, data any) ([]byte, error) {
	var b bytes.Buffer
	err := samples.ExecuteTemplate(&b, name, data)
	return b.Bytes(), err
}

// quoteYAML writes text in double quotes, whose escapes YAML shares with Go
// for all that paths and addresses may hold.
func quoteYAML(text string) string { return strconv.Quote(text) }

func flowSets(sets [][]string) string {
	written := make([]string, len(sets))
	for i, s := range sets {
		written[i] = "[" + strings.Join(s, ", ") + "]"
	}
	return "[" + strings.Join(written, ", ") + "]"
}
