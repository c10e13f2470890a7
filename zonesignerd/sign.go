package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/miekg/dns"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"zonesigner/dnssec"
	"zonesigner/zonesignerd/internal/api"
	"zonesigner/zonesignerd/internal/localkeys"
	"zonesigner/zonesignerd/internal/pipeline"
)

func (a *app) signCommand() *cobra.Command {
	var o signOptions
	cmd := &cobra.Command{
		Use:   "sign (--group | --key FILE... | --pkcs11 MODULE --key-label LABEL... | --create-keys DIR) [flags] ZONEFILE",
		Short: "Sign a zone file, by the group or with keys that this machine has",
		Long: `Sign a zone file, by the group or with keys that this machine has. ZONEFILE may
be -, which is standard input.

With --group, the operators sign: this one approves the file, as "zones approve"
does, and the others take part by their own copies or by files that they approved.
The zone's policy has source.type: approved here, and says how it is signed, so
that the flags that say it are refused. With --dry-run, which approves nothing,
it prints the manifest of what the daemon would propose for the file. Otherwise
no daemon and no group is needed.

--key may be repeated. FILE is a private key as BIND has it (K*.private, with
the .key file beside it), in PEM or in PKCS #8. What a key is for, its DNSKEY
record or its file's name says; of others, the role in front of the name:
ksk:FILE, zsk:FILE, csk:FILE. publish:FILE.key puts a key into the DNSKEY RRset
that signs nothing here. A key with flags 257 signs the whole zone where no ZSK
of its algorithm is given. --create-keys makes a pair of keys and signs with it.
Keys in a PKCS #11 token are named by role and label, with --key-label.

If the output file is there already, it has to be this zone, signed: its
signatures are kept as far as they are good, so that a change costs what it
changes. Signatures that are made at once expire spread over some days. The
output is written as a whole or not at all.`,
		Example: `  zonesignerd sign --group example.org.zone
  zonesignerd sign -o example.org --create-keys keys example.org.zone
  zonesignerd sign -o example.org --key keys/Kexample.org.+013+34812.private --key keys/Kexample.org.+013+01027.private -n example.org.zone
  zonesignerd sign --pkcs11 /usr/lib/softhsm/libsofthsm2.so --pin-file pin --key-label ksk:example-ksk --key-label zsk:example-zsk example.org.zone
  zonesignerd sign --key csk:key.pem -e +14d -z sha384 -f - example.org.zone`,
		Args: between(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.group {
				return a.signByGroup(cmd, o, args[0])
			}
			return a.sign(cmd, o, args[0])
		},
	}
	o.flags(cmd)
	return cmd
}

// sign signs one zone file.
func (a *app) sign(cmd *cobra.Command, o signOptions, file string) error {
	if os.Getenv("GOGC") == "" {
		// A zone of a million names then takes 1.2 GB instead of 1.7, for 5 % of
		// CPU time.
		defer debug.SetGCPercent(debug.SetGCPercent(50))
	}
	changed := cmd.Flags().Changed
	settings, err := o.settings(uint32(a.now().Unix()), changed, file)
	if err != nil {
		return err
	}
	s := &fileSigner{signOptions: o, settings: *settings, file: file}
	if err := s.checkOutput(); err != nil {
		return err
	}
	if err := s.read(a.in, "-o"); err != nil {
		return badInput(err)
	}
	if err := s.readBase(); err != nil {
		return badInput(err)
	}
	ctx, stop := untilSignal(cmd.Context()) // there may be keys and files to remove
	defer stop()
	var r *signed
	if err = s.loadKeys(); err != nil { // last, for it may make some
		err = badInput(err)
	} else {
		r, err = s.run(ctx, a.out)
	}
	if err != nil && !s.written {
		err = errors.Join(err, localkeys.Remove(s.made))
	}
	if err := errors.Join(err, s.closeToken()); err != nil {
		return err
	}
	return a.printSigned(r, s.signOptions)
}

// ofGroup are the flags that go with --group; the policy has the rest.
var ofGroup = []string{"group", "output", "origin", "timeout", "dry-run"}

// signByGroup has the content of one zone file signed by the operators.
func (a *app) signByGroup(cmd *cobra.Command, o signOptions, file string) error {
	var not []string
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if !slices.Contains(ofGroup, f.Name) && cmd.InheritedFlags().Lookup(f.Name) == nil {
			not = append(not, "--"+f.Name)
		}
	})
	if not != nil {
		return usageError("sign: %s: with --group the zone's policy says how it is signed", strings.Join(not, ", "))
	}
	s := &fileSigner{signOptions: o, file: file}
	if o.dryRun {
		return a.draftFile(cmd.Context(), s)
	}
	s.output = o.outputFor(file)
	return a.approveFile(cmd.Context(), &waiting{wait: true, timeout: o.timeout}, s, "-o")
}

// draftFile prints the manifest of what the daemon would propose for a file.
func (a *app) draftFile(ctx context.Context, s *fileSigner) error {
	if err := s.read(a.in, "-o"); err != nil {
		return badInput(err)
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	text := textOf(s.zone)
	defer text.Close()
	var manifest bytes.Buffer
	if err := c.Manifest(ctx, api.Draft{Zone: s.zone.Apex().String(), Text: text}, &manifest); err != nil {
		return err
	}
	return a.printManifest(manifest.Bytes())
}

// badInput makes an error one of the files that were given.
func badInput(err error) error {
	var e *api.Error
	if errors.As(err, &e) {
		return err
	}
	return usageError("%w", err)
}

// fileSigner is one run of "sign".
type fileSigner struct {
	signOptions
	settings
	file string

	zone  *dnssec.Zone
	keys  []*localkeys.Key
	base  *dnssec.SignedZone
	token *localkeys.Token // nil: none is in use

	made    []*localkeys.Key // by this run
	written bool             // some output may be there that they signed
}

// read reads the zone and finds its name, which the flag gives otherwise.
// Signals end the process from then on, until they are asked for again.
func (s *fileSigner) read(in io.Reader, flag string) error {
	endAtOnce()
	name := s.file
	open := func() (io.ReadCloser, error) { return os.Open(s.file) }
	if s.file == "-" {
		text, err := io.ReadAll(in)
		if err != nil {
			return err
		}
		name = "" // $INCLUDE is refused
		open = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text)), nil }
	}
	origin := s.origin
	if origin == "" {
		f, err := open()
		if err != nil {
			return err
		}
		apex, err := dnssec.FindApex(f, name)
		_ = f.Close()
		if err != nil {
			return withHint(err, "say the zone's name with "+flag)
		}
		origin = apex.String()
	}
	f, err := open()
	if err != nil {
		return err
	}
	defer f.Close()
	s.zone, err = dnssec.ParseZone(f, origin, name)
	return err
}

// checkOutput refuses an output that is the zone file, or something that a
// file must not take the place of: a device, a directory.
func (s *fileSigner) checkOutput() error {
	if s.output == "" || s.output == "-" {
		return nil
	}
	out, err := os.Stat(s.output)
	switch {
	case err != nil:
		return nil //nolint:nilerr // it is not there, or writing it says so
	case !out.Mode().IsRegular():
		return usageError("%s is there and is no file: want a file's name, or - for standard output", s.output)
	case s.file == "-":
		return nil
	}
	if in, err := os.Stat(s.file); err == nil && os.SameFile(in, out) { // without the one, reading it says so
		return usageError("%s is the zone file itself: want another output", s.output)
	}
	return nil
}

// replaceable refuses an output that is there and is not this zone, signed.
func (s *fileSigner) replaceable() error {
	if s.output == "" || s.output == "-" {
		return nil
	}
	f, err := os.Open(s.output)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if err := dnssec.FindSigned(f, s.zone.Apex(), s.output); err != nil {
		return withHint(fmt.Errorf("the output is there and is not the zone, signed: %w", err), "another output is chosen with -f")
	}
	return nil
}

func withHint(err error, hint string) error {
	e := api.Errorf(api.CodeUsage, "%w", err)
	e.Hint = hint
	return e
}

func (s *fileSigner) loadKeys() (err error) {
	apex := s.zone.Apex()
	if s.createKeys != "" {
		if s.dryRun {
			return usageError("--dry-run makes no keys: create them first, or give --key")
		}
		s.made, err = localkeys.Create(s.createKeys, apex, s.number, s.csk)
		s.keys = s.made
	}
	if err != nil {
		return err
	}
	for _, spec := range s.keyFiles {
		k, err := localkeys.Load(spec, apex)
		if err != nil {
			return err
		}
		s.keys = append(s.keys, k)
	}
	if err := s.loadTokenKeys(); err != nil {
		return err
	}
	return localkeys.Roles(s.keys)
}

// loadTokenKeys finds the keys that a PKCS #11 token has.
func (s *fileSigner) loadTokenKeys() error {
	if s.module == "" {
		return nil
	}
	pin, err := s.pin()
	if err != nil {
		return err
	}
	sessions := s.signOptions.threads
	if sessions == 0 {
		sessions = runtime.GOMAXPROCS(0)
	}
	s.token, err = localkeys.OpenToken(localkeys.TokenOptions{Module: s.module, Label: s.signOptions.token, PIN: pin, Sessions: sessions})
	if err != nil {
		return err
	}
	for _, spec := range s.keyLabels {
		k, err := s.token.Load(spec, s.zone.Apex())
		if err != nil {
			return err
		}
		s.keys = append(s.keys, k)
	}
	return nil
}

func (s *fileSigner) closeToken() error {
	if s.token == nil {
		return nil
	}
	return s.token.Close()
}

// readBase reads the last signed form of the zone: --base, or the output file
// where it is there. That is refused if it is not the zone, signed, unless a
// base of none says that it does not matter.
func (s *fileSigner) readBase() error {
	path, hint := s.basePath, "--base none signs everything"
	switch {
	case path == "none":
		return nil
	case path == "" && s.output == "-":
		return nil
	case path == "":
		path, hint = s.output, "another output is chosen with -f; --base none signs everything and replaces the file"
	}
	f, err := os.Open(path)
	if s.basePath == "" && errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if s.base, err = dnssec.ParseSignedZone(f, s.zone.Apex().String(), path); err != nil {
		return withHint(fmt.Errorf("the last signed form of the zone cannot be read: %w", err), hint)
	}
	if s.dryRun {
		return nil
	}
	return s.replaceable()
}

// signed is what "sign" prints.
type signed struct {
	Zone         string         `json:"zone"`
	File         string         `json:"file"`
	Unchanged    bool           `json:"unchanged"` // --lazy had nothing to do
	SourceSerial uint32         `json:"source_serial"`
	Serial       uint32         `json:"serial"`
	Records      int            `json:"records"` // of the unsigned zone
	Made         int            `json:"signatures_made"`
	Kept         int            `json:"signatures_kept"`
	Renewed      int            `json:"signatures_false"` // in the base, made anew
	LeftOut      map[string]int `json:"left_out"`         // records of the input that signing makes, by type
	Expires      string         `json:"expires"`          // the first signature
	Keys         []signedKey    `json:"keys"`

	manifest []byte // of a dry run
}

type signedKey struct {
	Tag       uint16 `json:"tag"`
	Algorithm uint8  `json:"algorithm"`
	Role      string `json:"role"`
	Source    string `json:"source"`
	DS        string `json:"ds,omitempty"`
}

// run plans, signs, verifies and writes.
func (s *fileSigner) run(ctx context.Context, out io.Writer) (*signed, error) {
	r := &signed{Zone: s.zone.Apex().String(), File: s.output, SourceSerial: s.zone.Serial(), Records: s.zone.Records(), LeftOut: map[string]int{}}
	for t, n := range s.zone.Dropped() {
		r.LeftOut[dnssec.TypeName(t)] = n
	}
	for _, k := range s.keys {
		r.Keys = append(r.Keys, describeKey(k, s.zone.Apex()))
	}
	params := s.params
	params.Keys, params.Base = localkeys.ForPlan(s.keys), s.base
	var err error
	if s.lazy && s.base != nil {
		if r.Unchanged, err = s.stillGood(ctx, params); err != nil || r.Unchanged {
			r.Serial, r.Kept, r.Expires = s.base.Serial(), s.base.Signatures(), isoTime(s.base.EarliestExpiration())
			return r, err
		}
	}
	if params.Serial, err = s.nextSerial(); err != nil {
		return nil, err
	}
	plan, err := s.plan(params)
	if err != nil {
		return nil, err
	}
	params.Base, s.base = nil, nil // the plan has it, as long as it is needed
	if plan, r.Renewed, err = localkeys.CheckKept(ctx, plan, s.keys, s.threads); err != nil {
		return nil, err
	}
	r.Serial, r.Made, r.Kept = params.Serial, plan.Len(), plan.Kept()
	if s.dryRun {
		r.manifest = plan.Manifest()
		return r, nil
	}
	sz, err := s.signPlan(ctx, plan)
	if err != nil {
		return nil, err
	}
	if params.ZONEMD.Wanted() {
		second, err := plan.PlanZONEMD(sz)
		if err != nil {
			return nil, err
		}
		if sz, err = s.signPlan(ctx, second); err != nil {
			return nil, err
		}
		r.Made += second.Len()
	}
	if err := s.verify(sz, params); err != nil {
		return nil, err
	}
	r.Expires = isoTime(sz.EarliestExpiration())
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if s.output == "-" {
		s.written = true
		endAtOnce() // whoever reads may not read on
		_, err = sz.WriteTo(out)
		return r, err
	}
	err = pipeline.WriteOutput(s.output, func(w io.Writer) error {
		if _, err := sz.WriteTo(w); err != nil {
			return err
		}
		return ctx.Err()
	})
	s.written = err == nil || errors.Is(err, pipeline.ErrUnsynced)
	return r, err
}

func (s *fileSigner) plan(p dnssec.Params) (*dnssec.Plan, error) {
	plan, err := dnssec.NewPlan(s.zone, p)
	if err != nil {
		return nil, badInput(err)
	}
	return plan, nil
}

func (s *fileSigner) signPlan(ctx context.Context, plan *dnssec.Plan) (*dnssec.SignedZone, error) {
	sigs, err := localkeys.Sign(ctx, plan, s.keys, s.threads)
	if err != nil {
		return nil, err
	}
	return plan.AssembleStrings(sigs)
}

// verify checks the zone as a whole. Each signature has been verified, but
// that of a digest which was read and not made.
func (s *fileSigner) verify(sz *dnssec.SignedZone, p dnssec.Params) error {
	wanted := p.ZONEMD
	if wanted == "" {
		wanted = dnssec.ZONEMDNone
	}
	faults := dnssec.Verify(sz, dnssec.VerifyOptions{Keys: p.Keys, At: p.Time, ZONEMD: wanted, Threads: s.threads,
		Proven: func(c dnssec.Check) bool { return c.Type != dns.TypeZONEMD }})
	if len(faults) == 0 {
		return nil
	}
	var lines []string
	for _, f := range faults[:min(len(faults), 20)] {
		lines = append(lines, f.String())
	}
	return api.Errorf(api.CodeVerification, "the signed zone does not verify, nothing is written:\n%s", strings.Join(lines, "\n"))
}

// stillGood reports whether the base is what signing now would give, but for
// its serial.
func (s *fileSigner) stillGood(ctx context.Context, p dnssec.Params) (bool, error) {
	if s.serial == "keep" && s.base.Serial() != s.zone.Serial() {
		return false, nil
	}
	if n, ok := s.fixedSerial(); ok && s.base.Serial() != n {
		return false, nil
	}
	p.Serial = s.base.Serial()
	plan, err := s.plan(p)
	if err != nil {
		return false, err
	}
	plan, _, err = localkeys.CheckKept(ctx, plan, s.keys, s.threads)
	if err != nil || plan.Len() > 0 {
		return false, err
	}
	sz, err := plan.AssembleStrings(nil)
	if err != nil {
		return false, err
	}
	return sz.Digest() == s.base.Draft().Digest() && s.verify(s.base, p) == nil, nil
}

// describeKey is a key for people.
func describeKey(k *localkeys.Key, apex dnssec.Name) signedKey {
	d := signedKey{Tag: k.KeyTag(), Algorithm: k.Algorithm, Source: k.Source}
	switch {
	case k.State == dnssec.Published:
		d.Role = "published"
	case k.CSK:
		d.Role = "CSK"
	case k.Flags == 257:
		d.Role = "KSK"
	default:
		d.Role = "ZSK"
	}
	if k.Flags == 257 {
		ds := k.DS(apex)
		d.DS = fmt.Sprintf("%s IN DS %d %d 2 %X", apex, k.KeyTag(), k.Algorithm, ds[4:])
	}
	return d
}

func (a *app) printSigned(r *signed, o signOptions) error {
	if r.manifest != nil {
		return a.printManifest(r.manifest)
	}
	to := a.out
	if r.File == "-" {
		to = a.err // the zone went to standard output
	}
	out := *a
	out.out = to
	if a.json {
		return out.printJSON(r)
	}
	if r.Unchanged {
		out.printf("%s is still good until %s: nothing to do", r.File, r.Expires)
		return nil
	}
	t := newTable("KEY", "ALGORITHM", "ROLE", "FROM")
	for _, k := range r.Keys {
		t.row(fmt.Sprint(k.Tag), fmt.Sprint(k.Algorithm), k.Role, k.Source)
	}
	out.printTable(t)
	if o.createKeys != "" {
		for _, k := range r.Keys {
			if k.DS != "" {
				out.printf("%s", k.DS)
			}
		}
	}
	for _, t := range slices.Sorted(maps.Keys(r.LeftOut)) {
		out.printf("left out of the input, as signing makes them anew: %d %s", r.LeftOut[t], t)
	}
	if r.Renewed > 0 {
		out.printf("%d signatures of the last signed form were false, and are made anew", r.Renewed)
	}
	out.printf("%s: serial %d, %d signatures made, %d kept, the first expires %s", r.File, r.Serial, r.Made, r.Kept, r.Expires)
	return nil
}
