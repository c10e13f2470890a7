package cggmp

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/taurusgroup/multi-party-sig/pkg/party"
)

// stage is one round of a protocol of the library: what each party broadcasts
// in it and what it sends to each other one alone. A nil direct says that it
// sends nothing to one alone.
type stage struct {
	broadcast shape
	direct    shape
}

// Sizes of what messages are made of, in bytes. Numbers modulo N and N² are
// those of a Paillier key of 2048 bits; numbers with a sign have one byte for
// it, and the largest that occurs has 610.
const (
	sizePoint  = 64
	sizeScalar = 32
	sizeSeed   = 32
	sizeHash   = 64
	sizeModN   = 256
	sizeModN2  = 512
	maxInteger = 640
	proofTurns = 80 // of the proofs that are repeated for their soundness
)

var (
	aPoint   = octets(sizePoint, sizePoint)
	aScalar  = octets(sizeScalar, sizeScalar)
	aSeed    = octets(sizeSeed, sizeSeed)
	aHash    = octets(sizeHash, sizeHash)
	modN     = octets(1, sizeModN)
	modN2    = octets(1, sizeModN2)
	integer  = octets(2, maxInteger)
	number   = bignum(sizeModN)
	elGamal  = object(map[string]shape{"L": aPoint, "M": aPoint})
	logProof = object(map[string]shape{"A": aPoint, "N": aPoint, "B": aPoint, "Z": aScalar, "U": aScalar})
)

// keygenStages are rounds 2 to 5 of the key generation with threshold t
// (Figure 6 of the paper and its auxiliary information).
func keygenStages(t int) []stage {
	response := object(map[string]shape{"A": boolean, "B": boolean, "X": number, "Z": number})
	return []stage{
		{broadcast: object(map[string]shape{"Commitment": aHash})},
		{broadcast: object(map[string]shape{
			"RID": aSeed, "C": aSeed, "Decommitment": aSeed,
			"VSSPolynomial":      exponent(t),
			"SchnorrCommitments": object(map[string]shape{"C": aPoint}),
			"ElGamalPublic":      aPoint,
			"N":                  modN, "S": modN, "T": modN,
		})},
		{
			broadcast: object(map[string]shape{
				"Mod": object(map[string]shape{"W": number, "Responses": list(proofTurns, response)}),
				"Prm": object(map[string]shape{"As": list(proofTurns, number), "Zs": list(proofTurns, number)}),
			}),
			direct: object(map[string]shape{
				"Share": modN2,
				"Fac": object(map[string]shape{
					"Comm":  object(map[string]shape{"P": modN, "Q": modN, "A": modN, "B": modN, "T": modN}),
					"Sigma": integer, "Z1": integer, "Z2": integer, "W1": integer, "W2": integer, "V": integer,
				}),
			}),
		},
		{broadcast: object(map[string]shape{"SchnorrResponse": object(map[string]shape{"Z": aScalar})})},
	}
}

// exponent is a polynomial of degree t in the exponent. The count in front of
// it is how many points the library allocates before it looks further.
func exponent(t int) shape {
	inner := object(map[string]shape{"IsConstant": boolean, "Coefficients": list(t+1, aPoint)})
	return nested(64+(t+1)*(sizePoint+2), func(b []byte) ([]byte, error) {
		if len(b) < 4 {
			return nil, errShort
		}
		if n := binary.BigEndian.Uint32(b); n != uint32(t+1) {
			return nil, fmt.Errorf("it has %d coefficients, expected %d", n, t+1)
		}
		return inner(b[4:])
	})
}

// presignStages are rounds 2 to 7 of presigning, from a party that signs with
// others (Figures 7 and 8 of the paper, and the rounds that the library added
// so that aborts name somebody).
func presignStages(others []party.ID) []stage {
	ciphertexts := map[string]shape{}
	for _, id := range others {
		ciphertexts[string(id)] = modN2
	}
	toEach := object(ciphertexts)
	affine := map[string]shape{
		"A": modN2, "By": modN2, "E": modN, "S": modN, "F": modN, "T": modN,
		"Z1": integer, "Z2": integer, "Z3": integer, "Z4": integer, "W": modN, "Wy": modN,
	}
	with := func(bx shape, more map[string]shape) shape {
		fields := map[string]shape{"Bx": bx}
		for name, s := range affine {
			fields[name] = s
		}
		for name, s := range more {
			fields[name] = s
		}
		return object(fields)
	}
	return []stage{
		{
			broadcast: object(map[string]shape{"K": modN2, "G": modN2, "Z": elGamal, "CommitmentID": aHash}),
			direct: object(map[string]shape{"Proof": object(map[string]shape{
				"S": modN, "T": modN, "D": modN2, "Y": aPoint, "Z": aPoint, "W": aScalar,
				"Z1": integer, "Z2": modN, "Z3": integer,
			})}),
		},
		{
			broadcast: object(map[string]shape{"DeltaCiphertext": toEach, "ChiCiphertext": toEach}),
			direct: object(map[string]shape{
				"DeltaF": modN2, "DeltaProof": with(modN2, map[string]shape{"Wx": modN}),
				"ChiF": modN2, "ChiProof": with(aPoint, nil),
			}),
		},
		{broadcast: object(map[string]shape{"DeltaShare": aScalar, "ElGamalChi": elGamal})},
		{
			broadcast: object(map[string]shape{"BigGammaShare": aPoint}),
			direct: object(map[string]shape{"ProofLog": object(map[string]shape{
				"S": modN, "A": modN2, "Y": aPoint, "D": modN, "Z1": integer, "Z2": modN, "Z3": integer,
			})}),
		},
		{broadcast: object(map[string]shape{"BigDeltaShare": aPoint, "Proof": logProof})},
		{broadcast: object(map[string]shape{"S": aPoint, "Proof": logProof, "DecommitmentID": aSeed, "PresignatureID": aSeed})},
	}
}

// A frame is all that one party sends to another in one round: the hash by
// which it echoes the broadcasts of the round before (sizeHash bytes, none in
// the first round), the broadcast after its length in four bytes, and what is
// for the receiver alone. Sender, receiver, session and round are those of the
// mpc.Network that carries it: what is not in the frame cannot be forged.
type frame struct{ echo, broadcast, direct []byte }

// maxFrame bounds a frame; the largest that occurs is that of the third round
// of key generation, with 89 kB.
const maxFrame = 128 << 10

func (f frame) encode() []byte {
	b := append(make([]byte, 0, len(f.echo)+4+len(f.broadcast)+len(f.direct)), f.echo...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(f.broadcast)))
	return append(append(b, f.broadcast...), f.direct...)
}

// decodeFrame takes a frame apart and checks the shapes of its parts, which
// share b's memory.
func decodeFrame(b []byte, s stage, first bool) (frame, error) {
	f, err := splitFrame(b, first)
	if err != nil {
		return frame{}, err
	}
	if err := whole(s.broadcast, f.broadcast); err != nil {
		return frame{}, fmt.Errorf("broadcast: %w", err)
	}
	switch {
	case s.direct != nil:
		if err := whole(s.direct, f.direct); err != nil {
			return frame{}, fmt.Errorf("direct message: %w", err)
		}
	case len(f.direct) != 0:
		return frame{}, errors.New("a direct message in a round that has none")
	}
	return f, nil
}

// splitFrame only takes a frame apart.
func splitFrame(b []byte, first bool) (frame, error) {
	if len(b) > maxFrame {
		return frame{}, fmt.Errorf("%d bytes, at most %d are expected", len(b), maxFrame)
	}
	var f frame
	if !first {
		if len(b) < sizeHash {
			return frame{}, errShort
		}
		f.echo, b = b[:sizeHash], b[sizeHash:]
	}
	if len(b) < 4 {
		return frame{}, errShort
	}
	n := binary.BigEndian.Uint32(b)
	if b = b[4:]; uint64(n) > uint64(len(b)) {
		return frame{}, errShort
	}
	f.broadcast, f.direct = b[:n:n], b[n:]
	return f, nil
}
