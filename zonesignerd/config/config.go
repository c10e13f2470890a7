// Package config holds the three file formats that people write for
// Zonesigner: the daemon's configuration, the group file that all operators
// hold, and one policy file for each zone. Each has a version, is loaded
// strictly (an unknown key is an error with file and line), and is checked as
// a whole by Validate before anything acts on it.
package config

// Daemon is the daemon's own configuration; nothing in it is shared.
type Daemon struct {
	Version      int      `yaml:"version"`
	Operator     string   `yaml:"operator"`      // this operator's name in the group file
	Identity     string   `yaml:"identity"`      // file with the nkey seed, mode 0600
	Group        string   `yaml:"group"`         // group file
	State        string   `yaml:"state"`         // directory of the keystore and the zones' state
	Run          string   `yaml:"run"`           // directory that a reboot empties (generation mark, socket)
	Socket       Socket   `yaml:"socket"`        // local command socket
	Keystore     Keystore `yaml:"keystore"`      // what the keystore is sealed with
	NATS         NATS     `yaml:"nats"`          // how the operators reach one another
	Knot         Knot     `yaml:"knot"`          // the two Knots
	PollInterval Duration `yaml:"poll-interval"` // how often sources are asked for changes
	Pools        Pools    `yaml:"pools"`
	Sessions     Sessions `yaml:"sessions"`
	Log          Log      `yaml:"log"`
}

// Socket is the local command socket. Members of ReadGroup may read; root,
// the daemon's own user and members of ActGroup may act.
type Socket struct {
	Path      string `yaml:"path"`
	ReadGroup string `yaml:"read-group"`
	ActGroup  string `yaml:"act-group"`
}

// Keystore names where the sealing key comes from; exactly one is set.
type Keystore struct {
	KeyFile        string `yaml:"key-file"`        // 32 random bytes in hexadecimal, mode 0600
	Credential     string `yaml:"credential"`      // name under $CREDENTIALS_DIRECTORY
	PassphraseFile string `yaml:"passphrase-file"` // a passphrase on its first line
}

// NATS is the embedded server, or the servers to connect to instead.
type NATS struct {
	Listen string   `yaml:"listen"` // host:port for the other operators' servers
	URLs   []string `yaml:"urls"`   // servers that run already; the embedded one is then off
	CA     string   `yaml:"ca"`     // file with the certificates that sign those servers'; empty: the system's
}

// Knot is where the two control sockets are.
type Knot struct {
	Hidden   string   `yaml:"hidden"` // unsigned zones
	Public   string   `yaml:"public"` // signed zones, written by the daemon alone
	Timeout  Duration `yaml:"timeout"`
	Transfer Transfer `yaml:"transfer"`
}

// Transfer is how the public Knot gets large changes by zone transfer; without
// it they go through the control socket, too.
type Transfer struct {
	Listen string `yaml:"listen"` // host:port, on which the daemon is the public Knot's primary; may be empty
	TSIG   string `yaml:"tsig"`   // file with "algorithm:name:base64", mode 0600
}

// Pools is how many tuples are kept ready.
type Pools struct {
	Depth   int `yaml:"depth"`   // unbound, for each engine and signer set, by all proposers together
	Changes int `yaml:"changes"` // bound to each key, for each signer set, on top of what falls due within max-outage
	Chunk   int `yaml:"chunk"`   // tuples in one preprocessing chunk
}

// Sessions holds the bounds of waiting.
type Sessions struct {
	Timeout    Duration `yaml:"timeout"`     // for one round of a protocol
	ClockBound Duration `yaml:"clock-bound"` // how far a proposal's time may be from ours
	Settle     Duration `yaml:"settle"`      // how long "behind" may last before it is a refusal
}

// Log is the form of what goes to standard error.
type Log struct {
	Level  string `yaml:"level"`  // debug, info, warn, error
	Format string `yaml:"format"` // text or json
}

// Group is the file that all operators hold; its digest is what they compare.
type Group struct {
	Version    int        `yaml:"version"`
	Name       string     `yaml:"name"`
	Epoch      int        `yaml:"epoch"`
	Threshold  int        `yaml:"threshold"` // the adversary controls at most so many
	Engine     string     `yaml:"engine"`    // default for new keys
	Operators  []Operator `yaml:"operators"` // in order; the order fixes evaluation points
	SignerSets [][]string `yaml:"signer-sets"`
}

// Operator is one member: the line that `zonesignerd init` prints.
type Operator struct {
	Name    string `yaml:"name"`
	NKey    string `yaml:"nkey"`    // public key, "U..."
	Address string `yaml:"address"` // host:port of its NATS listener
}

// Policy is one zone's policy. Everything but Source and Publish is agreed
// between the operators by digest.
type Policy struct {
	Version int    `yaml:"version"`
	Zone    string `yaml:"zone"`

	Engine            string   `yaml:"engine"`             // of new keys; empty: the group's
	AlgorithmRollover bool     `yaml:"algorithm-rollover"` // keys of two algorithms may stand side by side
	SerialPolicy      string   `yaml:"serial-policy"`      // keep, increment, unixtime, dateserial
	RRSIGLifetime     Duration `yaml:"rrsig-lifetime"`
	RRSIGRefresh      Duration `yaml:"rrsig-refresh"`
	DNSKEYTTL         Duration `yaml:"dnskey-ttl"`
	PropagationDelay  Duration `yaml:"propagation-delay"`
	KSKLifetime       Duration `yaml:"ksk-lifetime"`        // 0: for ever
	ZSKLifetime       Duration `yaml:"zsk-lifetime"`        // 0: for ever
	SingleTypeSigning bool     `yaml:"single-type-signing"` // one key that is KSK and ZSK
	MaxOutage         Duration `yaml:"max-outage"`          // how long signing must go on without a missing operator

	Denial Denial `yaml:"denial"`
	ZONEMD string `yaml:"zonemd-generate"` // none, zonemd-sha384 or zonemd-sha512

	ContentFrom   string `yaml:"content-from"`   // primary: one primary numbers the versions; copies: edited separately
	ContentQuorum string `yaml:"content-quorum"` // all-present or t+1
	OnExpiry      string `yaml:"on-expiry"`      // keep or withdraw

	Source  Source  `yaml:"source"`  // local: where the unsigned zone comes from
	Publish Publish `yaml:"publish"` // local: where the signed zone goes
}

// Denial is how non-existence is proven (RFC 4034, RFC 5155, RFC 9276).
type Denial struct {
	NSEC3      bool   `yaml:"nsec3"`
	OptOut     bool   `yaml:"nsec3-opt-out"`
	Iterations uint16 `yaml:"nsec3-iterations"`
	Salt       string `yaml:"nsec3-salt"` // hexadecimal, "-" or empty for none
}

// Source is where the unsigned zone comes from; the default is the hidden
// Knot's control socket.
type Source struct {
	Type   string `yaml:"type"`   // knot, file, axfr, approved
	File   string `yaml:"file"`   // of type file
	Server string `yaml:"server"` // of type axfr: host:port
	TSIG   string `yaml:"tsig"`   // file with "algorithm:name:base64", mode 0600
	Notify string `yaml:"notify"` // address to listen on for NOTIFY, may be empty
}

// Publish is where the signed zone goes; the default is the public Knot's
// control socket.
type Publish struct {
	Type string `yaml:"type"` // knot, file
	File string `yaml:"file"` // of type file
}
