package frost

import (
	"cmp"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"

	"filippo.io/edwards25519"

	"zonesigner/mpc"
)

// quorum is a signer set as RFC 9591 sees it: identifiers in ascending order,
// which need not be that of the names.
type quorum struct {
	parties []mpc.PartyID
	ids     [][32]byte             // identifier of each
	lambda  []*edwards25519.Scalar // Lagrange coefficient of each
	shares  []*edwards25519.Point  // public share of each
	self    int                    // index of this party
	key     *edwards25519.Point    // the group's public key
	public  [32]byte               // the same, encoded
	holes   holes
}

// newQuorum reports an ArgumentError when set may not sign for the key, or this
// party is not in it.
func (k *KeyShare) newQuorum(set mpc.SignerSet, holes holes) (*quorum, error) {
	if err := Signers(k.Group, set); err != nil {
		return nil, err
	}
	q := &quorum{parties: slices.Clone(set), key: k.Public, public: k.PublicKey(), holes: holes}
	xs := make([]uint32, len(set))
	slices.SortFunc(q.parties, func(a, b mpc.PartyID) int {
		x, _ := k.Group.X(a)
		y, _ := k.Group.X(b)
		return cmp.Compare(x, y)
	})
	if q.self = slices.Index(q.parties, k.Self); q.self < 0 {
		return nil, &mpc.ArgumentError{Msg: fmt.Sprintf("frost: operator %s is no member of %s", k.Self, set)}
	}
	for i, p := range q.parties {
		xs[i], _ = k.Group.X(p)
		q.ids = append(q.ids, identifier(xs[i]))
		q.shares = append(q.shares, k.PublicShares[xs[i]-1])
	}
	for i := range xs {
		q.lambda = append(q.lambda, lagrange(xs, i))
	}
	return q, nil
}

// Supports reports an ArgumentError when no key can be made for g.
func Supports(g mpc.Group) error {
	if err := g.Validate(); err != nil {
		return err
	}
	if g.N() > mpc.MaxMembers {
		return &mpc.ArgumentError{Msg: fmt.Sprintf("frost: %d operators, at most %d are supported", g.N(), mpc.MaxMembers)}
	}
	return nil
}

// Signers reports an ArgumentError unless set has t+1 members or more, all of
// g.
func Signers(g mpc.Group, set mpc.SignerSet) error {
	if err := g.Validate(); err != nil {
		return err
	}
	for _, p := range set {
		if _, ok := g.X(p); !ok {
			return &mpc.ArgumentError{Msg: fmt.Sprintf("frost: signer %q does not belong to the group", p)}
		}
	}
	if len(set) <= g.T || !set.Equal(mpc.NewSignerSet(set...)) {
		return &mpc.ArgumentError{Msg: fmt.Sprintf("frost: %s is no sorted set of at least %d different signers", set, g.T+1)}
	}
	return nil
}

// commitmentSize is that of one member's commitments to the nonces of one
// tuple: hiding, then binding.
const commitmentSize = 64

// nonces are one party's secrets of one tuple: hiding and binding.
type nonces struct{ hiding, binding *edwards25519.Scalar }

// makeNonces is commit of RFC 9591, section 5.1, from 64 random bytes.
func makeNonces(random *[64]byte, share *edwards25519.Scalar) (nonces, [commitmentSize]byte) {
	secret := share.Bytes()
	defer clear(secret)
	n := nonces{
		hiding:  hashScalar(tagNonce, random[:32], secret),
		binding: hashScalar(tagNonce, random[32:], secret),
	}
	var c [commitmentSize]byte
	copy(c[:32], new(edwards25519.Point).ScalarBaseMult(n.hiding).Bytes())
	copy(c[32:], new(edwards25519.Point).ScalarBaseMult(n.binding).Bytes())
	return n, c
}

// Format keeps every printing verb from what is secret.
func (n nonces) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("nonces")) }

func (n nonces) erase() {
	n.hiding.Set(new(edwards25519.Scalar))
	n.binding.Set(new(edwards25519.Scalar))
}

// signing is what all members compute alike of one tuple and one message.
type signing struct {
	points    []*edwards25519.Point  // hiding and binding commitment of each member, one after the other
	rho       []*edwards25519.Scalar // binding factor of each
	point     *edwards25519.Point    // group commitment R
	r         [32]byte               // R, encoded
	challenge *edwards25519.Scalar
	z         *edwards25519.Scalar // sum of all shares, once they are there
}

// prepare computes binding factors, group commitment and challenge (RFC 9591,
// sections 4.4 to 4.6). commitments are those of each member in the quorum's
// order, and have been through decodeElement. All is public.
func (q *quorum) prepare(message, commitments []byte) (*signing, error) {
	list := make([]byte, 0, len(q.ids)*(32+commitmentSize))
	s := &signing{}
	for i, id := range q.ids {
		c := commitments[i*commitmentSize : (i+1)*commitmentSize]
		list = append(append(list, id[:]...), c...)
		for _, b := range [][]byte{c[:32], c[32:]} {
			p, err := decodePoint(b)
			if err != nil {
				return nil, fmt.Errorf("commitment of %s: %w", q.parties[i], err)
			}
			s.points = append(s.points, p)
		}
	}
	m, l := hash(tagMsg, message), hash(tagCom, list)
	R, binding := edwards25519.NewIdentityPoint(), make([]*edwards25519.Point, len(q.ids))
	for i, id := range q.ids {
		rho := hashScalar(tagRho, q.public[:], m[:], l[:], id[:])
		if q.holes.noBinding {
			rho = one()
		}
		s.rho = append(s.rho, rho)
		R.Add(R, s.points[2*i])
		binding[i] = s.points[2*i+1]
	}
	R.Add(R, new(edwards25519.Point).VarTimeMultiScalarMult(s.rho, binding))
	s.point = R
	copy(s.r[:], R.Bytes())
	s.challenge = hashScalar(s.r[:], q.public[:], message)
	return s, nil
}

// share is sign of RFC 9591, section 5.2.
func (q *quorum) share(s *signing, n nonces, secret *edwards25519.Scalar) *edwards25519.Scalar {
	z := new(edwards25519.Scalar).MultiplyAdd(n.binding, s.rho[q.self], n.hiding)
	weight := new(edwards25519.Scalar).Multiply(q.lambda[q.self], s.challenge)
	return z.MultiplyAdd(weight, secret, z)
}

// verifyShare is verify_signature_share of RFC 9591, section 5.4.
func (q *quorum) verifyShare(s *signing, i int, z *edwards25519.Scalar) bool {
	weight := new(edwards25519.Scalar).Multiply(q.lambda[i], s.challenge)
	want := new(edwards25519.Point).VarTimeMultiScalarMult(
		[]*edwards25519.Scalar{s.rho[i], weight}, []*edwards25519.Point{s.points[2*i+1], q.shares[i]})
	want.Add(want, s.points[2*i])
	return want.Equal(new(edwards25519.Point).ScalarBaseMult(z)) == 1
}

// aggregate is RFC 9591, section 5.3: the signature from the shares of all
// members, still to be verified.
func (s *signing) aggregate(shares []*edwards25519.Scalar) (sig mpc.Signature) {
	s.z = new(edwards25519.Scalar)
	for _, share := range shares {
		s.z.Add(s.z, share)
	}
	copy(sig[:32], s.r[:])
	copy(sig[32:], s.z.Bytes())
	return sig
}

// verify verifies a signature as anybody would. When it is wrong, those who
// sent wrong shares are named.
func (q *quorum) verify(s *signing, message []byte, sig mpc.Signature, shares []*edwards25519.Scalar) error {
	if ed25519.Verify(q.public[:], message, sig[:]) {
		return nil
	}
	var cheats []mpc.PartyID
	for i, share := range shares {
		if !q.verifyShare(s, i, share) {
			cheats = append(cheats, q.parties[i])
		}
	}
	if cheats == nil {
		return errors.New("a signature of right shares does not verify")
	}
	return &mpc.CheatError{Parties: cheats, What: "sent a wrong share of a signature"}
}

// batch verifies many signatures as one random combination, with coefficients
// drawn after they are fixed: Σ α·(R + c·PK - z·B) is the identity. Since R and
// PK are sums of points that were found to be of prime order, and encoded here,
// that is what verifying each of them finds, but for a chance of 2⁻¹²⁸.
type batch struct {
	scalars []*edwards25519.Scalar
	points  []*edwards25519.Point
	base    edwards25519.Scalar
	keys    map[*quorum]*edwards25519.Scalar
}

func (b *batch) add(q *quorum, s *signing) {
	alpha := new(edwards25519.Scalar)
	var random [32]byte
	_, _ = rand.Read(random[:16])             // never fails
	_, _ = alpha.SetCanonicalBytes(random[:]) // below 2¹²⁸
	b.scalars, b.points = append(b.scalars, alpha), append(b.points, s.point)
	b.base.MultiplyAdd(alpha, s.z, &b.base)
	if b.keys == nil {
		b.keys = map[*quorum]*edwards25519.Scalar{}
	}
	if b.keys[q] == nil {
		b.keys[q] = new(edwards25519.Scalar)
	}
	b.keys[q].MultiplyAdd(alpha, s.challenge, b.keys[q])
}

func (b *batch) verify() bool {
	scalars, points := b.scalars, b.points
	for q, c := range b.keys {
		scalars, points = append(scalars, c), append(points, q.key)
	}
	sum := new(edwards25519.Point).VarTimeMultiScalarMult(scalars, points)
	return sum.Equal(new(edwards25519.Point).ScalarBaseMult(&b.base)) == 1
}
