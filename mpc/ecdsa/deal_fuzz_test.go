package ecdsa

import (
	"bytes"
	"testing"

	"zonesigner/mpc"
	"zonesigner/mpc/p256"
)

func FuzzDecodeDealing(f *testing.F) {
	g := mpc.Group{T: 1, Parties: []mpc.PartyID{"a", "b", "c"}}
	k := fixtureShare()
	public := k.PublicKey()
	d := &mpc.Dealing{Public: k.Public}
	for _, p := range k.PublicShares {
		d.Words = append(d.Words, []p256.Point{p})
	}
	shares, err := d.AppendBinary(nil)
	if err != nil || d.Check(g, active().dealer()) != nil {
		f.Fatal(err, d.Check(g, active().dealer()))
	}
	f.Add(public[:], shares)
	f.Add(public[:], shares[64:])
	f.Add(public[1:], shares)
	f.Fuzz(func(t *testing.T, public, shares []byte) {
		for _, engine := range dealers {
			d, err := mpc.DecodeDealing(g, engine.dealer(), public, shares)
			if err != nil {
				continue
			}
			again, err := d.AppendBinary(nil)
			if err != nil || !bytes.Equal(again, shares) {
				t.Fatalf("%s: what was read encodes differently: %v", engine.Name(), err)
			}
			_ = d.Check(g, engine.dealer()) // whatever it says, it must not panic
		}
	})
}
