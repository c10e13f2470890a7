package mpc

import (
	"fmt"
	"io"
	"slices"

	"zonesigner/mpc/p256"
)

// Dealer is what an engine offers where a value can be shared by one who knows
// it, outside of any session, so that all parties can check the sharing by what
// is public of it: each word times the base point (docs/protocol.md, section 7a).
type Dealer interface {
	// Name and Supports are those of Engine.
	Name() string
	Supports(g Group) error
	// Deal shares x, with randomness from rand: the words of each party, in
	// g's order, as Engine.Words has them, or as Importer takes them. All are
	// secret.
	Deal(g Group, x p256.Scalar, rand io.Reader) ([][]p256.Scalar, error)
	// SigningForm is what each word of id's share counts in the form that
	// signing opens (Box.Signing): a linear form with public coefficients.
	SigningForm(g Group, id PartyID) ([]p256.Scalar, error)
	// CheckCopies reports an ArgumentError when parties hold different words
	// where they must hold the same. words are everybody's, in g's order and
	// as many as SigningForm has, times the base point. That the signing forms
	// lie on one polynomial is not looked at.
	CheckCopies(g Group, words [][]p256.Point) error
}

// Dealing is what is public of a key that its owner has split: every operator
// is given the same.
type Dealing struct {
	Public p256.Point
	// Words are those of each party in the group's order, as the dealer makes
	// them, times the base point.
	Words [][]p256.Point
}

// Deal splits secret for the parties of group, with randomness from rand. It
// returns what is public of it, and the share of each party in the group's
// order, which is secret. Only the caller's own copies of the key remain.
func Deal(group Group, dealer Dealer, secret p256.Scalar, rand io.Reader) (*Dealing, [][]p256.Scalar, error) {
	if secret.IsZero() {
		return nil, nil, &ArgumentError{Msg: "deal: the private key is zero"}
	}
	shares, err := dealer.Deal(group, secret, rand)
	if err != nil {
		return nil, nil, fmt.Errorf("deal: %w", err)
	}
	d := &Dealing{Public: p256.BaseMult(secret)}
	for _, words := range shares {
		d.Words = append(d.Words, p256.BaseMultBatch(words))
	}
	if err := d.Check(group, dealer); err != nil {
		for _, words := range shares {
			clear(words)
		}
		return nil, nil, err
	}
	return d, shares, nil
}

// Check reports an ArgumentError unless the dealing is a sharing of the private
// key of Public: all copies are the same, the signing forms are on one
// polynomial of degree t, and it has that key at 0.
func (d *Dealing) Check(group Group, dealer Dealer) error {
	points, err := d.PublicShares(group, dealer)
	if err != nil {
		return err
	}
	if err := dealer.CheckCopies(group, d.Words); err != nil {
		return fmt.Errorf("dealt key: %w", err)
	}
	opening, err := NewOpening(group, group.Parties, "", group.T)
	if err != nil {
		return err
	}
	shares := make([][]p256.Point, len(points))
	for i, p := range points {
		shares[i] = []p256.Point{p}
	}
	// Who is to blame is the dealer, whichever operators' shares stand out.
	value, err := opening.Points("dealt key", shares)
	if err != nil {
		return &ArgumentError{Msg: fmt.Sprintf("dealt key: the shares of %v are on no polynomial of degree %d", group.Parties, group.T)}
	}
	if !value[0].Mult(opening.Scale()).Equal(d.Public) {
		return &ArgumentError{Msg: "dealt key: the shares are those of another key"}
	}
	return nil
}

// Fits reports an ArgumentError unless words are party's share of the dealing.
func (d *Dealing) Fits(group Group, party PartyID, words []p256.Scalar) error {
	x, ok := group.X(party)
	if !ok || int(x) > len(d.Words) || len(words) != len(d.Words[x-1]) {
		return &ArgumentError{Msg: fmt.Sprintf("dealt key: there is no share of %d words for operator %s", len(words), party)}
	}
	for k, p := range p256.BaseMultBatch(words) {
		if !p.Equal(d.Words[x-1][k]) {
			return &ArgumentError{Msg: fmt.Sprintf("dealt key: the share of operator %s is not the one that its public share says", party)}
		}
	}
	return nil
}

// PublicShares is the signing form of each party's share, times the base point.
// It reports an ArgumentError where the dealing has not the form of one.
func (d *Dealing) PublicShares(group Group, dealer Dealer) ([]p256.Point, error) {
	if err := dealer.Supports(group); err != nil {
		return nil, err
	}
	if len(d.Words) != group.N() || d.Public.IsIdentity() {
		return nil, &ArgumentError{Msg: fmt.Sprintf("dealt key: shares of %d operators for a group of %d, or no public key", len(d.Words), group.N())}
	}
	points := make([]p256.Point, group.N())
	for i, p := range group.Parties {
		form, err := dealer.SigningForm(group, p)
		if err != nil {
			return nil, err
		}
		if len(form) != len(d.Words[i]) {
			return nil, &ArgumentError{Msg: fmt.Sprintf("dealt key: a share of %d words for operator %s, %s has %d", len(d.Words[i]), p, dealer.Name(), len(form))}
		}
		for k, word := range d.Words[i] {
			points[i] = points[i].Add(word.Mult(form[k]))
		}
		if points[i].IsIdentity() {
			return nil, &ArgumentError{Msg: fmt.Sprintf("dealt key: the share of operator %s is zero", p)}
		}
	}
	return points, nil
}

// AppendBinary appends the encoding of the public shares, 64 bytes for each
// word of each party. The public key is not in it.
func (d *Dealing) AppendBinary(b []byte) ([]byte, error) {
	for _, words := range d.Words {
		var err error
		if b, err = p256.AppendPoints(b, words); err != nil {
			return nil, fmt.Errorf("dealt key: %w", err)
		}
	}
	return b, nil
}

// DecodeDealing reads what AppendBinary wrote for group and dealer, strictly.
// public is the key in the form of a DNSKEY. Nothing is checked but the
// encoding.
func DecodeDealing(group Group, dealer Dealer, public, shares []byte) (*Dealing, error) {
	d := new(Dealing)
	var err error
	if d.Public, err = p256.PointFromBytes(public); err != nil {
		return nil, fmt.Errorf("dealt key: public key: %w", err)
	}
	if group.N() == 0 {
		return nil, &ArgumentError{Msg: "dealt key: the group is empty"}
	}
	form, err := dealer.SigningForm(group, group.Parties[0])
	if err != nil {
		return nil, err
	}
	width := len(form)
	points, err := p256.DecodePoints(shares, width*group.N())
	if err != nil {
		return nil, fmt.Errorf("dealt key: public shares: %w", err)
	}
	for i := range group.Parties {
		d.Words = append(d.Words, points[i*width:(i+1)*width:(i+1)*width])
	}
	return d, nil
}

// Label binds the label of a key to the dealing, for the session in which it is
// imported: it tells apart what was dealt twice.
func (d *Dealing) Label(group Group, dealer Dealer, label []byte) ([]byte, error) {
	points, err := p256.AppendPoints(nil, []p256.Point{d.Public})
	if err != nil {
		return nil, err
	}
	if points, err = d.AppendBinary(points); err != nil {
		return nil, err
	}
	digest := Digest("zonesigner dealing v1", []byte(dealer.Name()), group.Digest[:], points)
	bound := Digest("zonesigner label of a dealt key v1", label, digest[:])
	return bound[:], nil
}

// ShamirDealer is Deal, SigningForm and CheckCopies of a Dealer whose shares are
// Shamir shares at Group.X, one word each.
type ShamirDealer struct{}

// Deal takes a uniform polynomial of degree t with the value x at 0 and gives
// each party its value at the party's point.
func (ShamirDealer) Deal(g Group, x p256.Scalar, rand io.Reader) ([][]p256.Scalar, error) {
	coefficients := []p256.Scalar{x}
	defer func() { clear(coefficients) }()
	for range g.T {
		c, err := p256.RandomScalar(rand)
		if err != nil {
			return nil, err
		}
		coefficients = append(coefficients, c)
	}
	words := make([][]p256.Scalar, g.N())
	for i, p := range g.Parties {
		at, _ := g.X(p)
		var value p256.Scalar
		for _, c := range slices.Backward(coefficients) {
			value = value.Mul(p256.NewScalar(uint64(at))).Add(c)
		}
		words[i] = []p256.Scalar{value}
	}
	return words, nil
}

// SigningForm is the share itself.
func (ShamirDealer) SigningForm(g Group, id PartyID) ([]p256.Scalar, error) {
	if _, ok := g.X(id); !ok {
		return nil, &ArgumentError{Msg: fmt.Sprintf("dealt key: %q is no operator of the group", id)}
	}
	return []p256.Scalar{p256.One()}, nil
}

// CheckCopies has nothing to check: every party has a share of its own.
func (ShamirDealer) CheckCopies(Group, [][]p256.Point) error { return nil }
