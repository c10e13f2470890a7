// Package measure finds out which domains are served by more than one DNS
// operator, as section 2 of the paper did for the Alexa top million, and
// whether those operators serve the signatures of one signer.
//
// This package holds the words that its sub-packages share: what is recorded of
// one domain, and the classes, statuses and reasons in it. The work is in
// sub-packages, in the order in which a domain passes them:
//
//	list      ranked lists of domains: CSV of four makers, gzip, zip, plain names
//	resolve   name servers and their addresses: through resolvers or from the root
//	operator  who runs a name server: public suffixes, aliases, addresses
//	whois     who an address is registered to (RFC 3912)
//	classify  the verdict, with its reasons
//	run       a whole list: workers, the store, going on after a kill
//	report    tables, pages, comparisons of runs
//	testnet   an Internet on loopback addresses, for tests and measuring
package measure

import (
	"fmt"
	"net/netip"
	"time"
)

// A Class is where a domain is counted. The first four are those of the
// paper's Figure 1, in its order.
type Class uint8

const (
	// One operator serves the domain ("Only 1").
	One Class = iota + 1
	// MoreThanOne operator serves the domain.
	MoreThanOne
	// NoResponse with a list of name servers came within the time ("NR").
	// The status says what came instead.
	NoResponse
	// Misconfigured is a domain with a name server that has no address and
	// whose name is incomplete or mistyped.
	Misconfigured
	// Unknown is where the evidence does not bear a verdict.
	Unknown
)

// Classes are all of them, in the order of tables.
var Classes = []Class{One, MoreThanOne, NoResponse, Misconfigured, Unknown}

var classNames = [...]string{One: "one", MoreThanOne: "more-than-one", NoResponse: "no-response", Misconfigured: "misconfigured", Unknown: "unknown"}

func (c Class) String() string {
	if c < One || c > Unknown {
		return fmt.Sprintf("class(%d)", uint8(c))
	}
	return classNames[c]
}

// MarshalText writes the class's name.
func (c Class) MarshalText() ([]byte, error) {
	if c < One || c > Unknown {
		return nil, fmt.Errorf("class %d: want %d to %d", uint8(c), One, Unknown)
	}
	return []byte(c.String()), nil
}

// UnmarshalText reads a class's name.
func (c *Class) UnmarshalText(text []byte) error {
	for _, known := range Classes {
		if known.String() == string(text) {
			*c = known
			return nil
		}
	}
	return fmt.Errorf("class %q: want one of %v", text, Classes)
}

// A Status is what became of a lookup. Those that are response codes are
// written as in RFC 1035 and as zdns does.
type Status string

const (
	// NoError is an answer that holds what was asked for.
	NoError Status = "NOERROR"
	// NoAnswer is a name that exists without records of the type.
	NoAnswer Status = "NOANSWER"
	// NXDomain is a name that does not exist.
	NXDomain Status = "NXDOMAIN"
	// ServFail, Refused, FormErr and NotImp are what servers answered, the
	// last of those that were asked and the most telling.
	ServFail Status = "SERVFAIL"
	Refused  Status = "REFUSED"
	FormErr  Status = "FORMERR"
	NotImp   Status = "NOTIMP"
	// Timeout is no answer at all, or none to the question asked.
	Timeout Status = "TIMEOUT"
	// Lame are servers that a zone is delegated to and that do not have it:
	// their answers are without authority, or refer elsewhere (RFC 9499,
	// section 7).
	Lame Status = "LAME"
	// Loop is a delegation whose name servers can only be found through
	// itself.
	Loop Status = "LOOP"
	// NoAddress is a delegation none of whose name servers has an address.
	NoAddress Status = "NOADDRESS"
	// Failed is what could not be asked: a name that is none, an answer that
	// cannot be read.
	Failed Status = "ERROR"
)

// Signers says whose signatures the operators of a domain serve.
type Signers string

const (
	// SignersNone is when no operator's servers sign.
	SignersNone Signers = "unsigned"
	// SignersOne is when all operators' servers give signatures of the same
	// keys.
	SignersOne Signers = "one"
	// SignersSeveral is when operators' servers give signatures of different
	// keys (RFC 8901, section 2.1).
	SignersSeveral Signers = "several"
	// SignersPartly is when some operators' servers sign and others do not.
	SignersPartly Signers = "partly"
	// SignersUnknown is when servers of an operator did not answer.
	SignersUnknown Signers = "unknown"
)

// AllSigners are all of them, in the order of tables.
var AllSigners = []Signers{SignersNone, SignersOne, SignersSeveral, SignersPartly, SignersUnknown}

// A Record is what a run knows of one domain: a line of results.jsonl, in the
// shape in which zdns writes its own (name, status, timestamp, data).
type Record struct {
	Name      string    `json:"name"`              // A-labels, lower case, no dot at the end
	Unicode   string    `json:"unicode,omitempty"` // as people write it, where that differs
	Rank      int       `json:"rank"`
	Status    Status    `json:"status"` // of the lookup of the name servers
	Timestamp time.Time `json:"timestamp"`
	Data      Data      `json:"data"`
}

// Data is the verdict on a domain and the evidence for it.
type Data struct {
	Class       Class        `json:"class"`
	Reasons     []Reason     `json:"reasons"`
	Zone        string       `json:"zone,omitempty"`        // whose name servers these are, where it is not the name itself
	CNAME       string       `json:"cname,omitempty"`       // what the name is an alias of
	NameServers []NameServer `json:"nameservers,omitempty"` // as the zone lists them; as the parent does, where the zone gives no list
	Delegation  []string     `json:"delegation,omitempty"`  // as the parent lists them, where that differs
	Operators   []Operator   `json:"operators,omitempty"`   // sorted by id
	Signers     Signers      `json:"signers,omitempty"`     // with more than one operator
	Resolver    string       `json:"resolver,omitempty"`    // who gave the list of name servers
	Queries     int          `json:"queries"`               // sent for the list of name servers, retries included
	Millis      int64        `json:"ms"`                    // spent waiting for answers to them
}

// A Reason is one step to the verdict: a code of a fixed set (Codes) and what
// it is about.
type Reason struct {
	Code   Code   `json:"code"`
	Detail string `json:"detail,omitempty"`
}

// A NameServer is one of a domain's, with what was found out about it.
type NameServer struct {
	Name      string       `json:"name"`   // without the dot at the end
	Status    Status       `json:"status"` // of the lookup of its addresses
	Addresses []netip.Addr `json:"addresses,omitempty"`
	Operator  string       `json:"operator,omitempty"` // id; empty where its name tells none
	By        string       `json:"by,omitempty"`       // what told the operator
}

// An Operator is one of a domain's, with what its servers answered.
type Operator struct {
	ID     string `json:"id"`              // a name of the alias table, or a registrable domain's first label
	Owners string `json:"whois,omitempty"` // who the addresses are registered to
	Probe  *Probe `json:"probe,omitempty"`
}

// A Probe is what one server of an operator said of the zone when it was asked
// for SOA and DNSKEY with DO set (RFC 3225), without recursion.
type Probe struct {
	Server string   `json:"server"` // name and address
	Status Status   `json:"status"`
	Serial uint32   `json:"serial,omitempty"`
	MName  string   `json:"mname,omitempty"`
	RName  string   `json:"rname,omitempty"`
	Tags   []KeyTag `json:"tags,omitempty"` // of the RRSIGs of the SOA RRset, sorted
	Keys   []KeyTag `json:"keys,omitempty"` // of the DNSKEY RRset, sorted
}

// A KeyTag names a key as RRSIGs do: tag and algorithm (RFC 4034, section 3.1).
type KeyTag struct {
	Tag       uint16 `json:"tag"`
	Algorithm uint8  `json:"algorithm"`
}

func (k KeyTag) String() string { return fmt.Sprintf("%d/%d", k.Tag, k.Algorithm) }
