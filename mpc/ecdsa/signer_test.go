package ecdsa

import (
	"context"
	"crypto/sha256"
	"fmt"
	"testing"

	"zonesigner/mpc"
	"zonesigner/mpc/mpctest"
	"zonesigner/mpc/p256"
	"zonesigner/mpc/rep3"
)

// operator is one operator's part of the conformance suite.
type operator struct {
	*Signer
	part     mpctest.Part
	protocol Protocol
	keys     map[mpc.KeyID]*KeyShare
}

func newOperator(t testing.TB, protocol Protocol, part mpctest.Part) mpctest.Operator {
	o := &operator{part: part, protocol: protocol, keys: map[mpc.KeyID]*KeyShare{}}
	var err error
	if o.Signer, err = NewSigner(Config{
		Identity: part.Identity, Store: part.Store, Protocols: []Protocol{protocol}, Keys: o.key,
		Group: func() mpc.Group { return part.Group }, ChunkSize: part.RunSize, Signed: part.Signed,
	}); err != nil {
		t.Fatal(err)
	}
	o.runSize = part.RunSize
	return o
}

func (o *operator) key(id mpc.KeyID) (*KeyShare, error) {
	if k := o.keys[id]; k != nil {
		return k, nil
	}
	return nil, fmt.Errorf("no key %s", id)
}

func (o *operator) Generate(ctx context.Context, net mpc.Network, labels [][]byte) (ids []mpc.KeyID, err error) {
	made, err := GenerateKeys(ctx, net, o.part.Identity, o.part.Group, o.protocol, labels)
	for _, k := range made {
		o.keys[k.ID] = k
		ids = append(ids, k.ID)
	}
	return ids, err
}

func (o *operator) Verify(key mpc.KeyID, message string, sig mpc.Signature) bool {
	s, err := p256.ScalarFromBytes(sig[32:])
	return err == nil && !s.IsHigh() && p256.VerifySignature(o.keys[key].Public, sha256.Sum256([]byte(message)), sig)
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
