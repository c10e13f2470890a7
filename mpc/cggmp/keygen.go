package cggmp

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"

	"github.com/taurusgroup/multi-party-sig/protocols/cmp"

	"zonesigner/mpc"
	"zonesigner/mpc/p256"
)

// maxKeys bounds one generation. Each key takes every party ten seconds of
// computing and more, most of which go to finding safe primes.
const maxKeys = 64

// GenerateKey is GenerateKeys for one key.
func GenerateKey(ctx context.Context, net mpc.Network, id mpc.Identity, group mpc.Group, label []byte) (*KeyShare, error) {
	keys, err := GenerateKeys(ctx, net, id, group, [][]byte{label})
	if err != nil {
		return nil, err
	}
	return keys[0], nil
}

// GenerateKeys makes a new key for each label, one after the other, together
// with all parties of group, who call it with the same arguments. A label says
// what for (zone, role, the request that people approved) and is bound into
// the session and the key's transcript. Either all checks pass, and every
// operator's signature on the transcripts is here, or there is no key.
func GenerateKeys(ctx context.Context, net mpc.Network, id mpc.Identity, group mpc.Group, labels [][]byte) ([]*KeyShare, error) {
	if err := Supports(group); err != nil {
		return nil, err
	}
	if err := mpc.CheckLabels("cggmp: key generation", net, group, labels, maxKeys); err != nil {
		return nil, err
	}
	s, err := newSession(ctx, net, group, mpc.Digest("zonesigner cggmp key generation v1", labels...), holes{})
	if err != nil {
		return nil, fmt.Errorf("cggmp: generate keys: %w", err)
	}
	keys, err := s.makeKeys(ctx, id, group, labels, nil)
	if err != nil {
		return nil, fmt.Errorf("cggmp: generate keys: %w", err)
	}
	return keys, nil
}

// makeKeys makes a key for each label, and has them endorsed by all: new ones,
// or such as were dealt.
func (s *session) makeKeys(ctx context.Context, id mpc.Identity, g mpc.Group, labels [][]byte, dealt []mpc.Dealt) ([]*KeyShare, error) {
	var keys []*KeyShare
	var transcripts []byte
	for i, label := range labels {
		var d *mpc.Dealt
		if dealt != nil {
			d = &dealt[i]
		}
		k, transcript, err := s.makeKey(ctx, g, "key"+strconv.Itoa(i), label, d)
		if err != nil {
			return nil, fmt.Errorf("key %d: %w", i, err)
		}
		keys, transcripts = append(keys, k), append(transcripts, transcript[:]...)
	}
	return keys, mpc.Endorse(ctx, s.net, id, transcripts)
}

// makeKey is the library's key generation, in which each party commits to its
// part of the public key and then opens it, and proves that its Paillier key
// is well formed; then a test signature. A key that was dealt, not nil, takes
// the place of the library's before the test. It returns the digest of all that
// is public, for everybody to sign. round begins the names of its rounds.
func (s *session) makeKey(ctx context.Context, g mpc.Group, round string, label []byte, dealt *mpc.Dealt) (*KeyShare, [32]byte, error) {
	var transcript [32]byte
	made, view, err := s.libraryKey(ctx, g, round)
	if err != nil {
		return nil, transcript, err
	}
	if dealt != nil {
		if err := replaceKey(made, g, dealt); err != nil {
			return nil, transcript, err
		}
	}
	k, err := newKeyShare(g, s.net.Self(), made)
	if err != nil {
		return nil, transcript, err
	}
	if k.Public.IsIdentity() {
		return nil, transcript, errors.New("the public key is the identity")
	}
	test, presigned, err := s.testSignature(ctx, k, round+"/test")
	if err != nil {
		return nil, transcript, fmt.Errorf("test signature: %w", err)
	}
	if transcript, err = k.transcript(label, [][]byte{s.id[:], view[:], presigned[:], test[:]}); err != nil {
		return nil, transcript, err
	}
	k.ID = mpc.KeyID(hex.EncodeToString(transcript[:16]))
	return k, transcript, k.validate()
}

// libraryKey is the library's key generation, and the digest of what was
// broadcast in it.
func (s *session) libraryKey(ctx context.Context, g mpc.Group, round string) (made *cmp.Config, view [32]byte, err error) {
	if s.holes.parameters != nil {
		return s.holes.parameters(s.net.Self()), view, nil
	}
	start := cmp.Keygen(group{}, s.ids[s.net.Self()], s.libraryIDs(""), g.T, nil)
	stages := keygenStages(g.T)
	result, view, err := s.run(ctx, round, start, func(mpc.PartyID) []stage { return stages })
	if err != nil {
		return nil, view, err
	}
	made, ok := result.(*cmp.Config)
	if !ok {
		return nil, view, errors.New("the library made no key")
	}
	return made, view, nil
}

// testSignature makes one presignature for all n operators and signs a string
// that no zone contains, through the code that signs zones.
func (s *session) testSignature(ctx context.Context, k *KeyShare, round string) (sig mpc.Signature, view [32]byte, err error) {
	all := mpc.NewSignerSet(k.Group.Parties...)
	t, view, err := s.presign(ctx, k, all, round)
	if err != nil {
		return sig, view, err
	}
	defer t.erase()
	public, err := k.Public.Bytes()
	if err != nil {
		return sig, view, err
	}
	message := mpc.Digest("zonesigner test signature v1", public[:])
	// The message was fixed before R, so the factor needs no nonces.
	sp := &spending{round: round + "/s", set: all, seed: view, parts: []part{{
		public: k.Public, tuples: mpc.TupleRange{Count: 1}, own: []*tuple{t}, digests: [][32]byte{sha256.Sum256(message[:])},
	}}}
	sigs, err := sp.open(ctx, s.net, s.holes)
	if err != nil {
		return sig, view, err
	}
	return sigs[0], view, nil
}

// transcript is the digest of all that is public about the key and its making.
func (k *KeyShare) transcript(label []byte, making [][]byte) ([32]byte, error) {
	fields := [][]byte{label, []byte(Engine), k.Group.Digest[:], {byte(k.Group.T)}}
	for _, p := range k.Group.Parties {
		public := k.config.Public[libraryID(k.Group, p)]
		points, err := p256.AppendPoints(nil, []p256.Point{pointOf(public.ECDSA), pointOf(public.ElGamal)})
		if err != nil {
			return [32]byte{}, err
		}
		fields = append(fields, []byte(p), points)
		fields = append(fields, public.Pedersen.N().Bytes(), public.Pedersen.S().Bytes(), public.Pedersen.T().Bytes())
	}
	return mpc.Digest("zonesigner cggmp key transcript v1", append(fields, making...)...), nil
}
