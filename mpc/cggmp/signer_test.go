package cggmp

import (
	"context"
	"encoding/hex"
	"testing"

	"zonesigner/mpc"
	"zonesigner/mpc/mpctest"
	"zonesigner/mpc/p256"
)

// operator is one operator's part of the conformance suite, with a dealer in
// the library's place.
type operator struct {
	*Signer
	part   mpctest.Part
	dealer *dealer
	keys   mpctest.Keys[KeyShare]
}

// newOperator is that of mpctest.Scheme.
func (d *dealer) newOperator(t testing.TB, part mpctest.Part) mpctest.Operator {
	o := &operator{part: part, dealer: d, keys: mpctest.Keys[KeyShare]{}}
	var err error
	if o.Signer, err = NewSigner(Config{Identity: part.Identity, Store: part.Store, Keys: o.keys.Get, ChunkSize: part.RunSize, Signed: part.Signed}); err != nil {
		t.Fatal(err)
	}
	o.runSize, o.presign = part.RunSize, d.presign
	return o
}

func (o *operator) Generate(ctx context.Context, net mpc.Network, labels [][]byte) ([]mpc.KeyID, error) {
	made, err := o.dealer.generateKeys(ctx, net, o.part.Identity, o.part.Group, labels)
	return o.keys.Add(made, func(k *KeyShare) mpc.KeyID { return k.ID }), err
}

func (o *operator) Verify(key mpc.KeyID, message string, sig mpc.Signature) bool {
	return mpctest.VerifyP256(o.keys[key].Public, message, sig)
}

func (d *dealer) scheme() mpctest.Scheme {
	return mpctest.Scheme{Name: Engine, Supports: Supports, Signers: Signers, Active: true, New: d.newOperator, Rounds: 2, Names: true}
}

// TestSigner holds cggmp to what every signer promises: sessions, the exchange
// of nonces, spending and signing are as ever; what the library would make, a
// dealer makes. TestPrepareAndSign, TestGenerateKey and TestSoakFaults are with
// the library.
func TestSigner(t *testing.T) {
	mpctest.TestSigner(t, newDealer(t).scheme())
}

// generateKeys is GenerateKeys, but for the library and the test signature.
func (d *dealer) generateKeys(ctx context.Context, net mpc.Network, id mpc.Identity, g mpc.Group, labels [][]byte) ([]*KeyShare, error) {
	if err := mpc.CheckLabels("cggmp: key generation", net, g, labels, maxKeys); err != nil {
		return nil, err
	}
	s, err := newSession(ctx, net, g, mpc.Digest("dealt keys", labels...), holes{})
	if err != nil {
		return nil, err
	}
	var keys []*KeyShare
	var transcripts []byte
	for i := range labels {
		transcript := mpc.Digest("dealt key", s.id[:], uint64Bytes(uint64(i)))
		k := &KeyShare{ID: mpc.KeyID(hex.EncodeToString(transcript[:16])), Engine: Engine, Group: g, Self: net.Self()}
		k.Public = p256.BaseMult(d.secret(k.ID))
		keys, transcripts = append(keys, k), append(transcripts, transcript[:]...)
	}
	if err := mpc.Endorse(ctx, net, id, transcripts); err != nil {
		return nil, err
	}
	return keys, nil
}

// secret is the key of that name, made when it is asked for first.
func (d *dealer) secret(id mpc.KeyID) p256.Scalar {
	d.mu.Lock()
	defer d.mu.Unlock()
	sk, ok := d.sk[id]
	if !ok {
		sk = random(d.t)
		d.sk[id] = sk
	}
	return sk
}
