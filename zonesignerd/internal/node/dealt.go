package node

import (
	"crypto/rand"
	"fmt"

	"zonesigner/dnssec"
	"zonesigner/mpc"
	"zonesigner/mpc/p256"
	"zonesigner/zonesignerd/internal/keyfile"
	"zonesigner/zonesignerd/internal/sharefile"
)

// dealP256 is engine.deal for keys of algorithm 13.
func dealP256(group mpc.Group, dealer mpc.Dealer, key *keyfile.Key) (public []byte, shares [][]byte, err error) {
	if key.Algorithm != dnssec.ECDSAP256SHA256 {
		return nil, nil, fmt.Errorf("a key of algorithm %d cannot be shared by engine %s, which signs with algorithm %d", key.Algorithm, dealer.Name(), dnssec.ECDSAP256SHA256)
	}
	secret, err := p256.ScalarFromBytes(key.Private)
	if err != nil {
		return nil, nil, err
	}
	d, words, err := mpc.Deal(group, dealer, secret, rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	for _, w := range words {
		shares = append(shares, p256.AppendScalars(nil, w))
		clear(w)
	}
	public, err = d.AppendBinary(nil)
	return public, shares, err
}

// dealtP256 decodes dealings and shares of them, which are the caller's to
// erase.
func dealtP256(group mpc.Group, dealer mpc.Dealer, dealt []dealtShare) (keys []mpc.Dealt, err error) {
	for _, d := range dealt {
		dealing, err := mpc.DecodeDealing(group, dealer, d.Public, d.Shares)
		if err != nil {
			return keys, err
		}
		words, err := p256.DecodeScalars(d.share, len(d.share)/p256.ScalarSize)
		if err != nil {
			return keys, err
		}
		keys = append(keys, mpc.Dealt{Dealing: dealing, Share: words})
	}
	return keys, nil
}

func eraseP256(keys []mpc.Dealt) {
	for _, k := range keys {
		clear(k.Share)
	}
}

// checkP256 is engine.checkDealt for keys of algorithm 13.
func checkP256(group mpc.Group, dealer mpc.Dealer, self mpc.PartyID, d *sharefile.Dealing, share []byte) error {
	keys, err := dealtP256(group, dealer, []dealtShare{{d, share}})
	defer eraseP256(keys)
	if err != nil {
		return err
	}
	return keys[0].CheckShare(group, dealer, self)
}
