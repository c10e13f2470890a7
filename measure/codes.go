package measure

// A Code names a reason. The set is fixed: what people count by must not
// change its meaning.
type Code string

const (
	// The verdict rests on this.

	SameOperator     Code = "same-operator"            // all name servers are of one operator
	OtherOperators   Code = "different-operators"      // name servers are of several
	NoList           Code = "no-list"                  // no response with a list of name servers; the status says what came
	SingleLabel      Code = "single-label"             // a name server's name is incomplete: one label
	UnlistedSuffix   Code = "unlisted-suffix"          // a name server's name ends in what is no public suffix
	Mistyped         Code = "mistyped"                 // a name server's name does not exist and is one edit away from a sibling
	NoServingAddress Code = "operator-without-address" // an operator counts by name alone: none of its servers has an address
	SameNetwork      Code = "same-network"             // operators differ by name, their servers share networks
	SOASays          Code = "soa-names-operator"       // the SOA record names another operator than the name server's name
	ResolverLies     Code = "resolver-lies"            // the resolver gives answers for names that do not exist
	NoOperator       Code = "no-operator"              // no name server's name has a registrable domain
	NotDelegated     Code = "not-delegated"            // the name lies directly in a public suffix's zone

	// How name servers came to their operators.

	ByAlias   Code = "alias"      // the table of aliases joins names
	ByAddress Code = "address"    // a vanity name has the address of a known operator's server
	BySOA     Code = "soa"        // a vanity name serves the zone as only one operator writes it
	ByWHOIS   Code = "whois"      // addresses are registered to one organisation
	ByLabel   Code = "same-label" // registrable domains differ by their suffix alone

	// Worth knowing.

	InsideZone      Code = "inside-zone"           // the name is no zone of its own
	CNAMEAtApex     Code = "cname-at-apex"         // the zone has a CNAME where its SOA and NS are
	ParentDiffers   Code = "delegation-differs"    // parent and zone list different name servers
	Unaddressed     Code = "no-address"            // a name server has no address
	NSIsAlias       Code = "nameserver-is-cname"   // a name server's name is an alias (RFC 2181, section 10.3)
	SilentServer    Code = "server-does-not-serve" // a name server that was asked for the zone did not give it
	KeysNotShared   Code = "keys-not-shared"       // an operator signs with a key that another's DNSKEY RRset lacks (RFC 8901)
	SerialsDiffer   Code = "serials-differ"        // signatures differ, but so do serials: one may lag behind
	ApexListMissing Code = "list-of-parent"        // the zone gives no list of its own; this is the parent's
)

// Codes says what each means, for reports and manuals.
var Codes = map[Code]string{
	SameOperator:     "all name servers are of one operator",
	OtherOperators:   "name servers are of several operators",
	NoList:           "no response with a list of name servers",
	SingleLabel:      "a name server's name is a single label",
	UnlistedSuffix:   "a name server's name ends in no public suffix",
	Mistyped:         "a name server does not exist and is one edit away from a sibling",
	NoServingAddress: "an operator counts by name alone: none of its name servers has an address",
	SameNetwork:      "operators differ by name, but their name servers share networks",
	SOASays:          "the SOA record names another operator than the name server's name",
	ResolverLies:     "the resolver gives answers for names that do not exist",
	NoOperator:       "no name server's name has a registrable domain, which tells the operator",
	NotDelegated:     "the name is in a public suffix's own zone",
	ByAlias:          "the table of aliases gives the operator",
	ByAddress:        "the address is one of a known operator's",
	BySOA:            "the zone is served as only one operator writes it",
	ByWHOIS:          "the addresses are registered to one organisation",
	ByLabel:          "registrable domains differ by their suffix alone",
	InsideZone:       "the name is inside another zone, whose name servers these are",
	CNAMEAtApex:      "the zone has a CNAME beside its SOA and NS records",
	ParentDiffers:    "parent and zone list different name servers",
	Unaddressed:      "a name server has no address",
	NSIsAlias:        "a name server's name is an alias",
	SilentServer:     "a name server does not serve the zone",
	KeysNotShared:    "operators sign with keys that are not in one DNSKEY RRset",
	SerialsDiffer:    "serials differ, so that different signatures may be a lag",
	ApexListMissing:  "the list is the parent's; the zone gives none",
}
