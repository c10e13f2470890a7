package cggmp

import (
	"bytes"
	"crypto/ecdh"
	"crypto/elliptic"
	"encoding/hex"
	"math/big"
	"testing"

	"github.com/cronokirby/saferith"
	"github.com/taurusgroup/multi-party-sig/pkg/math/curve"
	"github.com/taurusgroup/multi-party-sig/pkg/math/polynomial"
	"github.com/taurusgroup/multi-party-sig/pkg/math/sample"
	"github.com/taurusgroup/multi-party-sig/pkg/party"
	"pgregory.net/rapid"

	"zonesigner/mpc/p256"
)

var bigOrder = elliptic.P256().Params().N

func scalars(label string) *rapid.Generator[*scalar] {
	return rapid.Custom(func(t *rapid.T) *scalar {
		return &scalar{p256.ScalarFromWide(rapid.SliceOfN(rapid.Byte(), 0, 48).Draw(t, label))}
	})
}

func bigOf(s curve.Scalar) *big.Int {
	b, _ := s.MarshalBinary()
	return new(big.Int).SetBytes(b)
}

func mod(x *big.Int) *big.Int { return x.Mod(x, bigOrder) }

func copyOf(s curve.Scalar) curve.Scalar { return group{}.NewScalar().Set(s) }

// TestScalarArithmetic compares with math/big, and looks that only the
// receiver changes.
func TestScalarArithmetic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x, y := scalars("x").Draw(t, "x"), scalars("y").Draw(t, "y")
		bx, by := bigOf(x), bigOf(y)
		for name, c := range map[string]struct {
			got  curve.Scalar
			want *big.Int
		}{
			"add":    {copyOf(x).Add(y), mod(new(big.Int).Add(bx, by))},
			"sub":    {copyOf(x).Sub(y), mod(new(big.Int).Sub(bx, by))},
			"mul":    {copyOf(x).Mul(y), mod(new(big.Int).Mul(bx, by))},
			"negate": {copyOf(x).Negate(), mod(new(big.Int).Neg(bx))},
		} {
			if bigOf(c.got).Cmp(c.want) != 0 {
				t.Errorf("%s: %v, want %v", name, bigOf(c.got), c.want)
			}
		}
		if inverse := copyOf(x).Invert(); !x.IsZero() && bigOf(inverse).Cmp(new(big.Int).ModInverse(bx, bigOrder)) != 0 {
			t.Error("invert")
		}
		if x.Equal(y) != (bx.Cmp(by) == 0) || x.IsZero() != (bx.Sign() == 0) || x.IsOverHalfOrder() != (bx.Cmp(new(big.Int).Rsh(bigOrder, 1)) > 0) {
			t.Error("comparison")
		}
		if bigOf(x).Cmp(bx) != 0 || bigOf(y).Cmp(by) != 0 {
			t.Error("an operand changed")
		}
		changed := copyOf(x)
		if changed.Add(y) != changed {
			t.Error("a scalar is mutable: Add returns the receiver")
		}
	})
}

// TestSetNat reduces numbers of any length.
func TestSetNat(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "number")
		got := group{}.NewScalar().SetNat(new(saferith.Nat).SetBytes(b))
		if bigOf(got).Cmp(mod(new(big.Int).SetBytes(b))) != 0 {
			t.Error("SetNat")
		}
	})
	if (group{}).Order().Big().Cmp(bigOrder) != 0 {
		t.Error("the order is not that of P-256")
	}
}

// TestPoints compares with crypto/ecdh and looks at the group's laws.
func TestPoints(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x, y := scalars("x").Draw(t, "x"), scalars("y").Draw(t, "y")
		X, Y := x.ActOnBase(), y.ActOnBase()
		if !X.Add(Y).Equal(copyOf(x).Add(y).ActOnBase()) || !X.Sub(Y).Equal(copyOf(x).Sub(y).ActOnBase()) || !X.Negate().Equal(copyOf(x).Negate().ActOnBase()) {
			t.Error("sum, difference or negation")
		}
		if !y.Act(X).Equal(copyOf(x).Mul(y).ActOnBase()) || !x.Act(group{}.NewBasePoint()).Equal(X) {
			t.Error("multiplication")
		}
		if X.IsIdentity() != x.IsZero() || !X.Sub(X).IsIdentity() || !X.Add(group{}.NewPoint()).Equal(X) {
			t.Error("identity")
		}
		encoded, _ := X.MarshalBinary()
		if x.IsZero() {
			return
		}
		b, _ := x.MarshalBinary()
		key, err := ecdh.P256().NewPrivateKey(b)
		if err != nil || !bytes.Equal(key.PublicKey().Bytes()[1:], encoded) {
			t.Error("not what crypto/ecdh computes")
		}
		if bigOf(X.XScalar()).Cmp(mod(new(big.Int).SetBytes(encoded[:32]))) != 0 {
			t.Error("XScalar")
		}
		decoded := group{}.NewPoint()
		if err := decoded.UnmarshalBinary(encoded); err != nil || !decoded.Equal(X) {
			t.Errorf("decoding: %v", err)
		}
	})
}

// TestVectors are multiples of the base point of P-256 (NIST's "Mathematical
// routines for the NIST prime elliptic curves", 2010, and (n-1)·G = -G).
func TestVectors(t *testing.T) {
	const gx = "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
	for _, c := range []struct {
		k    func() curve.Scalar
		x, y string
	}{
		{func() curve.Scalar { return &scalar{p256.One()} }, gx, "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"},
		{func() curve.Scalar { return &scalar{p256.NewScalar(2)} },
			"7cf27b188d034f7e8a52380304b51ac3c08969e277f21b35a60b48fc47669978", "07775510db8ed040293d9ac69f7430dbba7dade63ce982299e04b79d227873d1"},
		{func() curve.Scalar { return (&scalar{p256.One()}).Negate() }, gx, "b01cbd1c01e58065711814b583f061e9d431cca994cea1313449bf97c840ae0a"},
	} {
		b, _ := c.k().ActOnBase().MarshalBinary()
		if hex.EncodeToString(b) != c.x+c.y {
			t.Errorf("got %x, want %s%s", b, c.x, c.y)
		}
	}
}

// TestStrictDecoding: one encoding for each value, none for the identity, and
// constructors that share nothing.
func TestStrictDecoding(t *testing.T) {
	n := bigOrder.FillBytes(make([]byte, 32))
	for _, b := range [][]byte{nil, make([]byte, 31), make([]byte, 33), n} {
		if (group{}).NewScalar().UnmarshalBinary(b) == nil {
			t.Errorf("scalar %x is accepted", b)
		}
	}
	identity, _ := (group{}).NewPoint().MarshalBinary()
	if len(identity) != sizePoint {
		t.Errorf("the identity has %d bytes, want the width of all points", len(identity))
	}
	off, _ := (group{}).NewBasePoint().MarshalBinary()
	off[63] ^= 1
	for _, b := range [][]byte{nil, identity, off, make([]byte, 33), append([]byte{4}, off...)} {
		if (group{}).NewPoint().UnmarshalBinary(b) == nil {
			t.Errorf("point %x is accepted", b)
		}
	}
	s := (group{}).NewScalar()
	s.Add(&scalar{p256.One()})
	if !(group{}).NewScalar().IsZero() {
		t.Error("a new scalar is not 0")
	}
}

// TestNoncesAreUnbiased: the library samples scalars from as many bytes as
// make the bias negligible, and each nonce afresh.
func TestNoncesAreUnbiased(t *testing.T) {
	if (group{}).SafeScalarBytes() < 48 {
		t.Error("scalars are reduced from fewer than 48 bytes")
	}
	// 48 bytes of ones, reduced: what comes out if all are used.
	ones := bytes.Repeat([]byte{0xff}, 48)
	if bigOf(sample.Scalar(bytes.NewReader(ones), group{})).Cmp(mod(new(big.Int).SetBytes(ones))) != 0 {
		t.Error("the library samples scalars in another way")
	}
}

// TestEvaluationPoints: the library interpolates at the points of mpc.Group.
func TestEvaluationPoints(t *testing.T) {
	w := newWorld(t, 5, 2)
	f := polynomial.NewPolynomial(group{}, 2, &scalar{random(t)})
	var ids []party.ID
	for i, p := range w.group.Parties {
		id := libraryID(w.group, p)
		if bigOf(id.Scalar(group{})).Cmp(big.NewInt(int64(i+1))) != 0 {
			t.Errorf("%s has another point than %d", p, i+1)
		}
		ids = append(ids, id)
	}
	sum := (group{}).NewScalar()
	for id, l := range polynomial.Lagrange(group{}, ids[1:4]) {
		sum.Add(copyOf(l).Mul(f.Evaluate(id.Scalar(group{}))))
	}
	if !sum.Equal(f.Constant()) {
		t.Error("three shares do not give the secret")
	}
}
