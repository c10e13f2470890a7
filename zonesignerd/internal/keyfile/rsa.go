package keyfile

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"

	"zonesigner/dnssec"
)

// The fields of an RSA key in BIND's form, in its order.
var rsaNames = []string{"Modulus", "PublicExponent", "PrivateExponent", "Prime1", "Prime2", "Exponent1", "Exponent2", "Coefficient"}

// rsaNumbers are the numbers of key in the order of rsaNames.
func rsaNumbers(key *rsa.PrivateKey) []*big.Int {
	return []*big.Int{key.N, big.NewInt(int64(key.E)), key.D, key.Primes[0], key.Primes[1], key.Precomputed.Dp, key.Precomputed.Dq, key.Precomputed.Qinv}
}

// fromFields reads an RSA key out of the fields of BIND's form.
func fromFields(fields map[string]string) (*Key, error) {
	if fields["Modulus"] != "" && fields["PrivateExponent"] == "" {
		return nil, errors.New("key file: there is no PrivateExponent in it; is the key in a hardware module?")
	}
	n := make([]*big.Int, len(rsaNames))
	for i, name := range rsaNames {
		if fields[name] == "" {
			return nil, fmt.Errorf("key file: there is no %s in it", name)
		}
		raw, err := base64.StdEncoding.Strict().DecodeString(fields[name])
		if err != nil {
			return nil, fmt.Errorf("key file: %s is not base64", name)
		}
		n[i] = new(big.Int).SetBytes(raw)
		clear(raw)
	}
	if n[1].BitLen() > 31 {
		return nil, errors.New("key file: the public exponent is above 2^31-1")
	}
	key := &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: n[0], E: int(n[1].Int64())}, D: n[2], Primes: n[3:5]}
	key.Precompute()
	k, err := fromRSA(key)
	if err != nil {
		return nil, err
	}
	for i, m := range rsaNumbers(key) {
		if m == nil || n[i].Cmp(m) != 0 {
			return nil, errors.New("key file: the RSA key is damaged: its numbers do not fit one another")
		}
	}
	return k, nil
}

// The lengths of moduli that are taken, in bits: below, validators may refuse
// (RFC 5702, section 2.1, allows 512); above, RFC 5702 ends.
const leastRSA, mostRSA = 1024, 4096

func fromRSA(key *rsa.PrivateKey) (*Key, error) {
	if bits := key.N.BitLen(); bits < leastRSA || bits > mostRSA || len(key.Primes) != 2 {
		if bits < 64 {
			return nil, errors.New("key file: the RSA key is damaged")
		}
		return nil, fmt.Errorf("key file: an RSA key of %d bits and %d primes, want %d to %d bits and 2 primes", bits, len(key.Primes), leastRSA, mostRSA)
	}
	if err := key.Validate(); err != nil {
		return nil, errors.New("key file: the RSA key is damaged: its numbers do not fit one another")
	}
	e := big.NewInt(int64(key.E)).Bytes() // at most 4 bytes: an int of crypto/rsa is below 2³¹
	public := append([]byte{byte(len(e))}, e...)
	return &Key{Algorithm: dnssec.RSASHA256, Public: append(public, key.N.Bytes()...), Private: x509.MarshalPKCS1PrivateKey(key)}, nil
}

// rsaSize is the length of new moduli, in bits: what other signers make.
const rsaSize = 2048
