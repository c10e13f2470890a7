package dnssec

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// KeyState is a key's place in its life, by Knot's names. It decides whether
// the DNSKEY is in the zone and what the key signs:
//
//	state          in DNSKEY   KSK signs keys   ZSK signs zone
//	pre-active     no          no               only without an active ZSK of its algorithm
//	published      yes         no               no
//	ready          yes         yes              only without an active ZSK of its algorithm
//	active         yes         yes              yes
//	retire-active  yes         yes              only without an active ZSK of its algorithm
//	retired        yes         no               no
//	post-active    no          no               only without an active ZSK of its algorithm
//	removed        no          no               no
//
// "Keys" are the apex RRsets DNSKEY, CDS and CDNSKEY. A CSK follows both
// columns. Pre-active and post-active are for algorithm roll-overs: who has
// the DNSKEY RRset may want a signature of each algorithm in it, so those of a
// new algorithm come before its keys, and those of an old one go after them
// (RFC 6781, section 4.1.4).
type KeyState string

// The states of a key.
const (
	PreActive    KeyState = "pre-active"
	Published    KeyState = "published"
	Ready        KeyState = "ready"
	Active       KeyState = "active"
	RetireActive KeyState = "retire-active"
	Retired      KeyState = "retired"
	PostActive   KeyState = "post-active"
	Removed      KeyState = "removed"
)

// Algorithm numbers of the groups' keys.
const (
	ECDSAP256SHA256 = 13 // RFC 6605: public key x and y, 64 bytes
	ED25519         = 15 // RFC 8080: public key 32 bytes
)

// Key is one DNSKEY of the zone.
type Key struct {
	ID        string // the caller's name for it, without white space; goes into the manifest
	Flags     uint16 // 256 (ZSK) or 257 (KSK, CSK)
	CSK       bool   // with 257: signs the whole zone, not the keys alone
	Algorithm uint8
	PublicKey []byte // as in the DNSKEY: 64 bytes (13), 32 (15), 96 (14), or as RFC 3110 has it (8)
	State     KeyState
}

// Validate reports a key that cannot be in a zone.
func (k Key) Validate() error {
	bad := func(format string, a ...any) error {
		return fmt.Errorf("key %q: %s", clip(k.ID), fmt.Sprintf(format, a...))
	}
	if !isToken(k.ID) {
		return bad("its id must be 1 to 255 printable characters without spaces")
	}
	switch {
	case k.Flags != 256 && k.Flags != 257:
		return bad("flags are %d, expected 256 or 257", k.Flags)
	case k.CSK && k.Flags != 257:
		return bad("a key that signs keys and zone has flags 257, not %d", k.Flags)
	}
	switch k.State {
	case PreActive, Published, Ready, Active, RetireActive, Retired, PostActive, Removed:
	default:
		return bad("unknown state %q", clip(string(k.State)))
	}
	switch _, err := newVerifier(k.Algorithm, k.PublicKey); {
	case errors.Is(err, errUnknownAlgorithm):
		return bad("algorithm %d is not supported, expected 8, 13, 14 or 15", k.Algorithm)
	case err != nil:
		return bad("%v", err)
	}
	return nil
}

// SignatureSize is the length in bytes of the key's signatures as they stand
// in an RRSIG: RFC 6605, section 4; RFC 8080, section 4; the length of the
// modulus of RSA (RFC 3110, section 3).
func (k Key) SignatureSize() int {
	switch k.Algorithm {
	case RSASHA256:
		return rsaModulusLen(k.PublicKey)
	case ECDSAP384SHA384:
		return 96
	}
	return 64
}

// DNSKEY is the rdata of the key's DNSKEY and CDNSKEY records (RFC 4034,
// section 2.1).
func (k Key) DNSKEY() []byte {
	b := binary.BigEndian.AppendUint16(nil, k.Flags)
	b = append(b, 3, k.Algorithm)
	return append(b, k.PublicKey...)
}

// KeyTag is the tag of RFC 4034, appendix B.
func (k Key) KeyTag() uint16 { return keyTag(k.DNSKEY()) }

func keyTag[T string | []byte](rdata T) uint16 {
	var ac uint32
	for i := range len(rdata) {
		if i&1 == 0 {
			ac += uint32(rdata[i]) << 8
		} else {
			ac += uint32(rdata[i])
		}
	}
	ac += ac >> 16 & 0xffff
	return uint16(ac)
}

// DS is the rdata of the key's DS and CDS records with digest type 2, SHA-256
// (RFC 4509): key tag, algorithm, 2, 32 bytes of digest.
func (k Key) DS(zone Name) []byte {
	b := binary.BigEndian.AppendUint16(nil, k.KeyTag())
	b = append(b, k.Algorithm, 2)
	sum := sha256.Sum256(append([]byte(zone), k.DNSKEY()...))
	return append(b, sum[:]...)
}

// published reports whether the DNSKEY is in the zone.
func (k Key) published() bool {
	return k.State != PreActive && k.State != PostActive && k.State != Removed
}

// signsKeys reports whether the key signs DNSKEY, CDS and CDNSKEY.
func (k Key) signsKeys() bool {
	return k.Flags == 257 && (k.State == Ready || k.State == Active || k.State == RetireActive)
}

// isZSK reports whether the key is made to sign the zone.
func (k Key) isZSK() bool { return k.Flags == 256 || k.CSK }

// signsZone reports whether keys[i] signs the RRsets that are not keys.
func signsZone(keys []Key, i int) bool {
	k := keys[i]
	if !k.isZSK() {
		return false
	}
	switch k.State {
	case Active:
		return true
	case PreActive, Ready, RetireActive, PostActive:
		for _, o := range keys {
			if o.isZSK() && o.State == Active && o.Algorithm == k.Algorithm {
				return false
			}
		}
		return true
	}
	return false
}

// algorithms lists the algorithms of keys that ok holds for, each once, lowest
// first.
func algorithms(keys []Key, ok func(i int) bool) []uint8 {
	var out []uint8
	for i, k := range keys {
		if ok(i) && !slices.Contains(out, k.Algorithm) {
			out = append(out, k.Algorithm)
		}
	}
	slices.Sort(out)
	return out
}

// Algorithms lists the algorithms of the keys that are not removed, each once,
// lowest first.
func Algorithms(keys []Key) []uint8 {
	return algorithms(keys, func(i int) bool { return keys[i].State != Removed })
}

// unsigning lists the algorithms in the DNSKEY RRset of which no key signs
// keys, or none signs the zone. There must be none: every RRset is signed with
// each algorithm in that RRset (RFC 4035, section 2.2; RFC 6840, section 5.11).
func unsigning(keys []Key) []uint8 {
	published := algorithms(keys, func(i int) bool { return keys[i].published() })
	signKeys := algorithms(keys, func(i int) bool { return keys[i].signsKeys() })
	signZone := algorithms(keys, func(i int) bool { return signsZone(keys, i) })
	return slices.DeleteFunc(published, func(a uint8) bool { return slices.Contains(signKeys, a) && slices.Contains(signZone, a) })
}

// WholeAlgorithms returns the keys of those algorithms that have keys to sign
// all that they have to, whatever their states, in the same order; all keys when
// none has. The keys of a second algorithm that are not yet all there are thus
// left out, and not a reason to sign nothing. One that has them all and cannot
// sign for their states stays: leaving it out would take an algorithm from the
// zone while caches still hold its keys, or its DS.
func WholeAlgorithms(keys []Key) []Key {
	signKeys := algorithms(keys, func(i int) bool { return keys[i].Flags == 257 })
	signZone := algorithms(keys, func(i int) bool { return keys[i].isZSK() })
	whole := slices.DeleteFunc(slices.Clone(keys), func(k Key) bool {
		return !slices.Contains(signKeys, k.Algorithm) || !slices.Contains(signZone, k.Algorithm)
	})
	if len(whole) == 0 {
		return keys
	}
	return whole
}

// isToken reports whether s can stand as one word in a manifest.
func isToken(s string) bool {
	if s == "" || len(s) > 255 {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

// rsaModulusLen is how many bytes the modulus of an RSA public key has (RFC
// 3110, section 2: the exponent's length in one byte, or in two after a zero,
// the exponent, the modulus); 0 for what is none.
func rsaModulusLen(public []byte) int {
	if len(public) < 3 {
		return 0
	}
	before := 1 + int(public[0])
	if public[0] == 0 {
		before = 3 + int(binary.BigEndian.Uint16(public[1:]))
	}
	return max(len(public)-before, 0)
}
