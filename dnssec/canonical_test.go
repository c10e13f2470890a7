package dnssec

import (
	"bytes"
	"crypto/elliptic"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// A signature turned around is as valid, and makes another digest of the same
// zone: with Canonical it is a fault, without it is not, for other signers
// give either form.
func TestVerifyCanonical(t *testing.T) {
	n := elliptic.P256().Params().N
	if half := new(big.Int).Rsh(n, 1).Bytes(); !bytes.Equal(half, halfOrder[:]) {
		t.Fatalf("half the order is %x, expected %x", halfOrder, half)
	}
	ksk, zsk := kskAndZSK()
	p := testParams(ksk, zsk)
	sz := signPlan(t, mustPlan(t, mustParse(t, "example.", verified), p), ksk, zsk)
	f := newForger(t, sz, ksk, zsk)
	turn := func(g *Signature) {
		s := new(big.Int).SetBytes([]byte(g.Sig[32:]))
		g.Sig = g.Sig[:32] + string(s.Sub(n, s).FillBytes(make([]byte, 32)))
	}
	for i := range f.sigs {
		for j := range f.sigs[i] {
			if g := &f.sigs[i][j]; bytes.Compare([]byte(g.Sig[32:]), halfOrder[:]) > 0 {
				turn(g)
			}
		}
	}
	o := VerifyOptions{Keys: p.Keys, At: testTime, Canonical: true}
	canonical := f.zone()
	wantNoFaults(t, Verify(canonical, o))
	turn(&f.sigs[f.at("www.example", dns.TypeA)][0])
	turned := f.zone()
	faults := Verify(turned, o)
	if len(faults) != 1 || !slices.ContainsFunc(faults, func(x Fault) bool { return strings.Contains(x.String(), "canonical form") }) {
		t.Errorf("%v, expected one fault of form", faults)
	}
	o.Canonical = false
	wantNoFaults(t, Verify(turned, o))
}
