package main

import (
	"encoding/hex"
	"errors"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"zonesigner/dnssec"
	"zonesigner/zonesignerd/config"
)

// signOptions are the flags of "sign". Where ldns-signzone or dns-tools have
// the same, they have its name.
type signOptions struct {
	group                 bool
	timeout               config.Duration // of --group
	output, origin        string
	inception, expiration string
	nsec3, optOut         bool
	salt, zonemd, serial  string
	iterations            uint16
	threads               int
	lazy, dryRun          bool
	keyFiles              []string
	module, token         string
	pinFile               string
	keyLabels             []string
	createKeys, algorithm string
	csk                   bool
	basePath              string
	refresh, dnskeyTTL    config.Duration
}

func (o *signOptions) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&o.group, "group", false, "the group signs, through the daemon of this machine")
	o.timeout = config.Duration(ceremonyTimeout)
	f.Var(seconds{&o.timeout}, "timeout", "with --group: how long to wait; the approval stands after it")
	f.StringArrayVar(&o.keyFiles, "key", nil, "a private key, `[role:]file`; may be repeated")
	f.StringVar(&o.module, "pkcs11", "", "the PKCS #11 `module` (a shared library) of a token that has keys")
	f.StringVar(&o.token, "token", "", "the token's `label` (default the only one)")
	f.StringVar(&o.pinFile, "pin-file", "", "a `file` with the token's PIN (default $"+pinVariable+")")
	f.StringArrayVar(&o.keyLabels, "key-label", nil, "a key in the token, `role:label`; may be repeated")
	f.StringVar(&o.createKeys, "create-keys", "", "make a KSK and a ZSK in this `directory`, as BIND has them, and sign with them")
	f.StringVar(&o.algorithm, "algorithm", "13", "of --create-keys: 8, 13, 14 or 15, or its name")
	f.BoolVar(&o.csk, "csk", false, "with --create-keys: make one key that signs all")
	f.StringVarP(&o.output, "output", "f", "", "the signed zone's `file`, - for standard output (default ZONEFILE.signed)")
	f.StringVarP(&o.origin, "origin", "o", "", "the zone's `name` (default that of the SOA, where the file gives it in full)")
	f.StringVarP(&o.inception, "inception", "i", "", "when new signatures begin, a `time`: "+timeForms+" (default an hour ago)")
	f.StringVarP(&o.expiration, "expiration", "e", "+30d", "when they end, a `time` of the same forms; where it is not from now, all new ones end together")
	f.Var(seconds{&o.refresh}, "refresh", "signatures of the last signed form that have less left are made anew (default a quarter of the time to -e)")
	f.BoolVarP(&o.nsec3, "nsec3", "n", false, "deny by NSEC3 (default NSEC)")
	f.StringVarP(&o.salt, "salt", "s", "", "of NSEC3, in `hex` (default none, as RFC 9276 wants)")
	f.Uint16VarP(&o.iterations, "iterations", "t", 0, "of NSEC3's hash, beyond the first (default 0, as RFC 9276 wants)")
	f.BoolVarP(&o.optOut, "opt-out", "p", false, "NSEC3 leaves insecure delegations out")
	f.StringVarP(&o.zonemd, "zonemd", "z", "", "add the zone's digest (RFC 8976, SIMPLE): sha384 or sha512")
	f.StringVar(&o.serial, "serial", "keep", "of the signed zone: keep, increment, unixtime, dateserial or a `number`")
	f.Var(seconds{&o.dnskeyTTL}, "dnskey-ttl", "TTL of DNSKEY (default the SOA's)")
	f.StringVar(&o.basePath, "base", "", "the last signed form of the zone, a `file`, or none (default the output file if it is there)")
	f.BoolVar(&o.lazy, "lazy", false, "do nothing when the last signed form is still good")
	f.BoolVar(&o.dryRun, "dry-run", false, "print the manifest, which is what would be signed, and sign nothing")
	f.IntVar(&o.threads, "threads", 0, "how many processors work (default all)")
}

// pinVariable names the environment variable that may hold a token's PIN.
const pinVariable = "ZONESIGNER_PIN"

// pin is the token's PIN.
func (o *signOptions) pin() (string, error) {
	if o.pinFile == "" {
		if pin := os.Getenv(pinVariable); pin != "" {
			return pin, nil
		}
		return "", usageError("sign: the token's PIN is needed: give --pin-file, or set $%s", pinVariable)
	}
	text, err := config.ReadSecret(o.pinFile, 256)
	if err != nil {
		return "", err
	}
	return strings.TrimRight(string(text), "\r\n"), nil
}

// settings are the flags after they were read.
type settings struct {
	params dnssec.Params // without keys, base and serial
	number uint8         // of the algorithm
}

// settings reads the flags, at the time now in UNIX seconds.
func (o *signOptions) settings(now uint32, changed func(string) bool, file string) (*settings, error) {
	s := &settings{}
	var err error
	switch {
	case len(o.keyFiles) == 0 && len(o.keyLabels) == 0 && o.createKeys == "":
		return nil, withHint(errors.New("sign: no keys"), "give --key FILE for each key, --create-keys DIR to make some, or --group to have the operators sign")
	case len(o.keyFiles)+len(o.keyLabels) > 0 && o.createKeys != "":
		return nil, usageError("sign: --create-keys goes with no other keys")
	case (o.module == "") != (len(o.keyLabels) == 0) || o.module == "" && (o.token != "" || o.pinFile != ""):
		return nil, usageError("sign: --pkcs11 and --key-label go together, and --token and --pin-file with them")
	case (o.csk || changed("algorithm")) && o.createKeys == "":
		return nil, usageError("sign: --csk and --algorithm are for --create-keys")
	case !o.nsec3 && (o.optOut || changed("salt") || changed("iterations")):
		return nil, usageError("sign: --salt, --iterations and --opt-out are for NSEC3: give --nsec3, too")
	case changed("timeout"):
		return nil, usageError("sign: --timeout is for --group")
	case o.lazy && o.dryRun:
		return nil, usageError("sign: --lazy and --dry-run exclude one another")
	}
	if err = checkThreads(o.threads); err != nil {
		return nil, err
	}
	if s.number, err = algorithmNumber(o.algorithm); err != nil {
		return nil, err
	}
	o.output = o.outputFor(file)
	salt := o.salt
	if salt == "-" {
		salt = ""
	}
	s.params.Denial = dnssec.Denial{NSEC3: o.nsec3, OptOut: o.optOut, Iterations: o.iterations}
	if s.params.Denial.Salt, err = hex.DecodeString(salt); err != nil || len(s.params.Denial.Salt) > 255 {
		return nil, usageError("--salt %q: want at most 255 bytes in hexadecimal, or -", o.salt)
	}
	if s.params.ZONEMD, err = zonemdPolicy(o.zonemd); err != nil {
		return nil, err
	}
	if _, ok := o.fixedSerial(); !ok && !slices.Contains([]string{"keep", "increment", "unixtime", "dateserial"}, o.serial) {
		return nil, usageError("--serial %q: want keep, increment, unixtime, dateserial or a number below 2^32", o.serial)
	}
	return s, o.times(&s.params, now)
}

// outputFor is where the signed form of a zone file goes.
func (o *signOptions) outputFor(file string) string {
	switch {
	case o.output != "":
		return o.output
	case file == "-":
		return "-"
	}
	return file + ".signed"
}

// times works out the validity of the new signatures.
func (o *signOptions) times(p *dnssec.Params, now uint32) error {
	var begin uint32
	var err error
	if o.inception != "" {
		if begin, _, err = parseTime(o.inception, int64(now)); err != nil {
			return usageError("--inception %w", err)
		}
	}
	end, absolute, err := parseTime(o.expiration, int64(now))
	if err != nil {
		return usageError("--expiration %w", err)
	}
	// What is kept, and what is valid, is judged at one time: now, or when the
	// signatures begin if that is not within their life.
	at := now
	if begin > now || begin != 0 && end <= now {
		at = begin
	}
	if end <= at {
		return usageError("--expiration %s is at %s, which is not after %s", o.expiration, isoTime(end), isoTime(at))
	}
	p.Time, p.Inception, p.Lifetime, p.NoJitter = at, begin, end-at, absolute
	p.Refresh = p.Lifetime / 4
	if o.refresh != 0 {
		p.Refresh = uint32(min(time.Duration(o.refresh)/time.Second, math.MaxUint32))
	}
	p.DNSKEYTTL = uint32(min(time.Duration(o.dnskeyTTL)/time.Second, math.MaxUint32))
	if p.Refresh >= p.Lifetime {
		return usageError("--refresh %s is not below the time to --expiration, %d s", o.refresh, p.Lifetime)
	}
	return nil
}

func isoTime(t uint32) string { return time.Unix(int64(t), 0).UTC().Format(time.RFC3339) }

func checkThreads(n int) error {
	if n < 0 {
		return usageError("--threads %d: want a number of processors, or 0 for all", n)
	}
	return nil
}

func algorithmNumber(text string) (uint8, error) {
	for number, name := range map[uint8]string{8: "RSASHA256", 13: "ECDSAP256SHA256", 14: "ECDSAP384SHA384", 15: "ED25519"} {
		if text == strconv.Itoa(int(number)) || strings.EqualFold(text, name) {
			return number, nil
		}
	}
	return 0, usageError("--algorithm %q: want 8 (RSASHA256), 13 (ECDSAP256SHA256), 14 (ECDSAP384SHA384) or 15 (ED25519)", text)
}

// zonemdPolicy takes the forms of ldns-signzone, too: [scheme:]hash, by number
// or name.
func zonemdPolicy(text string) (dnssec.ZONEMDPolicy, error) {
	hash := strings.ToLower(text)
	if scheme, rest, ok := strings.Cut(hash, ":"); ok && (scheme == "simple" || scheme == "1") {
		hash = rest
	}
	switch hash {
	case "":
		if text == "" {
			return dnssec.ZONEMDNone, nil
		}
	case "sha384", "1":
		return dnssec.ZONEMDSHA384, nil
	case "sha512", "2":
		return dnssec.ZONEMDSHA512, nil
	}
	return "", usageError("--zonemd %q: want sha384 or sha512", text)
}

func (o *signOptions) fixedSerial() (uint32, bool) {
	n, err := strconv.ParseUint(o.serial, 10, 32)
	return uint32(n), err == nil
}

// nextSerial is the serial of the signed zone. keep is the input's, whatever
// was published; the other policies go forward from the later of the input's
// and the last signed form's.
func (s *fileSigner) nextSerial() (uint32, error) {
	source := s.zone.Serial()
	if n, ok := s.fixedSerial(); ok {
		return n, nil
	}
	if s.serial == "keep" {
		return source, nil
	}
	last := source
	if s.base != nil && dnssec.SerialNewer(s.base.Serial(), source) {
		last = s.base.Serial()
	}
	return dnssec.NextSerial(s.serial, source, &last, s.params.Time)
}
