package frost

import (
	"context"
	"testing"

	"zonesigner/mpc"
	"zonesigner/mpc/mpctest"
)

// operator is one operator's part of the conformance suite.
type operator struct {
	*Signer
	part mpctest.Part
	keys mpctest.Keys[KeyShare]
}

func newOperator(t testing.TB, part mpctest.Part) mpctest.Operator {
	o := &operator{part: part, keys: mpctest.Keys[KeyShare]{}}
	var err error
	if o.Signer, err = NewSigner(Config{Identity: part.Identity, Store: part.Store, Keys: o.keys.Get, ChunkSize: part.RunSize, Signed: part.Signed}); err != nil {
		t.Fatal(err)
	}
	o.runSize = part.RunSize
	return o
}

func (o *operator) Generate(ctx context.Context, net mpc.Network, labels [][]byte) ([]mpc.KeyID, error) {
	made, err := GenerateKeys(ctx, net, o.part.Identity, o.part.Group, labels)
	return o.keys.Add(made, func(k *KeyShare) mpc.KeyID { return k.ID }), err
}

func (o *operator) Verify(key mpc.KeyID, message string, sig mpc.Signature) bool {
	return o.keys[key].verify(message, sig)
}

// TestSigner holds frost to what every signer promises.
func TestSigner(t *testing.T) {
	mpctest.TestSigner(t, mpctest.Scheme{Name: Engine, Supports: Supports, Signers: Signers, Active: true, New: newOperator, Rounds: 2, Names: true})
}
