package mascot

import (
	"context"
	"crypto/rand"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"zonesigner/mpc"
	"zonesigner/mpc/mpctest"
	"zonesigner/mpc/p256"
)

// Each attack here is run against the engine as it is, where it must fail, and
// against one with the defence that it is aimed at taken out (holes), where it
// must succeed. The adversary is a.

// play runs f at each of n parties. The adversary's engine has the hooks of
// attack beside the holes of e, and its network is what wrap makes of it.
func play(t *testing.T, e Engine, n int, attack func(*holes), wrap func(mpc.Network) mpc.Network, f func(ctx context.Context, b *box) error) map[mpc.PartyID]error {
	t.Helper()
	g := mpctest.Group(n, n-1)
	return mpctest.Play(t, g.Parties, func(ctx context.Context, net mpc.Network) error {
		if net.Self() == "a" && wrap != nil {
			net = wrap(net)
		}
		b, err := e.Start(ctx, net, g, nil)
		if err != nil {
			return err
		}
		defer b.Close()
		own := b.(*box)
		if net.Self() == "a" && attack != nil {
			attack(&own.engine.holes)
		}
		return f(ctx, own)
	})
}

// caught wants every honest party to blame a, alone or among others, for what.
func caught(t *testing.T, errs map[mpc.PartyID]error, what string) {
	t.Helper()
	for p, err := range errs {
		if p == "a" {
			continue
		}
		cheat, ok := mpc.AsCheat(err)
		if !ok || !strings.Contains(cheat.What, what) || !slices.Contains(cheat.Parties, "a") || slices.Contains(cheat.Parties, p) {
			t.Errorf("%s says %v, want a blamed for %q", p, err, what)
		}
		if ok && len(cheat.Parties) > 1 && !cheat.Disputed {
			t.Errorf("%s names %v without calling it a dispute", p, cheat.Parties)
		}
	}
}

func missed(t *testing.T, errs map[mpc.PartyID]error) {
	t.Helper()
	for p, err := range errs {
		if p != "a" && err != nil {
			t.Errorf("with the defence out %s still says %v", p, err)
		}
	}
}

// collect keeps what the parties come to.
type collect[V any] struct {
	mu  sync.Mutex
	all map[mpc.PartyID]V
}

func (c *collect[V]) put(p mpc.PartyID, v V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all == nil {
		c.all = map[mpc.PartyID]V{}
	}
	c.all[p] = v
}

func addOne(at string, index int) func(*holes) {
	return func(h *holes) {
		h.shift = func(what string, shares []p256.Scalar) {
			if what == at && index < len(shares) {
				shares[index] = shares[index].Add(p256.One())
			}
		}
	}
}

// A party opens another value than the one that its MAC is for.
func TestWrongShareOfOpening(t *testing.T) {
	for _, n := range []int{2, 3} {
		attack := func(e Engine) (errs map[mpc.PartyID]error, wrong bool) {
			var opened, shares collect[p256.Scalar]
			errs = play(t, e, n, addOne("open", 0), nil, func(ctx context.Context, b *box) error {
				x, err := b.Random(ctx, 1)
				if err != nil {
					return err
				}
				shares.put(b.self, x[0].Value)
				v, err := b.Open(ctx, x)
				if err == nil {
					opened.put(b.self, v[0])
				}
				return err
			})
			var sum p256.Scalar
			for _, s := range shares.all {
				sum = sum.Add(s)
			}
			return errs, opened.all["b"] == sum.Add(p256.One())
		}
		errs, _ := attack(Full())
		caught(t, errs, "does not fit its MAC")
		errs, wrong := attack(Engine{holes: holes{noMACs: true}})
		if missed(t, errs); !wrong {
			t.Error("without MACs b does not open a wrong value")
		}
	}
}

// A party opens a point of its choice: R, in signing.
func TestShiftedPoint(t *testing.T) {
	attack := func(e Engine) (errs map[mpc.PartyID]error, wrong bool) {
		var opened collect[p256.Point]
		var shares collect[p256.Scalar]
		errs = play(t, e, 2, addOne("points", 1), nil, func(ctx context.Context, b *box) error {
			x, err := b.Random(ctx, 2)
			if err != nil {
				return err
			}
			shares.put(b.self, x[1].Value)
			v, err := b.OpenPoints(ctx, x)
			if err == nil {
				opened.put(b.self, v[1])
			}
			return err
		})
		want := shares.all["a"].Add(shares.all["b"]).Add(p256.One())
		return errs, opened.all["b"].Equal(p256.BaseMult(want))
	}
	for _, e := range []Engine{Full(), Minus()} {
		errs, _ := attack(e)
		caught(t, errs, "does not fit its MAC")
	}
	errs, wrong := attack(Engine{holes: holes{noMACs: true}})
	if missed(t, errs); !wrong {
		t.Error("without MACs b does not open a wrong point")
	}
}

// ahead is the network of one that looks at what b sends in a round before it is
// its turn to.
type ahead struct {
	mpc.Network
	kept map[string][]byte // by round
}

// look receives b's message of a round, which Recv gives again.
func (n *ahead) look(ctx context.Context, round string) ([]byte, error) {
	b, err := n.Network.Recv(ctx, "b", round)
	if err == nil {
		n.kept[round] = b
	}
	return b, err
}

func (n *ahead) Recv(ctx context.Context, from mpc.PartyID, round string) ([]byte, error) {
	if b, ok := n.kept[round]; ok {
		return b, nil
	}
	return n.Network.Recv(ctx, from, round)
}

// rushing sees the others' shares of the zeros before it sends its own, which
// then make the sums right. Only a commitment is in its way.
type rushing struct{ ahead }

func (r *rushing) Send(ctx context.Context, to mpc.PartyID, round string, b []byte) error {
	if strings.HasPrefix(round, "main/") && strings.HasSuffix(round, "o") {
		theirs, err := r.look(ctx, round)
		if err != nil {
			return err
		}
		zeros, err := p256.DecodeScalars(theirs[32:], len(theirs)/32-1)
		if err != nil {
			return err
		}
		b = slices.Clone(b[:32])
		for _, z := range zeros {
			b = z.Neg().AppendBytes(b)
		}
	}
	return r.Network.Send(ctx, to, round, b)
}

func TestRushingMACs(t *testing.T) {
	attack := func(e Engine) map[mpc.PartyID]error {
		wrap := func(net mpc.Network) mpc.Network { return &rushing{ahead{net, map[string][]byte{}}} }
		return play(t, e, 2, addOne("open", 0), wrap, func(ctx context.Context, b *box) error {
			x, err := b.Random(ctx, 1)
			if err != nil {
				return err
			}
			_, err = b.Open(ctx, x)
			return err
		})
	}
	caught(t, attack(Full()), "did not open what it committed to")
	missed(t, attack(Engine{holes: holes{noCommit: true}}))
}

// waiting commits to its shares of zeros only when it has seen b's, and b's coins,
// or nobody sends any more.
type waiting struct{ ahead }

func (w *waiting) Send(ctx context.Context, to mpc.PartyID, round string, b []byte) error {
	if check, ok := strings.CutSuffix(round, "c"); ok && strings.HasPrefix(round, "main/") {
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, _ = w.look(short, check+"o")
	}
	return w.Network.Send(ctx, to, round, b)
}

// withholding lets a check fail, keeps back what would tell so, and has learned
// the MAC key from what the others opened.
type withholding struct {
	ahead
	own     p256.Scalar      // of the check that fails
	learned chan p256.Scalar // the MAC key
}

func (w *withholding) Send(ctx context.Context, to mpc.PartyID, round string, b []byte) error {
	if strings.HasPrefix(round, "main.first/") && strings.HasSuffix(round, "o") {
		theirs, err := w.look(ctx, round)
		if err != nil {
			return err
		}
		zero, err := p256.ScalarFromBytes(theirs[32:])
		if err != nil {
			return err
		}
		w.learned <- w.own.Add(zero).Neg() // αx - α(x+1) = -α
		time.Sleep(time.Second)
	}
	return w.Network.Send(ctx, to, round, b)
}

// Two checks are under way. One fails, which tells a the MAC key, and a makes the
// other one pass before b hears of the first.
func TestFailedCheckBesideAnother(t *testing.T) {
	attack := func(e Engine) (errs map[mpc.PartyID]error, second error) {
		var w *withholding
		wrap := func(net mpc.Network) mpc.Network {
			w = &withholding{ahead: ahead{net, map[string][]byte{}}, learned: make(chan p256.Scalar, 1)}
			return w
		}
		holes := func(h *holes) {
			addOne("open", 0)(h)
			h.zeros = func(label string, own []p256.Scalar) {
				switch label {
				case "main.first":
					w.own = own[0]
				case "main.second":
					own[0] = own[0].Add(<-w.learned)
				}
			}
		}
		var seconds collect[error]
		errs = play(t, e, 2, holes, wrap, func(ctx context.Context, b *box) error {
			x, err := b.Random(ctx, 2)
			if err == nil {
				err = b.Check(ctx)
			}
			if err != nil {
				return err
			}
			first := make(chan error, 1)
			go func() {
				_, err := b.Fork("first").Open(ctx, x[:1])
				first <- err
			}()
			_, err = b.Fork("second").Open(ctx, x[1:])
			seconds.put(b.self, err)
			return <-first
		})
		return errs, seconds.all["b"]
	}
	errs, second := attack(Full())
	caught(t, errs, "does not fit its MAC")
	if second == nil {
		t.Error("b takes a value that was checked under a MAC key which a knew")
	}
	if _, second = attack(Engine{holes: holes{noOrder: true}}); second != nil {
		t.Errorf("with the defence out b still says %v", second)
	}
}

// A party wants the coins of the privacy amplification before it is bound to what
// the check, which they come with, will say.
func TestCoinsWaitForCommitments(t *testing.T) {
	attack := func(e Engine) int {
		w := &waiting{ahead{kept: map[string][]byte{}}}
		wrap := func(net mpc.Network) mpc.Network {
			w.Network = net
			return w
		}
		missed(t, play(t, e, 2, nil, wrap, multiplyOnce))
		return len(w.kept)
	}
	if attack(Full()) != 0 {
		t.Error("b opens coins before it has a commitment of a")
	}
	if attack(Engine{holes: holes{noWait: true}}) == 0 {
		t.Error("b waits for a commitment of a with nothing to make it")
	}
}

// multiplied has all parties multiply and open factors and product.
func multiplied(t *testing.T, e Engine, n int, attack func(*holes)) (errs map[mpc.PartyID]error, wrong bool) {
	t.Helper()
	var opened collect[[]p256.Scalar]
	errs = play(t, e, n, attack, nil, func(ctx context.Context, b *box) error {
		r, err := b.Random(ctx, 2)
		if err != nil {
			return err
		}
		c, err := b.Mul(ctx, r[:1], r[1:])
		if err != nil {
			return err
		}
		if err := b.Check(ctx); err != nil {
			return err
		}
		v, err := b.Open(ctx, append(r, c...))
		if err == nil {
			opened.put(b.self, v)
		}
		return err
	})
	v := opened.all["b"]
	return errs, len(v) == 3 && v[2] != v[0].Mul(v[1])
}

// A sender multiplies the others' factors by something else than its own share.
func TestWrongTriple(t *testing.T) {
	attack := func(h *holes) {
		h.send = func(_ int, in *[inputs]p256.Scalar) { in[0] = in[0].Add(p256.One()) }
	}
	errs, _ := multiplied(t, Full(), 2, attack)
	caught(t, errs, "does not fit its MAC")
	errs, _ = multiplied(t, Minus(), 3, attack)
	caught(t, errs, "does not fit its MAC")
	errs, wrong := multiplied(t, Engine{holes: holes{noMACs: true}}, 2, attack)
	if missed(t, errs); !wrong {
		t.Error("without the check of MACs the product is right")
	}
}

// A sender puts a wrong input into the one transfer that a bit of the other's
// factor chooses: if the check passes, the bit was 0. Privacy amplification
// makes the factor that is used one that the bit says nothing of.
func TestSelectiveFailure(t *testing.T) {
	const tries = 24
	attack := func(e Engine) (passed, set int) {
		var mu sync.Mutex
		var lows []uint64 // the lowest bit of b's factor, where the check passed
		play(t, e, 2, func(h *holes) {
			h.send = func(k int, in *[inputs]p256.Scalar) {
				if k == 0 {
					in[0] = in[0].Add(p256.One())
				}
			}
		}, nil, func(ctx context.Context, b *box) error {
			zero := []Share{{Key: b.key.own}}
			for i := range tries {
				fork := b.Fork(string(rune('A' + i))).(*box)
				session := *fork.session
				fork.session = &session
				var shares []p256.Scalar
				if b.self == "b" {
					fork.engine.holes.shift = func(what string, s []p256.Scalar) {
						if what == "differences" {
							shares = slices.Clone(s)
						}
					}
				}
				if _, err := fork.Mul(ctx, zero, zero); err == nil && b.self == "b" {
					factor := shares[0].Neg().Bytes() // 0 less b's share of the factor
					mu.Lock()
					lows = append(lows, uint64(factor[31]&1))
					mu.Unlock()
				}
			}
			return nil
		})
		for _, low := range lows {
			set += int(low)
		}
		return len(lows), set
	}
	passed, set := attack(Full())
	if passed == 0 || passed == tries || set == 0 {
		t.Errorf("with privacy amplification %d of %d passed, of which %d have the bit set", passed, tries, set)
	}
	passed, set = attack(Engine{holes: holes{noCombine: true}})
	if passed == 0 || passed == tries || set != 0 {
		t.Errorf("without privacy amplification %d of %d passed, of which %d have the bit set, want none", passed, tries, set)
	}
}

// The same where two products have one first factor, so that three components
// make two factors: what the sender knows of a bit would tell of the two
// together, were they made of two components, by whose matrix it can be divided.
func TestSelectiveFailureOfTwo(t *testing.T) {
	const tries = 24
	attack := func(e Engine) (passed, set int) {
		var mu sync.Mutex
		play(t, e, 2, func(h *holes) {
			h.send = func(k int, in *[inputs]p256.Scalar) {
				if k == 0 {
					in[0] = in[0].Add(p256.One())
				}
			}
		}, nil, func(ctx context.Context, b *box) error {
			zero := []Share{{Key: b.key.own}}
			for i := range tries {
				fork := b.Fork(string(rune('A' + i))).(*box)
				session := *fork.session
				fork.session = &session
				var first, second p256.Scalar // b's shares of the two factors
				var matrix amplification
				if b.self == "b" {
					fork.engine.holes.combine = func(r *amplification) { matrix = *r }
					fork.engine.holes.shift = func(what string, s []p256.Scalar) {
						if what == "differences" {
							first, second = s[0].Neg(), s[1].Neg() // of 0 less the factors
						}
					}
				}
				_, _, err := fork.MulOpen(ctx, zero, zero, []mpc.Scaling[Share]{{Xs: zero, By: zero[0]}})
				if err != nil || b.self != "b" {
					continue
				}
				det := matrix[0][0].Mul(matrix[1][1]).Sub(matrix[0][1].Mul(matrix[1][0]))
				component := first.Mul(matrix[1][1]).Sub(second.Mul(matrix[0][1])).Mul(det.Inverse()).Bytes()
				mu.Lock()
				passed, set = passed+1, set+int(component[31]&1)
				mu.Unlock()
			}
			return nil
		})
		return passed, set
	}
	passed, set := attack(Full())
	if passed == 0 || passed == tries || set == 0 {
		t.Errorf("with three components %d of %d passed, of which %d have the bit set", passed, tries, set)
	}
	passed, set = attack(Engine{holes: holes{noSpare: true}})
	if passed == 0 || passed == tries || set != 0 {
		t.Errorf("with two components %d of %d passed, of which %d have the bit set, want none", passed, tries, set)
	}
}

// A receiver of extended transfers puts a wrong bit into row i of column i. The
// sender's row then shows the correlation bit of that column to anyone who can
// tell two masks apart. Without the consistency check all 128 bits are known,
// and with them every string that was not chosen.
func TestInconsistentColumns(t *testing.T) {
	const n = 128
	sender, receiver := extension(t)
	choices := make([]byte, n/8)
	attack := &holes{column: func(i int, masked []byte) { masked[i/8] ^= 1 << (i % 8) }}
	call := []byte("test")
	msg, rows := receiver.receive(call, choices, n, attack)
	if _, err := sender.send(call, msg, n, &holes{}); err == nil {
		t.Error("columns that do not fit together were accepted")
	} else if cheat, ok := mpc.AsCheat(err); !ok || cheat.Disputed || cheat.Parties[0] != "a" {
		t.Errorf("got %v, want a named", err)
	}
	sent, err := sender.send(call, msg, n, &holes{noConsistency: true, keepSpoiled: true})
	if err != nil {
		t.Fatal(err)
	}
	var found [rowSize]byte
	hash := newRowHash(call)
	// What the receiver would see used, and what it has.
	theirs, ours := hash.seeds(sent, new([rowSize]byte)), hash.seeds(rows, new([rowSize]byte))
	for i := range n {
		if theirs[i] != ours[i] {
			found[i/8] |= 1 << (i % 8)
		}
	}
	if found != sender.delta {
		t.Error("without the consistency check the attack does not find the correlation")
	}
}

// extension is a sender and a receiver with base seeds from nowhere.
func extension(t *testing.T) (*extensionSender, *extensionReceiver) {
	t.Helper()
	sender, receiver := &extensionSender{peer: "a"}, &extensionReceiver{}
	_, _ = rand.Read(sender.delta[:])
	for i := range columns {
		for c := range 2 {
			_, _ = rand.Read(receiver.seeds[i][c][:])
		}
		sender.seeds[i] = receiver.seeds[i][bit(sender.delta[:], i)]
	}
	return sender, receiver
}

// In a session, too, it is the receiver who is named.
func TestInconsistentReceiverIsNamed(t *testing.T) {
	errs, _ := multiplied(t, Full(), 3, func(h *holes) {
		h.column = func(i int, masked []byte) {
			if i == 7 {
				masked[0] ^= 1
			}
		}
	})
	named := 0
	for p, err := range errs {
		if cheat, ok := mpc.AsCheat(err); ok && p != "a" {
			if cheat.Disputed || cheat.Parties[0] != "a" || !strings.Contains(cheat.What, "do not fit together") {
				t.Errorf("%s says %v, want a named", p, err)
			}
			named++
		}
	}
	// The check misses one whose correlation bit is 0 at both others, one time
	// in four; then nothing was altered either.
	if named == 0 && errs["b"] != nil {
		t.Errorf("nobody named a: %v", errs)
	}
}

// many is how many values are multiplied by masks of a key.
const many = fewValues + 1

// scaled has all parties multiply values by a key, for signing, and returns by
// what the first product is wrong.
func scaled(t *testing.T, e Engine, n, values int, attack func(*holes), wrap func(mpc.Network) mpc.Network) (errs map[mpc.PartyID]error, off p256.Scalar) {
	t.Helper()
	var x, z, w collect[p256.Scalar]
	errs = play(t, e, n, attack, wrap, func(ctx context.Context, b *box) error {
		r, err := b.Random(ctx, values+1)
		if err != nil {
			return err
		}
		_, ws, err := b.MulOpen(ctx, nil, nil, []mpc.Scaling[Share]{{Xs: r[:values], By: r[values], ForSigning: true}})
		if err != nil {
			return err
		}
		x.put(b.self, r[0].Value)
		z.put(b.self, r[values].Value)
		w.put(b.self, ws[0][0].Value)
		return b.Check(ctx)
	})
	var xs, zs, ws p256.Scalar
	for p := range w.all {
		xs, zs, ws = xs.Add(x.all[p]), zs.Add(z.all[p]), ws.Add(w.all[p])
	}
	return errs, ws.Sub(xs.Mul(zs))
}

// A party shifts the opening of a masked key. mascot sees it before anything is
// made of the product; mascot-minus does not: this is what it gives up. The
// shift is fixed when the tuple is made.
func TestShiftedDifference(t *testing.T) {
	for _, values := range []int{1, many} {
		errs, _ := scaled(t, Full(), 2, values, addOne("differences", 0), nil)
		caught(t, errs, "does not fit its MAC")
		errs, off := scaled(t, Minus(), 2, values, addOne("differences", 0), nil)
		if missed(t, errs); off.IsZero() {
			t.Error("mascot-minus: a shifted opening has no effect")
		}
		errs, off = scaled(t, Engine{holes: holes{noMACs: true}}, 2, values, addOne("differences", 0), nil)
		if missed(t, errs); off.IsZero() {
			t.Error("without MACs a shifted opening has no effect")
		}
	}
}

// A party gives a multiplication by the masked key another input at one digit:
// whether it is seen would tell of the key's mask, were it not combined only
// afterwards. The check sees all but a guess.
func TestWrongCorrection(t *testing.T) {
	attack := func(h *holes) {
		h.correct = func(msg []byte) {
			for at := 0; at < len(msg)/2; at += scalarSize {
				msg[at] ^= 1
			}
		}
	}
	errs, _ := scaled(t, Full(), 2, many, attack, nil)
	caught(t, errs, "does not fit its MAC")
	errs, off := scaled(t, Engine{holes: holes{noMACs: true}}, 2, many, attack, nil)
	if missed(t, errs); off.IsZero() {
		t.Error("without MACs a wrong correction has no effect")
	}
}

// A party makes two errors, in the MAC of a value and in that of the mask under
// which it is checked, that would cancel each other were both weighed alike.
func TestErrorInMask(t *testing.T) {
	errs := play(t, Full(), 2, func(h *holes) {
		h.correct = func(msg []byte) { // of the value and the mask, for each digit
			for j := 0; j < keyDigits; j += 2 {
				value, mask := msg[2*scalarSize*j:], msg[2*scalarSize*j+scalarSize:]
				store(value, load(value).Add(p256.One()))
				store(mask, load(mask).Sub(p256.One()))
			}
		}
	}, nil, func(ctx context.Context, b *box) error {
		if _, err := b.Random(ctx, 1); err != nil {
			return err
		}
		return b.Check(ctx)
	})
	caught(t, errs, "does not fit its MAC")
}

// splitView shows c another share of the opening that it is told of.
type splitView struct {
	mpc.Network
	armed bool
}

func (s *splitView) Send(ctx context.Context, to mpc.PartyID, round string, b []byte) error {
	if to == "c" && s.armed {
		b = slices.Clone(b)
		b[len(b)-1] ^= 1
		s.armed = false
	}
	return s.Network.Send(ctx, to, round, b)
}

// A party shows two others different openings where no MAC is checked. They
// compare what they saw before anything is made of it.
func TestSplitView(t *testing.T) {
	attack := func(e Engine) (errs map[mpc.PartyID]error, off p256.Scalar) {
		var split *splitView
		return scaled(t, e, 3, many, func(h *holes) {
			h.shift = func(what string, _ []p256.Scalar) { split.armed = what == "differences" }
		}, func(net mpc.Network) mpc.Network {
			split = &splitView{Network: net}
			return split
		})
	}
	errs, _ := attack(Minus())
	caught(t, errs, "shown different openings")
	errs, off := attack(Engine{minus: true, holes: holes{noEcho: true}})
	if missed(t, errs); off.IsZero() {
		t.Error("without the comparison a split view has no effect")
	}
}

// A key was made in one session and is multiplied in another, where a party puts
// in another share of it. The MAC of the first session tells.
func TestAdoptWrongShare(t *testing.T) {
	attack := func(e Engine, wrong bool) (errs map[mpc.PartyID]error, off p256.Scalar) {
		var keys, xs, ws collect[Share]
		errs = play(t, e, 2, nil, nil, func(ctx context.Context, b *box) error {
			sk, err := b.Random(ctx, 1)
			if err == nil {
				keys.put(b.self, sk[0])
			}
			return err
		})
		missed(t, errs)
		errs = play(t, e, 2, nil, nil, func(ctx context.Context, b *box) error {
			x, err := b.Random(ctx, 1)
			if err != nil {
				return err
			}
			sk := keys.all[b.self]
			if b.self == "a" && wrong {
				sk.Value = sk.Value.Add(p256.One())
			}
			_, w, err := b.MulOpen(ctx, nil, nil, []mpc.Scaling[Share]{{Xs: x, By: sk}})
			if err != nil {
				return err
			}
			xs.put(b.self, x[0])
			ws.put(b.self, w[0][0])
			return b.Check(ctx)
		})
		sum := func(c *collect[Share]) p256.Scalar { return c.all["a"].Value.Add(c.all["b"].Value) }
		return errs, sum(&ws).Sub(sum(&xs).Mul(sum(&keys)))
	}
	errs, off := attack(Full(), false)
	if missed(t, errs); !off.IsZero() {
		t.Error("a product with a key of another session is wrong")
	}
	errs, _ = attack(Full(), true)
	caught(t, errs, "does not fit its MAC")
	errs, off = attack(Engine{holes: holes{noMACs: true}}, true)
	if missed(t, errs); off.IsZero() {
		t.Error("without MACs another share of a key has no effect")
	}
}
