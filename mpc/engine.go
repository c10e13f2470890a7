package mpc

import (
	"context"

	"zonesigner/mpc/p256"
)

// Engine is one protocol behind the arithmetic black box, by which keys are
// made and tuples prepared. S is its share of one value.
type Engine[S any] interface {
	// Name is what configuration, key shares and statements call it.
	Name() string
	// Active reports whether it withstands parties that alter the protocol,
	// not only such that read.
	Active() bool
	// Supports reports an ArgumentError when the protocol cannot serve g.
	Supports(g Group) error
	// Signers reports an ArgumentError when set may not sign for g.
	Signers(g Group, set SignerSet) error
	// Start sets up one session among net's parties, who all belong to g:
	// whatever the engine needs that is fresh (seeds, base transfers). It
	// fails when the parties' bindings differ; binding names everything the
	// session is for (purpose, key, signer set, sizes).
	Start(ctx context.Context, net Network, g Group, binding []byte) (Box[S], error)
	// Words is the fixed-length form in which a share is kept; FromWords is
	// its inverse and reports an ArgumentError for a wrong length.
	Words(x S) []p256.Scalar
	FromWords(w []p256.Scalar) (S, error)
}

// Box is the black box of one session, with what pipelines and signing need
// beyond the arithmetic.
type Box[S any] interface {
	ABB[S]
	// Fork is a box over the same session for one stage of a pipeline. It
	// has randomness, rounds and checks of its own, and may be used beside
	// the others. Every party must fork with the same, unused label.
	Fork(label string) Box[S]
	// View is the digest of the session's id, the box's label and everything
	// that was opened in it so far, in order. Parties that compare it know that
	// they saw the same.
	View() [32]byte
	// Signing is this party's share of x in the form that signing opens
	// without the engine: a Shamir share of degree t at Group.X. (A share
	// of a plain sum takes that form too, divided by the party's Lagrange
	// coefficient.)
	Signing(x S) p256.Scalar
	// Close erases the session's secrets.
	Close()
}

// MulOpener is the fused step that an engine may offer where it saves rounds:
// everything that Figure 4 multiplies, in one. opened[i] = xs[i]·ys[i], and
// scaled[j][i] is a sharing of scale[j].Xs[i]·scale[j].By. Either part may be
// empty.
type MulOpener[S any] interface {
	MulOpen(ctx context.Context, xs, ys []S, scale []Scaling[S]) (opened []p256.Scalar, scaled [][]S, err error)
}

// Narrower is what an engine may offer in a form that verifies nothing: there
// only who uses products needs to be sent them.
type Narrower interface {
	// Narrow says who uses what MulOpen opens and scales in this box from now on,
	// in a form with verification everybody. The others help, and get nothing. It
	// reports whether this party is among them.
	Narrow(users []PartyID) (mine bool)
}

// Scaling is many values to be multiplied by one.
type Scaling[S any] struct {
	Xs []S
	By S
	// ForSigning says that the products are for Box.Signing alone: they need no
	// check but that each is right up to an addend that cheaters know, as their
	// shares of a signature are. An engine may then do with less.
	ForSigning bool
}

// Sizer is what an engine offers of which a tuple in the making takes much more
// than a kilobyte: about how many bytes a party of g holds for each, messages of
// the others included. It bounds how many are made side by side.
type Sizer interface {
	TupleSize(g Group) int
}
