package dnssec

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// twoAlgorithms are a KSK and a ZSK of each algorithm.
func twoAlgorithms() []testKey {
	ksk, zsk := kskAndZSK()
	return []testKey{ksk, zsk, newEdKey("ed-ksk", 257, false), newEdKey("ed-zsk", 256, false)}
}

// A zone with keys of two algorithms is signed as BIND signs it: every RRset by
// both (RFC 4035, section 2.2).
func TestTwoAlgorithmsSameAsDNSSECSignzone(t *testing.T) {
	forEachZone(t, func(t *testing.T, file string, z *Zone, d string) {
		sameAsBIND(t, file, z, d, twoAlgorithms()...)
	})
}

// Other people's validators find nothing wrong with such a zone, its ZONEMD
// record included.
func TestTwoAlgorithmsValidate(t *testing.T) {
	forEachZone(t, func(t *testing.T, file string, z *Zone, d string) {
		keys := twoAlgorithms()
		p := testParams(keys...)
		p.Denial, p.ZONEMD = denials[d], zonemdPolicies[len(d)%2]
		p.CDS = CDSAlways
		p.Time = uint32(time.Now().Unix()) // dnssec-verify takes no time but the clock's
		_, second, sz := signWithZONEMD(t, z, p, keys...)
		if second.Len() != 2 {
			t.Errorf("%d signatures of the ZONEMD record, expected one of each algorithm", second.Len())
		}
		if cds, _ := sz.find(z.Apex(), dns.TypeCDS); cds.Len() != 2 {
			t.Errorf("%d CDS records, expected one of each algorithm", cds.Len())
		}
		validates(t, sz, p)
	})
}

// validates has Verify and other people's validators look at a signed zone.
func validates(t *testing.T, sz *SignedZone, p Params) {
	t.Helper()
	wantNoFaults(t, Verify(sz, VerifyOptions{Keys: p.Keys, At: p.Time, ZONEMD: p.ZONEMD}))
	for _, k := range p.Keys {
		if k.Flags == 257 && k.published() {
			wantNoFaults(t, Verify(sz, VerifyOptions{Anchors: []Anchor{{DS: k.DS(sz.apex)}}, At: p.Time}))
		}
	}
	dir, apex := t.TempDir(), sz.apex.String()
	writeFile(t, dir, "signed", zoneText(t, sz))
	run(t, dir, "dnssec-verify", "-x", "-o", apex, "signed")
	run(t, dir, "kzonecheck", "-d", "on", "-t", fmt.Sprint(p.Time), "-o", apex, "signed")
	if apex != "." || !p.Denial.NSEC3 { // ldns 1.8 walks in circles there, with its own signer's zones too
		run(t, dir, "ldns-verify-zone", "-t", string(appendTime(nil, p.Time)), "signed")
	}
}

// An algorithm roll-over in the steps of RFC 6781, section 4.1.4. Whatever a
// cache holds of the step before, it finds a signature of each algorithm in the
// DNSKEY RRset that it has. Nothing is signed twice.
func TestAlgorithmRollover(t *testing.T) {
	const none, oldOnly, both, newOnly = "", "13", "13 15", "15"
	for d, denial := range denials {
		t.Run(d, func(t *testing.T) {
			t.Parallel()
			z := readZone(t, "features.zone")
			keys := twoAlgorithms()
			p := testParams(keys...)
			p.Denial, p.Time = denial, uint32(time.Now().Unix())
			for _, step := range []struct {
				name         string
				old, new     KeyState
				zone, dnskey string // algorithms that sign
				made         string // of the zone's signatures, all of these algorithms are made, of others the SOA's and the bit map's alone
			}{
				{"initial", Active, Removed, oldOnly, oldOnly, oldOnly},
				{"new signatures", Active, PreActive, both, oldOnly, newOnly},
				{"again", Active, PreActive, both, oldOnly, none},
				{"new keys", Active, Ready, both, both, none},
				{"new DS", RetireActive, Active, both, both, none},
				{"old keys gone", PostActive, Active, both, newOnly, none},
				{"once more", PostActive, Active, both, newOnly, none},
				{"old signatures gone", Removed, Active, newOnly, newOnly, none},
			} {
				for j := range p.Keys {
					p.Keys[j].State = step.old
					if p.Keys[j].Algorithm == ED25519 {
						p.Keys[j].State = step.new
					}
				}
				p.Serial++
				p.Time += 60
				plan := mustPlan(t, z, p)
				made := map[uint8]int{}
				for i := range plan.Len() {
					if it := plan.Item(i); it.Type != dns.TypeSOA && it.Type != dns.TypeDNSKEY {
						made[plan.signed.sigs[plan.items[i].sig].Algorithm]++
					}
				}
				if got := algorithmsOf(made); got != step.made {
					t.Errorf("%s: signatures of %q are made, expected %q: %v", step.name, got, step.made, made)
				}
				sz := signPlan(t, plan, keys...)
				for set, sigs := range sz.RRsets() {
					want := step.zone
					if set.Type == dns.TypeDNSKEY {
						want = step.dnskey
					}
					by := map[uint8]int{}
					for _, g := range sigs {
						by[g.Algorithm]++
					}
					if got := algorithmsOf(by); len(sigs) > 0 && got != want {
						t.Errorf("%s: %s %s is signed with %q, expected %q", step.name, set.Owner, TypeName(set.Type), got, want)
					}
				}
				t.Log(step.name)
				validates(t, sz, p)
				p.Base = sz
			}
		})
	}
}

func algorithmsOf(count map[uint8]int) string {
	var out []string
	for _, a := range []uint8{ECDSAP256SHA256, ED25519} {
		if count[a] > 0 {
			out = append(out, fmt.Sprint(a))
		}
	}
	return strings.Join(out, " ")
}

// A key that signs before it is published is told from another of its tag by a
// signature, not by the tag.
func TestPreActiveKeyIsKnownByItsSignature(t *testing.T) {
	keys := twoAlgorithms()
	for i := 2; i < 4; i++ {
		keys[i].State = PreActive
	}
	z := mustParse(t, "example.", minimal+"www A 192.0.2.1\n")
	p := testParams(keys...)
	base := signPlan(t, mustPlan(t, z, p), keys...)
	p.Base, p.Serial = base, p.Serial+1
	kept := mustPlan(t, z, p).Kept()
	forged := *base
	forged.sigs = slices.Clone(base.sigs)
	for i := range forged.sigs { // as by another key of the same tag
		if forged.sigs[i].Algorithm == ED25519 {
			forged.sigs[i].Sig = forged.sigs[0].Sig
		}
	}
	forged.init()
	p.Base = &forged
	if plan := mustPlan(t, z, p); plan.Kept() >= kept || plan.Kept() == 0 {
		t.Errorf("%d signatures kept of %d", plan.Kept(), kept)
	} else if i := slices.IndexFunc(plan.ItemsOf("ed-zsk"), func(i int) bool { return plan.Item(i).Type == dns.TypeA }); i < 0 {
		t.Error("the signature of another key is kept")
	}
}

// An RRset without a signature of one of the algorithms is a fault, whoever
// looks.
func TestVerifyWantsEachAlgorithm(t *testing.T) {
	keys := twoAlgorithms()
	for _, d := range []string{"nsec", "nsec3"} {
		p := testParams(keys...)
		p.Denial, p.ZONEMD = denials[d], ZONEMDSHA384
		_, _, sz := signWithZONEMD(t, mustParse(t, "example.", verified), p, keys...)
		byKeys := VerifyOptions{Keys: p.Keys, At: testTime, ZONEMD: p.ZONEMD}
		byAnchor := VerifyOptions{Anchors: []Anchor{{DS: keys[0].DS(sz.apex)}, {DS: keys[2].DS(sz.apex)}}, At: testTime}
		wantNoFaults(t, append(Verify(sz, byKeys), Verify(sz, byAnchor)...))
		for i, s := range sz.sets {
			for j, g := range sz.signaturesAt(i) {
				f := newForger(t, sz, keys[0], keys[1])
				f.sigs[i] = slices.Delete(f.sigs[i], j, j+1)
				where := Fault{Owner: s.Owner, Type: s.Type}.String()
				for want, o := range map[string]VerifyOptions{
					where + fmt.Sprintf("not signed with key %d", g.KeyTag):                 byKeys,
					where + fmt.Sprintf("not signed by a key of algorithm %d", g.Algorithm): byAnchor,
				} {
					faults := Verify(f.zone(), o)
					if !slices.ContainsFunc(faults, func(x Fault) bool { return strings.HasPrefix(x.String(), want) }) {
						t.Errorf("%v\nexpected %q", faults, want)
					}
				}
			}
		}
	}
}

// What Verify says of states: signatures of keys that are not published are
// wanted and verified, but without the key set, of an algorithm that the
// DNSKEY RRset does not have, none is.
func TestVerifyUnpublishedKeys(t *testing.T) {
	keys := twoAlgorithms()
	for i := 2; i < 4; i++ {
		keys[i].State = PreActive
	}
	p := testParams(keys...)
	sz := signPlan(t, mustPlan(t, mustParse(t, "example.", verified), p), keys...)
	byKeys := VerifyOptions{Keys: p.Keys, At: testTime}
	byAnchor := VerifyOptions{Anchors: []Anchor{{DS: keys[0].DS(sz.apex)}}, At: testTime}
	wantNoFaults(t, append(Verify(sz, byKeys), Verify(sz, byAnchor)...))
	f := newForger(t, sz, keys[0], keys[1])
	i := f.at("www.example", dns.TypeA)
	f.sigs[i][1].Sig = f.sigs[i][0].Sig
	if faults := Verify(f.zone(), byKeys); len(faults) != 1 || !strings.Contains(faults[0].What, "does not verify") {
		t.Errorf("a false signature of an unpublished key: %v", faults)
	}
	wantNoFaults(t, Verify(f.zone(), byAnchor))
	f.sigs[i] = f.sigs[i][:1]
	if faults := Verify(f.zone(), byKeys); len(faults) != 1 || !strings.Contains(faults[0].What, "not signed with key") {
		t.Errorf("an unpublished key does not sign: %v", faults)
	}
	f = newForger(t, sz, keys[0], keys[1])
	at := f.at("example", dns.TypeDNSKEY)
	both := [][]byte{keys[0].DNSKEY(), keys[1].DNSKEY(), keys[3].DNSKEY()}
	slices.SortFunc(both, slices.Compare[[]byte])
	f.sets[at] = makeRRset(sz.apex, dns.TypeDNSKEY, 3600, &arena{}, both...)
	f.sign(at, keys[0])
	if faults := Verify(f.zone(), byKeys); !slices.ContainsFunc(faults, func(x Fault) bool { return strings.Contains(x.What, "is not one of ours") }) {
		t.Errorf("a key that is not to be published is: %v", faults)
	}
}

func TestWholeAlgorithms(t *testing.T) {
	keys := twoAlgorithms()
	csk := newEdKey("csk", 257, true)
	with := func(k testKey, s KeyState) Key { k.State = s; return k.Key }
	old := []Key{keys[0].Key, keys[1].Key}
	for _, c := range []struct {
		name    string
		second  []Key
		whole   bool
		refused bool // all together cannot sign
	}{
		{"a KSK alone", []Key{keys[2].Key}, false, false},
		{"a ZSK alone", []Key{keys[3].Key}, false, false},
		{"a KSK and a ZSK", []Key{keys[2].Key, keys[3].Key}, true, false},
		{"a CSK", []Key{csk.Key}, true, false},
		{"signatures first", []Key{with(keys[2], PreActive), with(keys[3], PreActive)}, true, false},
		{"published only", []Key{with(keys[2], Published), with(keys[3], Published)}, true, true},
		{"a KSK that does not sign", []Key{with(keys[2], Retired), keys[3].Key}, true, true},
		{"a ZSK that does not sign", []Key{keys[2].Key, with(keys[3], Retired)}, true, true},
	} {
		all := append(slices.Clone(old), c.second...)
		want := all
		if !c.whole {
			want = old
		}
		if got := WholeAlgorithms(all); len(got) != len(want) {
			t.Errorf("%s: %d keys, expected %d", c.name, len(got), len(want))
		}
		if refused := len(unsigning(WholeAlgorithms(all))) > 0; refused != c.refused {
			t.Errorf("%s: refused to sign: %v, expected %v", c.name, refused, c.refused)
		}
	}
	half := []Key{keys[0].Key, keys[3].Key}
	if got := WholeAlgorithms(half); len(got) != 2 {
		t.Errorf("no algorithm is whole: %d keys, expected all", len(got))
	}
	if got := fmt.Sprint(Algorithms(append(old, csk.Key)), Algorithms(append(old, with(csk, Removed)))); got != "[13 15] [13]" {
		t.Error(got)
	}
}
