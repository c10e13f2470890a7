package dnssec

// Fault is one thing that is wrong with a signed zone.
type Fault struct {
	Code  FaultCode
	Owner Name
	Type  uint16
	What  string
}

// String says what is wrong and with which RRset, without the code.
func (f Fault) String() string { return f.Owner.String() + " " + TypeName(f.Type) + ": " + f.What }

// FaultCode names a kind of fault. Codes stay; docs/verifying.md explains each.
type FaultCode string

// Faults of the records themselves, of zones that were read from a file.
const (
	OutOfZone    FaultCode = "out-of-zone"
	WrongClass   FaultCode = "class"
	MetaType     FaultCode = "meta-type"
	TTLRange     FaultCode = "ttl-range"
	TTLDiffers   FaultCode = "ttl-differs"
	SOAMissing   FaultCode = "soa-missing"
	SOASeveral   FaultCode = "soa-several"
	SOAElsewhere FaultCode = "soa-elsewhere"
	NSMissing    FaultCode = "ns-missing"
	CNAMEBeside  FaultCode = "cname-beside-data"
	CNAMESeveral FaultCode = "cname-several"
	DNAMESeveral FaultCode = "dname-several"
	BelowDNAME   FaultCode = "below-dname"
	DSAtApex     FaultCode = "ds-at-apex"
)

// Faults of the keys.
const (
	NotSigned        FaultCode = "not-signed"
	DNSKEYMissing    FaultCode = "dnskey-missing"
	DNSKEYFlags      FaultCode = "dnskey-flags"
	DNSKEYMalformed  FaultCode = "dnskey-malformed"
	UnknownAlgorithm FaultCode = "algorithm-unknown"
	KeyTagShared     FaultCode = "key-tag-shared"
	KeyExpected      FaultCode = "key-expected"
	KeyForeign       FaultCode = "key-foreign"
	NoSigningKey     FaultCode = "key-none-signs"
	NotTrusted       FaultCode = "not-trusted"
	NotSelfSigned    FaultCode = "dnskey-not-self-signed"
	RevokedUnsigned  FaultCode = "revoked-not-self-signed"
	CDSNoKey         FaultCode = "cds-no-key"
)

// Faults of signatures.
const (
	Unsigned         FaultCode = "unsigned"
	KeyDoesNotSign   FaultCode = "unsigned-by-key"
	AlgorithmMissing FaultCode = "unsigned-by-algorithm"
	SignedGlue       FaultCode = "rrsig-not-authoritative"
	StrayRRSIG       FaultCode = "rrsig-stray"
	RRSIGOfRRSIG     FaultCode = "rrsig-of-rrsig"
	SignedByStranger FaultCode = "rrsig-no-key"
	SignedByOther    FaultCode = "rrsig-other-key"
	SignedByRevoked  FaultCode = "rrsig-revoked-key"
	NotCanonical     FaultCode = "rrsig-not-canonical"
	RRSIGLabels      FaultCode = "rrsig-labels"
	RRSIGOriginalTTL FaultCode = "rrsig-original-ttl"
	RRSIGTTL         FaultCode = "rrsig-ttl"
	RRSIGSigner      FaultCode = "rrsig-signer"
	RRSIGNotYet      FaultCode = "rrsig-not-yet-valid"
	RRSIGExpired     FaultCode = "rrsig-expired"
	RRSIGSoonExpired FaultCode = "rrsig-expires-soon"
	RRSIGTimes       FaultCode = "rrsig-times"
	RRSIGBogus       FaultCode = "rrsig-bogus"
)

// Faults of the chain of NSEC or NSEC3 records.
const (
	DenialTTL         FaultCode = "denial-ttl"
	DenialSeveral     FaultCode = "denial-several"
	DenialBoth        FaultCode = "denial-both"
	NSECMissing       FaultCode = "nsec-missing"
	NSECStray         FaultCode = "nsec-stray"
	NSECNext          FaultCode = "nsec-next"
	NSECMalformed     FaultCode = "nsec-malformed"
	NSECBitmap        FaultCode = "nsec-bitmap"
	NSEC3Missing      FaultCode = "nsec3-missing"
	NSEC3EmptyMissing FaultCode = "nsec3-missing-empty"
	NSEC3NoOptOut     FaultCode = "nsec3-no-opt-out"
	NSEC3Stray        FaultCode = "nsec3-stray"
	NSEC3Next         FaultCode = "nsec3-next"
	NSEC3Owner        FaultCode = "nsec3-owner"
	NSEC3Parameters   FaultCode = "nsec3-parameters"
	NSEC3Malformed    FaultCode = "nsec3-malformed"
	NSEC3Bitmap       FaultCode = "nsec3-bitmap"
	NSEC3Iterations   FaultCode = "nsec3-iterations"
	NSEC3NoParam      FaultCode = "nsec3param-missing"
	NSEC3ParamForm    FaultCode = "nsec3param-malformed"
)

// Faults of the zone's digest.
const (
	ZONEMDMissing   FaultCode = "zonemd-missing"
	ZONEMDUnwanted  FaultCode = "zonemd-unwanted"
	ZONEMDTTL       FaultCode = "zonemd-ttl"
	ZONEMDSeveral   FaultCode = "zonemd-several"
	ZONEMDMalformed FaultCode = "zonemd-malformed"
	ZONEMDUnknown   FaultCode = "zonemd-unknown"
	ZONEMDSerial    FaultCode = "zonemd-serial"
	ZONEMDDigest    FaultCode = "zonemd-digest"
	ZONEMDRepeated  FaultCode = "zonemd-repeated"
	ZONEMDAlgorithm FaultCode = "zonemd-algorithm"
)
