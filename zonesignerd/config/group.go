package config

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"zonesigner/mpc"
)

const nameForm = "1 to 32 of a-z, 0-9 and -"

var namePattern = regexp.MustCompile(`^[a-z0-9-]{1,32}$`)

func validName(s string) bool { return namePattern.MatchString(s) }

func defaultGroup() Group { return Group{Engine: MalShamir} }

// MPC is what protocols know of the group. The parties stand in the file's
// order, which fixes their evaluation points.
func (g *Group) MPC() mpc.Group {
	m := mpc.Group{T: g.Threshold, Digest: g.Digest()}
	for _, o := range g.Operators {
		m.Parties = append(m.Parties, mpc.PartyID(o.Name))
	}
	return m
}

// Operator finds a member by name.
func (g *Group) Operator(name string) (Operator, bool) {
	i := slices.IndexFunc(g.Operators, func(o Operator) bool { return o.Name == name })
	if i < 0 {
		return Operator{}, false
	}
	return g.Operators[i], true
}

// maxSets bounds the signer sets that a group has without listing any: each
// costs its members the making of tuples.
const maxSets = 36

// Sets lists the signer sets that have pools under an engine, each sorted, in
// the order of preference. They are those of the file that fit the engine:
// t+1 operators exactly with a passive one, t+1 or more with an active one
// (which is all of them with mascot, whose t is n-1). Where the file has none,
// they are
//
//   - with an active engine, all operators, and all without each one of them,
//     so that signing goes on whoever is down; where t is half of all or more,
//     all operators and every t+1 of them;
//   - with a passive one, each operator and the t that follow it in the file,
//     round and round, for the same reason.
//
// For three operators a, b and c and t = 1 that is a+b+c, b+c, a+c, a+b with an
// active engine and a+b, b+c, a+c with a passive one; for two it is a+b.
func (g *Group) Sets(engine string) []mpc.SignerSet {
	var sets []mpc.SignerSet
	if len(g.SignerSets) > 0 {
		for _, members := range g.SignerSets {
			if g.fits(engine, len(members)) {
				sets = append(sets, signerSet(members))
			}
		}
		return sets
	}
	n, names := len(g.Operators), make([]string, len(g.Operators))
	for i, o := range g.Operators {
		names[i] = o.Name
	}
	add := func(members []string) {
		if set := signerSet(members); !slices.ContainsFunc(sets, set.Equal) {
			sets = append(sets, set)
		}
	}
	switch {
	case Passive(engine):
		for i := range n {
			var members []string
			for j := range min(g.Threshold+1, n) {
				members = append(members, names[(i+j)%n])
			}
			add(members)
		}
	case 2*g.Threshold >= n && binomial(n, g.Threshold+1) < maxSets:
		add(names)
		eachSubset(names, g.Threshold+1, add)
	default:
		add(names)
		for i := range n {
			if g.fits(engine, n-1) {
				add(slices.Delete(slices.Clone(names), i, i+1))
			}
		}
	}
	return sets
}

// eachSubset calls f with every choice of size of names, in their order.
func eachSubset(names []string, size int, f func([]string)) {
	var choose func(chosen, rest []string)
	choose = func(chosen, rest []string) {
		switch {
		case len(chosen) == size:
			f(chosen)
		case len(chosen)+len(rest) >= size && len(rest) > 0:
			choose(append(slices.Clip(chosen), rest[0]), rest[1:])
			choose(chosen, rest[1:])
		}
	}
	choose(nil, names)
}

// CommonSets lists the signer sets that all of engines have, in the order of
// the first: those that sign for keys of several engines together. It is an
// error that says what to do if there is none.
func (g *Group) CommonSets(engines ...string) ([]mpc.SignerSet, error) {
	if len(engines) == 0 {
		return nil, nil
	}
	sets := g.Sets(engines[0])
	for _, e := range engines[1:] {
		other := g.Sets(e)
		sets = slices.DeleteFunc(sets, func(s mpc.SignerSet) bool { return !slices.ContainsFunc(other, s.Equal) })
	}
	switch {
	case len(sets) == 0 && len(engines) == 1:
		return nil, fmt.Errorf("none of the group file's signer-sets fits %s", engines[0])
	case len(sets) == 0:
		return nil, fmt.Errorf("no signer set signs with %s together: a passive engine takes exactly %d operators; list sets of so many in the group file's signer-sets, or take engines that are all active", strings.Join(engines, " and "), g.Threshold+1)
	}
	return sets, nil
}

func (g *Group) fits(engine string, size int) bool {
	if Passive(engine) {
		return size == g.Threshold+1
	}
	return size > g.Threshold
}

func signerSet(members []string) mpc.SignerSet {
	ids := make([]mpc.PartyID, len(members))
	for i, m := range members {
		ids[i] = mpc.PartyID(m)
	}
	return mpc.NewSignerSet(ids...)
}

// Validate returns all that is wrong, as Faults, or nil.
func (g *Group) Validate() error {
	var fs faults
	if !validName(g.Name) {
		fs.add("name", "%q is no group's name: want %s", g.Name, nameForm)
	}
	if g.Epoch < 1 {
		fs.add("epoch", "%d: want 1 for the first form of the group, and one more for each later one", g.Epoch)
	}
	fs.oneOf("engine", g.Engine, engineNames...)
	n, t := len(g.Operators), g.Threshold
	switch {
	case n < 2:
		fs.add("operators", "%d operators: want 2 at least", n)
	case n > MaxOperators:
		fs.add("operators", "%d operators: want %d at most", n, MaxOperators)
	case t < 1 || t >= n:
		fs.add("threshold", "%d does not fit %d operators: want 1 to %d", t, n, n-1)
	case slices.Contains(engineNames, g.Engine):
		if err := g.CheckEngine(g.Engine); err != nil {
			fs.add("engine", "%v", err)
		}
	}
	g.validateOperators(&fs)
	g.validateSets(&fs)
	return fs.err()
}

func (g *Group) validateOperators(fs *faults) {
	type value struct{ kind, text string }
	first := map[value]int{}
	once := func(i int, key, text string) {
		v := value{key, text}
		if j, ok := first[v]; ok {
			fs.add(index("operators", i)+"."+key, "%q is operators[%d]'s too", text, j)
			return
		}
		first[v] = i
	}
	for i, o := range g.Operators {
		path := index("operators", i)
		if !validName(o.Name) {
			fs.add(path+".name", "%q is no operator's name: want %s", o.Name, nameForm)
		}
		if _, err := PublicKey(o.NKey); err != nil {
			fs.add(path+".nkey", "%v", err)
		}
		if err := checkHostPort(o.Address, false); err != nil {
			fs.add(path+".address", "%v", err)
		}
		once(i, "name", o.Name)
		once(i, "nkey", o.NKey)
		once(i, "address", strings.ToLower(o.Address))
	}
}

func (g *Group) validateSets(fs *faults) {
	first := map[string]int{}
	for i, members := range g.SignerSets {
		path := index("signer-sets", i)
		for j, m := range members {
			if _, ok := g.Operator(m); !ok {
				fs.add(index(path, j), "%q is no operator of this group", m)
			}
		}
		set := signerSet(members)
		if len(set) != len(members) {
			fs.add(path, "names an operator twice")
		}
		if !g.fits(g.Engine, len(set)) {
			atLeast := "at least "
			if Passive(g.Engine) {
				atLeast = "exactly "
			}
			fs.add(path, "has %d operators: %s signs with %s%d (threshold + 1)", len(set), g.Engine, atLeast, g.Threshold+1)
		}
		if j, ok := first[set.String()]; ok {
			fs.add(path, "is the same set as signer-sets[%d]", j)
		} else {
			first[set.String()] = i
		}
	}
	// Preprocessing for a set costs all operators, so their number is bounded.
	if len(g.SignerSets) > 2*maxSets {
		fs.add("signer-sets", "%d sets: want %d at most", len(g.SignerSets), 2*maxSets)
	}
}

// checkHostPort checks "host:port" with a port of 1 to 65535. An empty host,
// meaning all addresses, is for listening only.
func checkHostPort(text string, listen bool) error {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return fmt.Errorf("%q is no address: want host:port", text)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || strconv.FormatUint(n, 10) != port {
		return fmt.Errorf("%q has no port of 1 to 65535", text)
	}
	if listen && host == "" {
		return nil
	}
	ip, err := netip.ParseAddr(host)
	if err == nil {
		if !listen && (ip.IsUnspecified() || ip.IsMulticast()) {
			return fmt.Errorf("%q is no address that the other operators can reach", text)
		}
		return nil
	}
	if !hostPattern.MatchString(host) || len(host) > 253 {
		return fmt.Errorf("%q has neither a host name nor an ip address before its port", text)
	}
	return nil
}

var hostPattern = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)

// binomial is n over k, for n up to MaxOperators; it stops growing
// once it is past all bounds.
func binomial(n, k int) int {
	b := 1
	for i := 1; i <= k; i++ {
		b = b * (n - k + i) / i
		if b > 1<<20 {
			return b
		}
	}
	return b
}

func index(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }

// Fingerprint is a digest's first 20 bytes as ten groups of four hexadecimal
// digits, for people to compare by voice. It is as long as an OpenPGP
// fingerprint because a member could otherwise search for two group files
// that read alike, and give one to each of two others.
func Fingerprint(digest [32]byte) string {
	digits := strings.ToUpper(hex.EncodeToString(digest[:20]))
	var groups []string
	for chunk := range slices.Chunk([]byte(digits), 4) {
		groups = append(groups, string(chunk))
	}
	return strings.Join(groups, " ")
}

// ParseLine reads the line that `zonesignerd init` prints: name, nkey and
// address, parted by spaces.
func ParseLine(line string) (Operator, error) {
	fields := strings.Fields(line)
	if len(fields) != 3 {
		return Operator{}, fmt.Errorf("%d words: want three, the name, the nkey and the address", len(fields))
	}
	o := Operator{Name: fields[0], NKey: fields[1], Address: fields[2]}
	if !validName(o.Name) {
		return Operator{}, fmt.Errorf("%q is no operator's name: want %s", o.Name, nameForm)
	}
	if _, err := PublicKey(o.NKey); err != nil {
		return Operator{}, err
	}
	return o, checkHostPort(o.Address, false)
}

// Line is the inverse of ParseLine.
func (o Operator) Line() string { return o.Name + " " + o.NKey + " " + o.Address }

var errNotNKey = errors.New("want an nkey's public half: 56 characters that begin with U")
