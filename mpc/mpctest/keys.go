package mpctest

import (
	"crypto/sha256"
	"fmt"

	"zonesigner/mpc"
	"zonesigner/mpc/p256"
)

// Keys are one operator's shares of keys.
type Keys[K any] map[mpc.KeyID]*K

// Get returns the share of a key.
func (k Keys[K]) Get(id mpc.KeyID) (*K, error) {
	if share := k[id]; share != nil {
		return share, nil
	}
	return nil, fmt.Errorf("no key %s", id)
}

// Add keeps shares, whose keys' ids are id's, and returns these.
func (k Keys[K]) Add(made []*K, id func(*K) mpc.KeyID) (ids []mpc.KeyID) {
	for _, share := range made {
		k[id(share)] = share
		ids = append(ids, id(share))
	}
	return ids
}

// VerifyP256 reports whether sig is public's signature on message, in the one
// form that signers give out.
func VerifyP256(public p256.Point, message string, sig mpc.Signature) bool {
	s, err := p256.ScalarFromBytes(sig[32:])
	return err == nil && !s.IsHigh() && p256.VerifySignature(public, sha256.Sum256([]byte(message)), sig)
}
