package main

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"zonesigner/dnssec"
	"zonesigner/zonesignerd/config"
	"zonesigner/zonesignerd/internal/api"
	"zonesigner/zonesignerd/internal/keyfile"
	"zonesigner/zonesignerd/internal/node"
	"zonesigner/zonesignerd/internal/sharefile"
)

// dealOptions are the flags of "keys deal".
type dealOptions struct {
	group, zone, role, engine, out string
}

func (a *app) keysDealCommand() *cobra.Command {
	var o dealOptions
	cmd := &cobra.Command{
		Use:   "deal --group FILE --zone ZONE --role ROLE --out DIR KEYFILE",
		Short: "Split a key that you have among the operators of a group",
		Long: `Split the private key of a zone, which you have, among the operators of a group.
DNSKEY and DS stay in force. This runs on the machine of the key's owner and
needs no daemon. KEYFILE is one of BIND's (K*.private), PEM or PKCS #8, of
algorithm 13 (ECDSA P-256) or, for engine frost, 15 (Ed25519).

DIR gets a file for each operator, which that operator alone can read: its
share is sealed to the identity in the group file. So compare the group's
fingerprint with the operators first. Send each its file; they run "zonesignerd
keys import". Nothing else is written, and KEYFILE stays as it is: whoever has
it can sign alone, until you destroy it and every copy of it.`,
		Example: "  zonesignerd keys deal --group group.yaml --zone example.org --role KSK --out shares Kexample.org.+013+34812.private",
		Args:    between(1, 1),
		RunE:    func(_ *cobra.Command, args []string) error { return a.deal(o, args[0]) },
	}
	f := cmd.Flags()
	f.StringVar(&o.group, "group", "", "the group `file`")
	f.StringVar(&o.zone, "zone", "", "the `zone` whose key it is")
	f.StringVar(&o.role, "role", "", "KSK, ZSK or CSK: what the key signs")
	f.StringVar(&o.engine, "engine", "", "how the key is shared: "+config.Engines()+" (default as the group says)")
	f.StringVar(&o.out, "out", "", "the `directory` for the files, made if it is not there")
	return cmd
}

// dealt is what "keys deal" prints.
type dealt struct {
	Zone        string      `json:"zone"`
	Role        string      `json:"role"`
	Tag         uint16      `json:"tag"`
	Engine      string      `json:"engine"`
	Fingerprint string      `json:"fingerprint"` // of the group
	DNSKEY      string      `json:"dnskey"`
	DS          string      `json:"ds,omitempty"`
	Files       []dealtFile `json:"files"`
	KeyFile     string      `json:"key_file"` // to be destroyed
}

type dealtFile struct {
	Operator string `json:"operator"`
	File     string `json:"file"`
}

func (a *app) deal(o dealOptions, path string) error {
	if o.group == "" || o.zone == "" || o.role == "" || o.out == "" {
		return usageError("keys deal: --group, --zone, --role and --out are needed")
	}
	zone, err := zoneName(o.zone)
	if err != nil {
		return err
	}
	role := strings.ToUpper(o.role)
	if role != "KSK" && role != "ZSK" && role != "CSK" {
		return usageError("--role %q: want KSK, ZSK or CSK", o.role)
	}
	group, err := config.LoadGroup(o.group)
	if err != nil {
		return err
	}
	engine := o.engine
	if engine == "" {
		engine = group.Engine
	}
	files, key, err := split(group, zone, role, engine, path)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(o.out, 0o700); err != nil {
		return err
	}
	d := dealt{Zone: zone, Role: role, Tag: key.KeyTag(), Engine: engine, Fingerprint: config.Fingerprint(group.Digest()), KeyFile: path,
		DNSKEY: fmt.Sprintf("%s IN DNSKEY %d 3 %d %s", zone, key.Flags, key.Algorithm, base64.StdEncoding.EncodeToString(key.PublicKey))}
	if apex, err := dnssec.ParseName(zone); err == nil && role != "ZSK" {
		d.DS = fmt.Sprintf("%s IN DS %d %d 2 %s", zone, key.KeyTag(), key.Algorithm, strings.ToUpper(hex.EncodeToString(key.DS(apex)[4:])))
	}
	for _, f := range files {
		name := filepath.Join(o.out, f.Name)
		if err := writeFile(name, f.Content, 0o600); err != nil {
			for _, w := range d.Files { // a part of a dealing is of no use
				err = errors.Join(err, os.Remove(w.File))
			}
			return err
		}
		d.Files = append(d.Files, dealtFile{f.Operator, name})
	}
	return a.printDealt(d)
}

// split reads the key and deals it. The key is erased.
func split(group *config.Group, zone, role, engine, path string) ([]node.DealtFile, *dnssec.Key, error) {
	text, err := config.ReadSecret(path, keyfile.MaxSize)
	if err != nil {
		return nil, nil, err
	}
	defer clear(text)
	key, err := keyfile.Parse(text)
	if err != nil {
		return nil, nil, usageError("%s: %w", path, err)
	}
	defer key.Erase()
	if err := key.Shareable(); err != nil {
		return nil, nil, usageError("%s: %w", path, err)
	}
	files, record, err := node.Deal(group, zone, role, engine, key)
	if err != nil {
		return nil, nil, err
	}
	if err := keyfile.CheckName(path, zone, record.Algorithm, record.KeyTag()); err != nil {
		return nil, nil, usageError("%w", err)
	}
	return files, record, nil
}

func (a *app) printDealt(d dealt) error {
	if a.json {
		return a.printJSON(d)
	}
	t := newTable("OPERATOR", "FILE")
	for _, f := range d.Files {
		t.row(f.Operator, f.File)
	}
	a.printTable(t)
	a.printf("")
	a.printf("%s", d.DNSKEY)
	if d.DS != "" {
		a.printf("%s", d.DS)
	}
	a.printf("")
	a.printf("sealed for the group with fingerprint %s", d.Fingerprint)
	a.printf("send each operator its file; it runs `zonesignerd keys import FILE` and compares tag %d with you", d.Tag)
	a.printf("when the key is in use at all of them, destroy %s and every copy of it: who has one can sign alone", d.KeyFile)
	return nil
}

func (a *app) keysImportCommand() *cobra.Command {
	var w waiting
	cmd := &cobra.Command{
		Use:   "import FILE...",
		Short: "Take over a key that its owner dealt, together with all operators",
		Long: `Take over keys of a zone that their owner dealt with "zonesignerd keys deal".
The files are this operator's: the daemon alone can open them. Several files of
one zone come into use together.

This starts when every operator has imported its file of the same dealing, and
needs all of them. Each checks its share; they prove them to one another, and
sign a test string together, before the key is used. Compare tag and DS with
the key's owner: nothing else says that it is the right key.`,
		Example: "  zonesignerd keys import example.org+013+34812.a.share\n  zonesignerd keys import example.org+013+34812.a.share example.org+013+01027.a.share",
		Args:    between(1, 3),
		RunE: func(cmd *cobra.Command, args []string) error {
			var i api.ImportKeys
			for _, name := range args {
				content, err := readShare(name)
				if err != nil {
					return err
				}
				i.Files = append(i.Files, api.ShareFile{File: name, Content: content})
			}
			ask := func(b api.Backend) (*api.Request, error) { return b.ImportKeys(cmd.Context(), i) }
			return a.ask(cmd.Context(), &w, ask, func(r *api.Request) { a.printImported(r.Keys, args) })
		},
	}
	w.flags(cmd, ceremonyTimeout)
	return cmd
}

// readShare reads a file as far as it can be one.
func readShare(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > sharefile.MaxSize {
		return nil, usageError("%s: want a file of at most %d bytes", name, sharefile.MaxSize)
	}
	return os.ReadFile(name)
}

func (a *app) printImported(keys []api.Key, files []string) {
	a.printKeys(keys)
	for _, k := range keys {
		for _, ds := range k.DS {
			a.printf("%s", ds)
		}
	}
	a.printf("")
	a.printf("delete %s: the daemon keeps this operator's share", strings.Join(files, " and "))
	a.printf("the key's owner has to destroy the private key that was dealt, on the machine where `zonesignerd keys deal` ran, and its copies and backups")
}
