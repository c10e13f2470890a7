package mascot

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"zonesigner/mpc"
	"zonesigner/mpc/mpctest"
	"zonesigner/mpc/p256"
)

func TestSupports(t *testing.T) {
	for _, c := range []struct {
		n, t int
		ok   bool
	}{{2, 1, true}, {3, 2, true}, {7, 6, true}, {8, 7, false}, {3, 1, false}, {2, 2, false}} {
		g := mpctest.Group(c.n, c.n-1)
		g.T = c.t
		err := Full().Supports(g)
		var bad *mpc.ArgumentError
		if (err == nil) != c.ok || err != nil && !errors.As(err, &bad) {
			t.Errorf("n = %d, t = %d: %v", c.n, c.t, err)
		}
	}
	g := mpctest.Group(3, 2)
	for _, c := range []struct {
		set mpc.SignerSet
		ok  bool
	}{{mpc.SignerSet{"a", "b", "c"}, true}, {mpc.SignerSet{"a", "b"}, false}, {mpc.SignerSet{"b", "a", "c"}, false}} {
		if err := Minus().Signers(g, c.set); (err == nil) != c.ok {
			t.Errorf("set %v: %v", c.set, err)
		}
	}
}

// TestTranspose compares with the definition.
func TestTranspose(t *testing.T) {
	const n = 192
	var cols [columns][]byte
	for i := range cols {
		cols[i] = make([]byte, n/8)
		_, _ = rand.Read(cols[i])
	}
	rows := transpose(&cols, n)
	for r := range n {
		for c := range columns {
			if bit(rows[rowSize*r:], c) != bit(cols[c], r) {
				t.Fatalf("bit %d of row %d is wrong", c, r)
			}
		}
	}
}

// TestColumnHash: it is linear, and differs where strings do.
func TestColumnHash(t *testing.T) {
	h := newColumnHash([]byte("call"), []byte("message"))
	x, y := make([]byte, 80), make([]byte, 80)
	_, _ = rand.Read(x)
	_, _ = rand.Read(y)
	sum := slices.Clone(h.sum(x))
	other := h.sum(y)
	xorIf(sum, other, 0xff)
	xorIf(x, y, 0xff)
	if !slices.Equal(sum, h.sum(x)) {
		t.Error("the hash of a sum is not the sum of the hashes")
	}
	x[3] ^= 1
	if slices.Equal(sum, h.sum(x)) {
		t.Error("two strings have one hash")
	}
}

// TestStreams: a long one is the counter mode's; the blocks of a short one are
// hashes of the seed with their numbers; other calls and seeds have others.
func TestStreams(t *testing.T) {
	var key seed
	_, _ = rand.Read(key[:])
	st := newStreams([]byte("call"))
	long, want := make([]byte, shortStream+aes.BlockSize), make([]byte, shortStream+aes.BlockSize)
	st.fill(long, &key)
	cipher.NewCTR(newCipher(key[:]), st.iv[:]).XORKeyStream(want, want)
	if !slices.Equal(long, want) {
		t.Error("a long stream is not that of the counter mode")
	}
	short := make([]byte, shortStream)
	st.fill(short, &key)
	seen := map[string]bool{}
	for i := range shortStream / aes.BlockSize {
		x := slices.Clone(key[:])
		x[0] ^= byte(i)
		y := make([]byte, aes.BlockSize)
		st.pi.Encrypt(y, x)
		xorIf(y, x, 0xff)
		block := short[aes.BlockSize*i : aes.BlockSize*(i+1)]
		if !slices.Equal(block, y) {
			t.Fatalf("block %d is wrong", i)
		}
		seen[string(block)] = true
	}
	other := key
	other[15] ^= 1
	for _, c := range []struct {
		st   *streams
		seed *seed
	}{{newStreams([]byte("other")), &key}, {st, &other}} {
		c.st.fill(short, c.seed)
		for block := range slices.Chunk(short, aes.BlockSize) {
			seen[string(block)] = true
		}
	}
	if len(seen) != 3*shortStream/aes.BlockSize {
		t.Error("two blocks of three streams are alike")
	}
}

// TestMasks: a stream gives its own bytes as scalars, and where those are too
// large, others.
func TestMasks(t *testing.T) {
	var key seed
	_, _ = rand.Read(key[:])
	st := newStreams([]byte("call"))
	var masks, stream []byte
	for _, n := range []int{2 * shortStream, 5 * scalarSize} { // a long one and a short one
		masks, stream = make([]byte, n), make([]byte, n)
		st.fillMasks(masks, &key)
		st.fill(stream, &key)
		if !slices.Equal(masks, stream) || !canonical(masks) {
			t.Error("masks are not what the stream has")
		}
	}
	x := load(masks)
	if store(stream, x); !slices.Equal(stream[:scalarSize], masks[:scalarSize]) {
		t.Error("a scalar is written otherwise than it is read")
	}

	large := slices.Repeat([]byte{0xff}, scalarSize)
	if below(large) || canonical(large) || canonical(large[1:]) {
		t.Error("a number above the order is taken for a scalar")
	}
	seen := map[string]bool{}
	for attempt := 1; attempt < 4; attempt++ {
		for i := range 3 {
			st.tryAgain(large, &key, scalarSize*i, attempt)
			seen[string(large)] = true
			seen[string(masks[scalarSize*i:scalarSize*(i+1)])] = true
		}
	}
	if len(seen) != 3*4 {
		t.Errorf("three further tries of three masks make %d strings, want 12", len(seen))
	}
}

// TestRowHash: masks do not depend on how many rows are hashed together, and
// further tries of one that is too large are of its row and its own.
func TestRowHash(t *testing.T) {
	const masks = 3
	rows := make([]byte, rowSize*hashBatch)
	_, _ = rand.Read(rows)
	delta := [rowSize]byte{1, 2, 3}
	h := newRowHash([]byte("test"))
	many := make([]byte, scalarSize*masks*hashBatch)
	h.scalars(many, masks, rows, &delta, 7)
	large := slices.Repeat([]byte{0xff}, scalarSize)
	seen := map[string]bool{}
	for i := range hashBatch {
		for c := range masks {
			again := slices.Clone(large)
			h.settle(again, i, c, 7)
			twice := slices.Clone(large)
			h.settle(twice, i, c, 7)
			if !slices.Equal(again, twice) || !below(again) {
				t.Fatal("a further try is none")
			}
			seen[string(again)] = true
			seen[string(many[scalarSize*(masks*i+c):scalarSize*(masks*i+c+1)])] = true
		}
	}
	if len(seen) != 2*masks*hashBatch {
		t.Error("two masks are alike")
	}
	one := make([]byte, scalarSize*masks)
	for i := range hashBatch {
		row := slices.Clone(rows[rowSize*i : rowSize*(i+1)])
		xorIf(row, delta[:], 0xff)
		h.scalars(one, masks, row, new([rowSize]byte), 7+i)
		if !slices.Equal(one, many[scalarSize*masks*i:scalarSize*masks*(i+1)]) {
			t.Fatalf("row %d alone has other masks", i)
		}
	}
	x := slices.Clone(one)
	if h.settle(one[:scalarSize], 0, 0, 7); !slices.Equal(x, one) {
		t.Error("a mask that is a scalar was replaced")
	}
}

// TestBaseTransfer: the receiver has the keys of its choices, and a message cut
// or altered has one to blame.
func TestBaseTransfer(t *testing.T) {
	name, choices := []byte("test"), []byte{0b10110010}
	r, err := newBaseReceiver(name, choices, 8)
	if err != nil {
		t.Fatal(err)
	}
	s, err := newBaseSender(8)
	if err != nil {
		t.Fatal(err)
	}
	chosen, err := r.keys(name, "a", s.msg)
	if err != nil {
		t.Fatal(err)
	}
	both, err := s.keys(name, "a", r.msg)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 8 {
		c := bit(choices, i)
		if chosen[i] != both[i][c] || chosen[i] == both[i][1-c] {
			t.Errorf("transfer %d gives the wrong key", i)
		}
	}
	for _, msg := range [][]byte{nil, s.msg[1:], slices.Repeat([]byte{0xff}, len(s.msg))} {
		if _, ok := mpc.AsCheat(second(r.keys(name, "a", msg))); !ok {
			t.Error("a receiver took a message that is none")
		}
	}
	if _, ok := mpc.AsCheat(second(s.keys(name, "a", r.msg[:64]))); !ok {
		t.Error("a sender took a message that is none")
	}
}

func second[T any](_ T, err error) error { return err }

// TestFactor: shares of products add up to the value times the factor, for
// values at the edges, and for three parties.
func TestFactor(t *testing.T) {
	for _, digits := range []int{keyDigits, numberDigits} {
		testFactor(t, digits)
	}
}

func testFactor(t *testing.T, digits int) {
	var parts, products, values collect[[]p256.Scalar]
	errs := play(t, Full(), 3, nil, nil, func(ctx context.Context, b *box) error {
		fs, err := b.newFactors(ctx, digits, randomFactors(2, digits))
		if err != nil {
			return err
		}
		xs := []p256.Scalar{{}, p256.One(), p256.One().Neg(), randomScalar()}
		j := &job{fs: fs, xs: xs}
		if err := b.times(ctx, j); err != nil {
			return err
		}
		parts.put(b.self, []p256.Scalar{fs[0].own, fs[1].own})
		products.put(b.self, slices.Concat(j.products...))
		values.put(b.self, xs)
		return nil
	})
	missed(t, errs)
	if errs["a"] != nil {
		t.Fatal(errs["a"])
	}
	sum := func(c *collect[[]p256.Scalar], i int) (v p256.Scalar) {
		for _, x := range c.all {
			v = v.Add(x[i])
		}
		return v
	}
	for f := range 2 {
		for i := range 4 {
			if sum(&products, 4*f+i) != sum(&parts, f).Mul(sum(&values, i)) {
				t.Errorf("product %d by factor %d is wrong", i, f)
			}
		}
	}
}

// TestManyAtOnce: more products than one message is for, and more scalings than
// are set up together, of different lengths.
func TestManyAtOnce(t *testing.T) {
	const n = componentBatch/2 + 3
	missed(t, play(t, Minus(), 2, nil, nil, func(ctx context.Context, b *box) error {
		r, err := b.Random(ctx, 2*n)
		if err != nil {
			return err
		}
		var scale []mpc.Scaling[Share]
		for j := range scaleBatch + 2 {
			scale = append(scale, mpc.Scaling[Share]{Xs: r[:7*j], By: r[n+j]})
		}
		c, scaled, err := b.MulOpen(ctx, r[:n], r[n:], scale)
		if err != nil {
			return err
		}
		v, err := b.Open(ctx, r)
		if err != nil {
			return err
		}
		for i := range n {
			if c[i] != v[i].Mul(v[n+i]) {
				return fmt.Errorf("product %d is wrong", i)
			}
		}
		for j, ws := range scaled {
			if len(ws) == 0 {
				continue
			}
			w, err := b.Open(ctx, ws)
			if err != nil {
				return err
			}
			for i := range w {
				if w[i] != v[i].Mul(v[n+j]) {
					return fmt.Errorf("value %d of scaling %d is wrong", i, j)
				}
			}
		}
		return nil
	}))
}

// TestForSigning: products for signing are right and give shares of one, but are
// neither opened nor multiplied, for they have no MAC.
func TestForSigning(t *testing.T) {
	var left, right, signing, byMasks collect[p256.Scalar]
	missed(t, play(t, Full(), 3, nil, nil, func(ctx context.Context, b *box) error {
		r, err := b.Random(ctx, many+1)
		if err != nil {
			return err
		}
		_, ws, err := b.MulOpen(ctx, nil, nil, []mpc.Scaling[Share]{
			{Xs: r[:1], By: r[many], ForSigning: true}, {Xs: r[:1], By: r[many]}, {Xs: r[:many], By: r[many], ForSigning: true},
		})
		if err != nil {
			return err
		}
		left.put(b.self, r[0].Value)
		right.put(b.self, r[many].Value)
		signing.put(b.self, b.Signing(ws[0][0]))
		byMasks.put(b.self, b.Signing(ws[2][0]))
		var bad *mpc.ArgumentError
		_, open := b.Open(ctx, ws[0])
		_, points := b.OpenPoints(ctx, ws[0])
		_, mul := b.Mul(ctx, r[:1], ws[0])
		_, _, scale := b.MulOpen(ctx, nil, nil, []mpc.Scaling[Share]{{Xs: r[:1], By: ws[0][0]}})
		for _, err := range []error{open, points, mul, scale} {
			if !errors.As(err, &bad) {
				return fmt.Errorf("a product without MAC: %w", err)
			}
		}
		_, err = b.Open(ctx, ws[1])
		return err
	}))
	sum := func(c *collect[p256.Scalar]) p256.Scalar { return c.all["a"].Add(c.all["b"]).Add(c.all["c"]) }
	g := mpctest.Group(3, 2)
	for _, shares := range []*collect[p256.Scalar]{&signing, &byMasks} {
		var product p256.Scalar
		for _, p := range g.Parties {
			product = product.Add(shares.all[p].Mul(inverseLagrange(g, p).Inverse()))
		}
		if product != sum(&left).Mul(sum(&right)) {
			t.Error("a product for signing is wrong")
		}
	}
}

// TestAdoptLongKey: values whose MAC key has 256 bits, as in the first version.
func TestAdoptLongKey(t *testing.T) {
	value, alpha, mac := map[mpc.PartyID]p256.Scalar{"a": randomScalar(), "b": randomScalar()}, map[mpc.PartyID]p256.Scalar{"a": randomScalar(), "b": randomScalar()}, randomScalar()
	v, key := value["a"].Add(value["b"]), alpha["a"].Add(alpha["b"])
	sk := map[mpc.PartyID]Share{
		"a": {value["a"], mac, alpha["a"]},
		"b": {value["b"], key.Mul(v).Sub(mac), alpha["b"]},
	}
	if keyLength([]p256.Scalar{p256.One(), alpha["a"]}) != numberDigits || keyLength([]p256.Scalar{p256.One()}) != keyDigits {
		t.Fatal("a key is taken for shorter or longer than it is")
	}
	missed(t, play(t, Full(), 2, nil, nil, func(ctx context.Context, b *box) error {
		x, err := b.Random(ctx, 1)
		if err != nil {
			return err
		}
		w, err := b.Mul(ctx, x, []Share{sk[b.self]})
		if err != nil {
			return err
		}
		opened, err := b.Open(ctx, append(x, w...))
		if err == nil && opened[1] != opened[0].Mul(v) {
			err = errors.New("the product is wrong")
		}
		return err
	}))
}

// TestFive: five operators, of whom four may be adversaries.
func TestFive(t *testing.T) {
	var opened collect[[]p256.Scalar]
	missed(t, play(t, Full(), 5, nil, nil, func(ctx context.Context, b *box) error {
		r, err := b.Random(ctx, 2)
		if err != nil {
			return err
		}
		c, err := b.Mul(ctx, r[:1], r[1:])
		if err != nil {
			return err
		}
		v, err := b.Open(ctx, append(r, c...))
		opened.put(b.self, v)
		return err
	}))
	if v := opened.all["e"]; len(v) != 3 || v[2] != v[0].Mul(v[1]) {
		t.Error("the product of two values is wrong")
	}
}

// altering replaces one message of one round, but for what it keeps: the session's
// id, where a message begins with it.
type altering struct {
	mpc.Network
	round   string
	keep    int
	payload []byte
}

func (a altering) Send(ctx context.Context, to mpc.PartyID, round string, b []byte) error {
	if round == a.round {
		b = slices.Concat(b[:a.keep], a.payload)
	}
	return a.Network.Send(ctx, to, round, b)
}

// FuzzMessage puts any bytes in place of one message of operator a: nobody
// panics, and b opens nothing but what was shared, or blames a.
func FuzzMessage(f *testing.F) {
	rounds := []string{"set-up/hello", "set-up/base", "set-up/extend", "set-up/key"}
	for _, r := range strings.Fields("1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19") {
		rounds = append(rounds, "main/"+r, "main/"+r+"/1", "main/"+r+"/2", "main/"+r+"c", "main/"+r+"o")
	}
	for i := range rounds {
		f.Add(uint8(i), []byte{})
	}
	f.Add(uint8(1), make([]byte, (baseRequest+baseReply)*columns))
	f.Add(uint8(2), make([]byte, extensionSize(2*columns)))
	f.Add(uint8(3), make([]byte, 2*seedSize*keyDigits))
	f.Add(uint8(4), make([]byte, 32*keyDigits*2))
	lasting := Full() // most of the time goes into base transfers
	f.Fuzz(func(t *testing.T, round uint8, payload []byte) {
		engine := lasting
		if rounds[int(round)%len(rounds)] == "set-up/base" {
			engine = Full()
		}
		keep := 0
		if name := rounds[int(round)%len(rounds)]; name == "set-up/base" || name == "set-up/extend" {
			keep = len(mpc.SessionID{})
		}
		var mu sync.Mutex
		shares, opened := map[mpc.PartyID]p256.Scalar{}, map[mpc.PartyID][]p256.Scalar{}
		wrap := func(net mpc.Network) mpc.Network {
			return altering{net, rounds[int(round)%len(rounds)], keep, payload}
		}
		errs := play(t, engine, 2, nil, wrap, func(ctx context.Context, b *box) error {
			r, err := b.Random(ctx, 2)
			if err != nil {
				return err
			}
			mu.Lock()
			shares[b.self] = r[0].Value
			mu.Unlock()
			c, w, err := b.MulOpen(ctx, r[:1], r[1:], []mpc.Scaling[Share]{{Xs: r[1:], By: r[0]}})
			if err != nil {
				return err
			}
			v, err := b.Open(ctx, append(r, w[0]...))
			mu.Lock()
			defer mu.Unlock()
			opened[b.self] = append(v, c...)
			return err
		})
		v := opened["b"]
		if errs["b"] == nil && (v[0] != shares["a"].Add(shares["b"]) || v[2] != v[0].Mul(v[1]) || v[3] != v[2]) {
			t.Fatal("b opened what was not shared")
		}
	})
}
