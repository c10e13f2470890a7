// Package mascot is the engine against a dishonest majority: any n ≥ 2 of which
// all but one may alter the protocol (with abort). It is MASCOT (Keller, Orsini,
// Scholl, CCS 2016): additive sharings with additively shared MACs under a key
// that nobody knows, and products by oblivious transfer. "mascot-minus" leaves
// out checks that a signature's own verification makes up for.
//
// The argument, and what each check is for, is docs/protocol.md, section 13;
// comments give its parts.
//
// # What mascot-minus gives up
//
// The differences by which products are made (Beaver's opening, and the masked
// key) are not checked, and have no MACs. Whoever alters one changes the product
// by a multiple of the other factor, fixed before R and any statement: k and sk
// have all of their entropy, so whether a signature then verifies tells nothing
// about them that could be guessed (section 6.1 of "Securing DNSSEC Keys via
// Threshold ECDSA From Generic MPC"). That is a heuristic, not a proof. A
// signature that does not verify is what is seen of it, and it is good for one
// other digest, which nobody chose; people must look into the key then.
// The checks of transfers, of MACs on what transfers made, of everything that
// Open and OpenPoints reveal, R among it, and the privacy amplification stay.
package mascot

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"hash"
	"slices"
	"strconv"
	"strings"

	"zonesigner/mpc"
	"zonesigner/mpc/p256"
)

// Share is one party's share of a value x: the shares of all parties add up to
// x, their MACs to α·x, their keys to α, the MAC key of the session that made x.
type Share struct {
	Value p256.Scalar // secret
	MAC   p256.Scalar // secret
	Key   p256.Scalar // secret
}

// Engine is the protocol, or its form with fewer checks. It implements
// mpc.Engine.
type Engine struct {
	minus bool
	roots *roots // of what lasts between sessions; nil: nothing does
	holes holes  // tests only
}

var (
	_ mpc.Engine[Share]    = Engine{}
	_ mpc.Sizer            = Engine{}
	_ mpc.Dealer           = Engine{}
	_ mpc.MulOpener[Share] = (*box)(nil)
	_ mpc.MACBox[Share]    = (*box)(nil)
	_ mpc.Importer[Share]  = (*box)(nil)
)

// Full is "mascot": whatever n-1 parties do, they can at most stop a session.
// Sessions of one such Engine, and of its copies, share what is costly to set up
// between two parties.
func Full() Engine { return Engine{roots: new(roots)} }

// Minus is "mascot-minus".
func Minus() Engine { return Engine{minus: true, roots: new(roots)} }

// holes takes defences out, and alters what this party sends, so that tests
// can show what each defence is for.
type holes struct {
	noConsistency bool // check of transfer extension
	noMACs        bool // check of MACs
	noCombine     bool // privacy amplification
	noSpare       bool // component for each factor, of which amplification makes one product less
	noCommit      bool // to what the check of MACs opens
	noWait        bool // for all commitments, before that and coins are opened
	noOrder       bool // of checks that overlap: a check passes although another fails
	noEcho        bool // of openings before the coins
	keepSpoiled   bool // seeds of transfers, after somebody guessed at the correlation
	lenient       bool // mascot-minus as ever in sessions that import

	column  func(i int, masked []byte)              // of transfer extension
	correct func(msg []byte)                        // of a multiplication by a factor
	send    func(k int, in *[inputs]p256.Scalar)    // what transfer k multiplies
	shift   func(what string, shares []p256.Scalar) // of openings
	zeros   func(label string, own []p256.Scalar)   // of the check of MACs
	combine func(r *amplification)                  // sees it
}

// maxOperators bounds the group: every two of them have transfers of their own.
const maxOperators = 7

// Name is "mascot" or "mascot-minus".
func (e Engine) Name() string {
	if e.minus {
		return "mascot-minus"
	}
	return "mascot"
}

// Active is true of both forms; see the package's doc for the second.
func (e Engine) Active() bool { return true }

// Supports wants t = n-1, and at most seven operators.
func (e Engine) Supports(g mpc.Group) error {
	if err := g.Validate(); err != nil {
		return err
	}
	if g.T != g.N()-1 {
		return &mpc.ArgumentError{Msg: fmt.Sprintf("%s: %d operators have threshold %d, not %d", e.Name(), g.N(), g.N()-1, g.T)}
	}
	if g.N() > maxOperators {
		return &mpc.ArgumentError{Msg: fmt.Sprintf("%s: %d operators, at most %d are supported", e.Name(), g.N(), maxOperators)}
	}
	return nil
}

// TupleSize is what the others send for a tuple, each of them 68 KiB or, in
// mascot-minus, 52.
func (e Engine) TupleSize(g mpc.Group) int {
	return (20<<10 + 2*componentBits*e.inputs()*scalarSize) * (g.N() - 1)
}

// Signers wants all operators of the group.
func (e Engine) Signers(g mpc.Group, set mpc.SignerSet) error {
	if !set.Equal(mpc.NewSignerSet(g.Parties...)) {
		return &mpc.ArgumentError{Msg: fmt.Sprintf("%s: signer set %s, only all of %s can sign", e.Name(), set, mpc.NewSignerSet(g.Parties...))}
	}
	return nil
}

// Words is the share of the value, of its MAC and of the key of that.
func (e Engine) Words(x Share) []p256.Scalar { return []p256.Scalar{x.Value, x.MAC, x.Key} }

// FromWords is the inverse of Words.
func (e Engine) FromWords(w []p256.Scalar) (Share, error) {
	if len(w) != 3 {
		return Share{}, &mpc.ArgumentError{Msg: fmt.Sprintf("%s: a share has 3 scalars, not %d", e.Name(), len(w))}
	}
	return Share{w[0], w[1], w[2]}, nil
}

// Start agrees on the session, makes base transfers between every two parties, or
// extends such that they have in common, and sets the MAC key up. All of the
// group take part.
func (e Engine) Start(ctx context.Context, net mpc.Network, g mpc.Group, binding []byte) (mpc.Box[Share], error) {
	if err := e.Supports(g); err != nil {
		return nil, err
	}
	s := &session{engine: e, net: net, parties: net.Parties(), self: net.Self(), checks: new(checks)}
	if !mpc.NewSignerSet(s.parties...).Equal(mpc.NewSignerSet(g.Parties...)) {
		return nil, &mpc.ArgumentError{Msg: fmt.Sprintf("%s: the session is among %v, it takes all of %v", e.Name(), s.parties, g.Parties)}
	}
	s.lagrange = inverseLagrange(g, s.self)
	for _, p := range s.parties {
		if p != s.self {
			s.links = append(s.links, link{peer: p, sender: &extensionSender{peer: p}, receiver: &extensionReceiver{}})
		}
	}
	b, err := s.setUp(ctx, g, binding)
	if err != nil {
		s.erase()
		return nil, fmt.Errorf("%s: set-up: %w", e.Name(), err)
	}
	return b, nil
}

// session is what all boxes of one session share.
type session struct {
	engine   Engine
	net      mpc.Network
	parties  []mpc.PartyID // sorted
	self     mpc.PartyID
	id       mpc.SessionID
	links    []link      // to all peers, in the order of parties
	key      *factor     // the MAC key
	lagrange p256.Scalar // what makes an addend a Shamir share
	checks   *checks
}

// link is what this party has with one peer.
type link struct {
	peer     mpc.PartyID
	sender   *extensionSender
	receiver *extensionReceiver
}

// setUp is the session's id, its base transfers, and the MAC key.
func (s *session) setUp(ctx context.Context, g mpc.Group, binding []byte) (*box, error) {
	offers := s.offers(g)
	defer func() { release(offers) }()
	if err := s.greet(ctx, g, binding, offers); err != nil {
		return nil, err
	}
	if err := s.newRoots(ctx, g, offers); err != nil {
		return nil, err
	}
	own := randomFactors(1, keyDigits)
	defer clear(own)
	got, err := s.extendRoots(ctx, offers, seedChoices(own))
	if err != nil {
		return nil, err
	}
	keys, err := s.box("set-up").growFactors(ctx, "set-up/key", keyDigits, own, got)
	if err != nil {
		return nil, err
	}
	s.key = keys[0]
	return s.box("main"), nil
}

// greet agrees on the session's id: a fresh nonce of each, and the same
// binding at all. Each tells each peer the name of the root that it has with it.
func (s *session) greet(ctx context.Context, g mpc.Group, binding []byte, offers []offer) error {
	bound := mpc.Digest("zonesigner mascot binding v2", []byte(s.engine.Name()), g.Digest[:], partyList(g.Parties),
		[]byte{byte(g.T)}, partyList(s.parties), binding)
	nonce := make([]byte, 32)
	_, _ = rand.Read(nonce) // never fails
	nonces := map[mpc.PartyID][]byte{s.self: nonce}
	msgs := make([][]byte, len(s.links))
	for i := range s.links {
		name := offers[i].name()
		msgs[i] = slices.Concat(nonce, bound[:], name[:])
	}
	hellos, err := s.swap(ctx, "set-up/hello", msgs)
	if err != nil {
		return err
	}
	for i, l := range s.links {
		h := hellos[i]
		if len(h) != 96 {
			return cheat(l.peer, fmt.Sprintf("hello of %d bytes, want 96", len(h)))
		}
		if !bytes.Equal(h[32:64], bound[:]) {
			return &mpc.ArgumentError{Msg: fmt.Sprintf("operator %s came for something else (another group, key, signer set or size)", l.peer)}
		}
		nonces[l.peer] = h[:32]
		offers[i].agreed = offers[i].root != nil && [32]byte(h[64:]) == offers[i].root.id
	}
	s.id = mpc.NewSessionID(string(bound[:]), nonces)
	return nil
}

// call names one use of what two parties share, by the one that receives and
// the one that sends.
func (s *session) call(round string, receiver, sender mpc.PartyID) []byte {
	d := mpc.Digest("zonesigner mascot call v1", s.id[:], []byte(round), []byte(receiver), []byte(sender))
	return d[:]
}

// swap sends each peer its message and returns what each sent, both in the
// order of links.
func (s *session) swap(ctx context.Context, round string, msgs [][]byte) ([][]byte, error) {
	if err := s.send(ctx, round, msgs); err != nil {
		return nil, err
	}
	return s.gather(ctx, round)
}

// send is the first half of swap.
func (s *session) send(ctx context.Context, round string, msgs [][]byte) error {
	for i, l := range s.links {
		if err := s.net.Send(ctx, l.peer, round, msgs[i]); err != nil {
			return err
		}
	}
	return nil
}

// gather is the second half of swap.
func (s *session) gather(ctx context.Context, round string) ([][]byte, error) {
	all, err := mpc.Gather(ctx, s.net, round, nil)
	if err != nil {
		return nil, err
	}
	got := make([][]byte, len(s.links))
	for i, l := range s.links {
		got[i] = all[l.peer]
	}
	return got, nil
}

// box implements mpc.Box. Its rounds belong to its label.
type box struct {
	*session
	label   string
	round   int
	view    hash.Hash
	pending pending
	toss    toss
}

func (s *session) box(label string) *box {
	b := &box{session: s, label: label, view: sha256.New()}
	b.note("session "+label, s.id[:])
	return b
}

// Fork is a box with rounds of its own; what was multiplied here waits for the
// check of the box that multiplied it.
func (b *box) Fork(label string) mpc.Box[Share] { return b.session.box(b.label + "." + label) }

func (b *box) View() [32]byte { return [32]byte(b.view.Sum(nil)) }

// Signing is the addend divided by the party's Lagrange coefficient.
func (b *box) Signing(x Share) p256.Scalar { return x.Value.Mul(b.lagrange) }

// Close forgets the session's secrets.
func (b *box) Close() {
	b.erase()
	b.pending.erase()
	b.pending, b.toss = pending{}, toss{}
}

// erase clears what the session has with its peers.
func (s *session) erase() {
	for _, l := range s.links {
		l.sender.erase()
		l.receiver.erase()
	}
	if s.key != nil {
		s.key.erase()
	}
	s.links, s.key = nil, nil
}

func (b *box) Add(x, y Share) Share {
	return Share{x.Value.Add(y.Value), x.MAC.Add(y.MAC), x.Key}
}

func (b *box) Sub(x, y Share) Share {
	return Share{x.Value.Sub(y.Value), x.MAC.Sub(y.MAC), x.Key}
}

func (b *box) Scale(x Share, c p256.Scalar) Share {
	return Share{x.Value.Mul(c), x.MAC.Mul(c), x.Key}
}

// Random has every party authenticate an addend of its own: one round, in which
// what the check waits for is made too. That they did it rightly is checked with
// what is next opened or multiplied.
func (b *box) Random(ctx context.Context, n int) ([]Share, error) {
	xs, err := b.random(ctx, b, n)
	if err != nil {
		return nil, err
	}
	b.pending.hidden = append(b.pending.hidden, xs...)
	return slices.Clone(xs), nil
}

// random returns n random sharings, in rounds of a box that may be another. With
// them it makes the mask of the next check, and commitments to the first coins,
// where these are not there.
func (b *box) random(ctx context.Context, rounds *box, n int) ([]Share, error) {
	values := make([]p256.Scalar, n, n+1)
	if b.pending.mask == nil {
		values = values[:n+1]
	}
	for i := range values {
		values[i] = randomScalar()
	}
	defer clear(values)
	tossed, err := b.beginToss(ctx, rounds)
	if err != nil {
		return nil, err
	}
	xs, err := rounds.authenticate(ctx, values)
	if err != nil {
		return nil, err
	}
	if len(xs) > n {
		b.pending.mask = xs[n:]
	}
	return xs[:n:n], tossed(ctx)
}

// authenticate returns sharings of the sums of all parties' values, with MACs.
func (b *box) authenticate(ctx context.Context, values []p256.Scalar) ([]Share, error) {
	macs := &job{fs: []*factor{b.key}, xs: values}
	if err := b.times(ctx, macs); err != nil {
		return nil, err
	}
	xs := make([]Share, len(values))
	for i := range xs {
		xs[i] = Share{values[i], macs.products[0][i], b.key.own}
	}
	return xs, nil
}

// note enters opened values into the view.
func (b *box) note(what string, values []byte) {
	sum := mpc.Digest("zonesigner opened v1", []byte(what), values)
	b.view.Write(sum[:])
}

// nextRound names a round; parties count alike because they run alike.
func (b *box) nextRound() string {
	b.round++
	return b.label + "/" + strconv.Itoa(b.round)
}

// dispute blames everybody but this party: at least one of them cheated.
func (s *session) dispute(what string) error {
	others := slices.DeleteFunc(slices.Clone(s.parties), func(p mpc.PartyID) bool { return p == s.self })
	return &mpc.CheatError{Parties: others, Disputed: len(others) > 1, What: what}
}

func cheat(p mpc.PartyID, what string) error {
	return &mpc.CheatError{Parties: []mpc.PartyID{p}, What: what}
}

// inverseLagrange is 1/λ for the coefficient λ by which the Shamir share of
// self enters the value at 0.
func inverseLagrange(g mpc.Group, self mpc.PartyID) p256.Scalar {
	scalar := func(p mpc.PartyID) p256.Scalar {
		x, _ := g.X(p)
		return p256.NewScalar(uint64(x))
	}
	num, den := p256.One(), p256.One()
	for _, p := range g.Parties {
		if p != self {
			num = num.Mul(scalar(p).Sub(scalar(self)))
			den = den.Mul(scalar(p))
		}
	}
	return num.Mul(den.Inverse())
}

func partyList(ids []mpc.PartyID) []byte {
	var b strings.Builder
	for _, p := range ids {
		b.WriteString(string(p))
		b.WriteByte('\n')
	}
	return []byte(b.String())
}
