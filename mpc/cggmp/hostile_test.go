package cggmp

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/taurusgroup/multi-party-sig/pkg/math/polynomial"

	"zonesigner/mpc"
	"zonesigner/mpc/p256"
)

// recorder keeps what a party sent to another, by round.
type recorder struct {
	mu     sync.Mutex
	frames map[string][]byte
}

func (r *recorder) record(w *world, from, to mpc.PartyID) {
	r.frames = map[string][]byte{}
	w.cheater(from, func(p mpc.PartyID, round string, b []byte) []byte {
		r.mu.Lock()
		defer r.mu.Unlock()
		if p == to {
			r.frames[round] = clone(b)
		}
		return b
	})
}

// variants are v with one thing in it gone, null or one too many.
func variants(v any) []any {
	out := []any{nil}
	switch v := v.(type) {
	case map[any]any:
		for k, e := range v {
			with := func(e any, more int) map[any]any {
				c := map[any]any{}
				for k2, e2 := range v {
					c[k2] = e2
				}
				c[k] = e
				if more < 0 {
					delete(c, k)
				} else if more > 0 {
					c["Another"] = e
				}
				return c
			}
			out = append(out, with(e, -1), with(e, 1))
			for _, changed := range variants(e) {
				out = append(out, with(changed, 0))
			}
		}
	case []any:
		out = append(out, v[1:], append(v[:len(v):len(v)], v[0]))
		for _, changed := range variants(v[0]) {
			out = append(out, append([]any{changed}, v[1:]...))
		}
	case []byte:
		out = append(out, []byte{}, append(clone(v), make([]byte, maxInteger)...), "text", true)
	case bool:
		out = append(out, 1, []byte{1})
	}
	return out
}

// refusesVariants checks that a message of an honest party has its shape, and
// that nothing does from which something is missing.
func refusesVariants(t *testing.T, name string, s shape, message []byte) {
	t.Helper()
	if err := whole(s, message); err != nil {
		t.Errorf("%s: an honest message: %v", name, err)
	}
	var v any
	if err := cbor.Unmarshal(message, &v); err != nil {
		t.Fatal(err)
	}
	all := variants(v)
	for _, changed := range all {
		b, err := cbor.Marshal(changed)
		if err != nil {
			t.Fatal(err)
		}
		if whole(s, b) == nil {
			t.Errorf("%s: %x… has the shape, too", name, b[:min(40, len(b))])
		}
	}
	for _, cut := range []int{0, 1, len(message) / 2, len(message) - 1} {
		if whole(s, message[:cut]) == nil {
			t.Errorf("%s: %d bytes of %d have the shape, too", name, cut, len(message))
		}
	}
	if whole(s, append(clone(message), 0)) == nil {
		t.Errorf("%s: a byte more has the shape, too", name)
	}
}

// refusesVariants checks all that was recorded of one protocol.
func (r *recorder) refusesVariants(t *testing.T, label string, stages []stage) {
	t.Helper()
	for i, s := range stages {
		name := label + "/" + string(rune('2'+i))
		f, err := splitFrame(r.frames[name], i == 0)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		refusesVariants(t, name+" broadcast", s.broadcast, f.broadcast)
		if s.direct != nil {
			refusesVariants(t, name+" direct", s.direct, f.direct)
		}
		if _, err := decodeFrame(r.frames[name], s, i != 0); err == nil {
			t.Errorf("%s: a frame with an echo too many, or too few, is accepted", name)
		}
	}
}

var errPanic = errors.New("the process would have ended here")

// presignAgainst lets b, whose messages change alters, presign with the others
// of set, and returns how that ends for a.
func presignAgainst(t *testing.T, h holes, set mpc.SignerSet, change func(to mpc.PartyID, round string, b []byte) []byte) (*world, map[mpc.PartyID]error) {
	t.Helper()
	w := fixtureWorld(t)
	w.open(h)
	w.cheater("b", change)
	return w, w.among(set, func(ctx context.Context, net mpc.Network) (err error) {
		defer func() {
			if recover() != nil {
				err = errPanic
			}
		}()
		return w.signers[net.Self()].Prepare(ctx, net, w.key().ID, set, "a", 1, nil)
	})
}

// in changes the frame of one round of the first presignature.
func in(number string, first bool, change func(f *frame)) func(mpc.PartyID, string, []byte) []byte {
	return func(_ mpc.PartyID, round string, b []byte) []byte {
		if round != "chunk0/0/"+number {
			return b
		}
		f, err := splitFrame(b, first)
		if err != nil {
			return b
		}
		change(&f)
		return f.encode()
	}
}

// nullField makes W, a number in the proof of round 2, null: the library calls
// its methods all the same.
func nullField(f *frame) {
	at := bytes.Index(f.direct, []byte("\x61W\x58\x20"))
	f.direct = append(append(clone(f.direct[:at]), "\x61W\xf6"...), f.direct[at+4+32:]...)
}

// TestHostileMessages: whatever b sends, a names it and goes on living.
func TestHostileMessages(t *testing.T) {
	set := mpc.NewSignerSet("a", "b")
	for name, change := range map[string]func(mpc.PartyID, string, []byte) []byte{
		"a field that is null": in("2", true, nullField),
		"nothing for a alone":  in("2", true, func(f *frame) { f.direct = nil }),
		"an empty hello":       func(mpc.PartyID, string, []byte) []byte { return nil },
	} {
		_, errs := presignAgainst(t, holes{}, set, change)
		blames(t, errs["a"], "b")
		if t.Failed() {
			t.Fatalf("%s: %v", name, errs["a"])
		}
	}
}

// refusesHostileFrames checks frames that are worse than a message that lacks
// something, made of those of a presignature.
func (r *recorder) refusesHostileFrames(t *testing.T, stages []stage) {
	t.Helper()
	G, _ := group{}.NewBasePoint().MarshalBinary()
	for name, change := range map[string]func(f *frame){
		"no proof":     func(f *frame) { f.direct = append([]byte{0xa1, 0x65}, "Proof\xf6"...) },
		"no broadcast": func(f *frame) { f.broadcast = nil },
		"the message of another round": func(f *frame) {
			f.broadcast = slices.Concat([]byte{0xa1, 0x6d}, []byte("BigGammaShare\x58\x40"), G)
		},
		"one field twice": func(f *frame) { f.broadcast = bytes.Replace(f.broadcast, []byte("\x61G"), []byte("\x61K"), 1) },
		"a long frame":    func(f *frame) { f.direct = make([]byte, maxFrame) },
	} {
		f, err := splitFrame(r.frames["chunk0/0/2"], true)
		if err != nil {
			t.Fatal(err)
		}
		change(&f)
		if _, err := decodeFrame(f.encode(), stages[0], true); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	wrong := clone(r.frames["chunk0/0/2"])
	binary.BigEndian.PutUint32(wrong, 1<<31)
	if _, err := decodeFrame(wrong, stages[0], true); err == nil {
		t.Error("a broadcast longer than its frame is accepted")
	}
	// Round 3 has ciphertexts by the names of the others.
	for name, id := range map[string]string{"a stranger's name": "\x61\x07", "no name": "\x61\x00", "a name of two bytes": "\x62\x00\x03"} {
		f, err := splitFrame(r.frames["chunk0/0/3"], false)
		if err != nil {
			t.Fatal(err)
		}
		f.broadcast = bytes.ReplaceAll(f.broadcast, []byte("\x61\x03"), []byte(id))
		if _, err := decodeFrame(f.encode(), stages[1], false); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestLibraryPanics: with the shapes unchecked the library panics, which ends
// the session; without the guard it would end the process.
func TestLibraryPanics(t *testing.T) {
	set := mpc.NewSignerSet("a", "b")
	change := in("2", true, nullField)
	_, errs := presignAgainst(t, holes{noShapes: true}, set, change)
	if cheat, ok := mpc.AsCheat(errs["a"]); !ok || !strings.Contains(cheat.What, "panicked") {
		t.Errorf("error %v, want one that tells of a panic", errs["a"])
	}
	_, errs = presignAgainst(t, holes{noShapes: true, noGuard: true}, set, change)
	if !errors.Is(errs["a"], errPanic) {
		t.Errorf("error %v: without the guard nothing panics, the attack is wrong", errs["a"])
	}
}

// TestWrongProofIsNamed: a proof that does not verify names its sender among
// several.
func TestWrongProofIsNamed(t *testing.T) {
	_, errs := presignAgainst(t, holes{}, mpc.NewSignerSet("a", "b", "c"), in("2", true, func(f *frame) {
		at := bytes.Index(f.direct, []byte("\x61W\x58\x20"))
		f.direct[at+10] ^= 1
	}))
	blames(t, errs["a"], "b")
	blames(t, errs["c"], "b")
}

// TestNoncesStayWhenSumsDoNotFit: b says another share of δ than it computed.
// The library would answer with this party's nonces and Paillier plaintexts,
// to find out who it was, and then name the wrong one.
func TestNoncesStayWhenSumsDoNotFit(t *testing.T) {
	for _, open := range []bool{false, true} {
		w := fixtureWorld(t)
		w.open(holes{noStop: open})
		// Echoes would tell that a and b saw different broadcasts; so each
		// is given its own back.
		type half struct {
			from mpc.PartyID
			echo []byte
		}
		echoes := map[mpc.PartyID]chan half{"a": make(chan half, 1), "b": make(chan half, 1)}
		var published bool
		var mu sync.Mutex
		w.wrap = func(net mpc.Network) mpc.Network {
			self := net.Self()
			return tamper{net, func(to mpc.PartyID, round string, b []byte) []byte {
				switch round {
				case "chunk0/0/4":
					if self != "b" {
						return b
					}
					f, _ := splitFrame(b, false)
					at := bytes.Index(f.broadcast, []byte("DeltaShare\x58\x20")) + 12
					x, err := p256.ScalarFromBytes(f.broadcast[at : at+32])
					if err != nil {
						t.Error(err)
					}
					wrong := x.Add(p256.One()).Bytes()
					copy(f.broadcast[at:], wrong[:])
				case "chunk0/0/5", "chunk0/0/6":
					f, _ := splitFrame(b, false)
					echoes[to] <- half{self, clone(f.echo)}
					mine := <-echoes[self] // to's own, which it expects
					f.echo = mine.echo
					return f.encode()
				case "chunk0/0/7":
					mu.Lock()
					defer mu.Unlock()
					published = published || self == "a" && bytes.Contains(b, []byte("GammaShare"))
				}
				return b
			}}
		}
		set := mpc.NewSignerSet("a", "b")
		errs := w.prepare(set, 1)
		if _, ok := mpc.AsCheat(errs["a"]); !ok {
			t.Errorf("error %v, want a CheatError", errs["a"])
		}
		if published != open {
			t.Errorf("stopping taken out: %v; nonces published: %v", open, published)
		}
	}
}

// TestUnequalLastBroadcast: b says the same in the last round to a as to
// itself, but in other bytes. The library echoes all rounds but this one.
func TestUnequalLastBroadcast(t *testing.T) {
	set := mpc.NewSignerSet("a", "b")
	change := in("7", false, func(f *frame) {
		var v map[string]cbor.RawMessage
		if err := cbor.Unmarshal(f.broadcast, &v); err != nil {
			t.Error(err)
		}
		b := []byte{0xa4}
		for _, k := range []string{"PresignatureID", "DecommitmentID", "Proof", "S"} {
			name, _ := cbor.Marshal(k)
			b = append(append(b, name...), v[k]...)
		}
		f.broadcast = b
	})
	w, errs := presignAgainst(t, holes{}, set, change)
	blames(t, errs["a"], "b")
	if len(w.stores["a"].Order) != 0 {
		t.Error("a stored the presignature")
	}
	w, errs = presignAgainst(t, holes{noEcho: true}, set, change)
	if errs["a"] != nil || errs["b"] != nil || w.stores["a"].Order[0] == w.stores["b"].Order[0] {
		t.Errorf("without the echo a and b hold the same, or nothing: %v: the attack is wrong", errs)
	}
}

// TestPolynomialAllocatesByItsLength: the library allocates as many points as
// a peer says that there are (4 bytes can ask for 480 MiB).
func TestPolynomialAllocatesByItsLength(t *testing.T) {
	allocated := func(f func()) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	hostile := []byte{0, 0x10, 0, 0, 0xa0} // 2²⁰ points; then an empty map
	message, err := cbor.Marshal(hostile)
	if err != nil {
		t.Fatal(err)
	}
	if n := allocated(func() {
		if whole(exponent(1), message) == nil {
			t.Error("five bytes have the shape of a polynomial")
		}
	}); n > 16<<10 {
		t.Errorf("the check allocates %d bytes", n)
	}
	if n := allocated(func() { _ = polynomial.EmptyExponent(group{}).UnmarshalBinary(hostile) }); n < 16<<20 {
		t.Errorf("the library allocates %d bytes: the attack is wrong", n)
	}
	f := polynomial.NewPolynomialExponent(polynomial.NewPolynomial(group{}, 2, &scalar{random(t)}))
	if message, err = cbor.Marshal(f); err != nil || whole(exponent(2), message) != nil || whole(exponent(3), message) == nil {
		t.Errorf("polynomials of degree 2: %v", err)
	}
}

// TestUnequalGreetings: one that greets two others differently is noticed
// before anything is computed. The two would run sessions of different ids,
// and each would wait for messages that the other's library drops.
func TestUnequalGreetings(t *testing.T) {
	w := newWorld(t, 3, 1)
	w.cheater("c", func(to mpc.PartyID, round string, b []byte) []byte {
		if round == "hello" && to == "b" {
			b[0] ^= 1
		}
		return b
	})
	errs := w.among(w.group.Parties, func(ctx context.Context, net mpc.Network) error {
		_, err := newSession(ctx, net, w.group, [32]byte{}, holes{})
		return err
	})
	blames(t, errs["a"], "b", "c")
	blames(t, errs["b"], "a", "c")
}
