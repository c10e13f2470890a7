package ecdsa

import (
	"context"
	"testing"

	"zonesigner/mpc"
	"zonesigner/mpc/mpctest"
	"zonesigner/mpc/rep3"
)

// operator is one operator's part of the conformance suite.
type operator struct {
	*Signer
	part     mpctest.Part
	protocol Protocol
	keys     mpctest.Keys[KeyShare]
}

func newOperator(t testing.TB, protocol Protocol, part mpctest.Part) mpctest.Operator {
	o := &operator{part: part, protocol: protocol, keys: mpctest.Keys[KeyShare]{}}
	var err error
	if o.Signer, err = NewSigner(Config{
		Identity: part.Identity, Store: part.Store, Protocols: []Protocol{protocol}, Keys: o.keys.Get,
		Group: func() mpc.Group { return part.Group }, ChunkSize: part.RunSize, Signed: part.Signed,
	}); err != nil {
		t.Fatal(err)
	}
	o.runSize = part.RunSize
	return o
}

func (o *operator) Generate(ctx context.Context, net mpc.Network, labels [][]byte) ([]mpc.KeyID, error) {
	made, err := GenerateKeys(ctx, net, o.part.Identity, o.part.Group, o.protocol, labels)
	return o.keys.Add(made, func(k *KeyShare) mpc.KeyID { return k.ID }), err
}

func (o *operator) Verify(key mpc.KeyID, message string, sig mpc.Signature) bool {
	return mpctest.VerifyP256(o.keys[key].Public, message, sig)
}

// TestSigner holds signing over each engine with an honest majority to what
// every signer promises.
func TestSigner(t *testing.T) {
	for _, p := range []Protocol{passive(), active(), Over(rep3.Passive()), Over(rep3.Active())} {
		t.Run(p.Name(), func(t *testing.T) {
			mpctest.TestSigner(t, mpctest.Scheme{
				Name: p.Name(), Supports: p.Supports, Signers: p.Signers, Active: p.Active(), Rounds: 2,
				New: func(t testing.TB, part mpctest.Part) mpctest.Operator { return newOperator(t, p, part) },
			})
		})
	}
}
