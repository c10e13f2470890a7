package cggmp

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"testing"

	"zonesigner/mpc"
	"zonesigner/mpc/mpctest"
)

// The adversary here is a, which rushes. Nonces end the message that begins
// with the statement.

var (
	pairAB = mpc.NewSignerSet("a", "b")
	allABC = mpc.NewSignerSet("a", "b", "c")
)

// corrupt gives a a puppet in the next sessions.
func (w *world) corrupt(alter mpctest.Alter) (p *mpctest.Puppet) {
	p, w.wrap = mpctest.Corrupt(alter)
	return p
}

// TestNonceChosenLast: a, whose nonce comes last, chooses R' when the message
// is fixed: here one whose x begins with a byte of zeros.
func TestNonceChosenLast(t *testing.T) {
	for _, open := range []bool{false, true} {
		inDealtWorld(t, 2, 1, func(t *testing.T, w *world) {
			w.open(holes{noNonceCheck: open})
			session := w.request(pairAB, w.deal(pairAB, 1), "a message")
			own := w.own("a", pairAB, session.Requests[0].Tuples[0])
			var share []byte // of s, that fits the nonce
			puppet := w.corrupt(func(p *mpctest.Puppet, ctx context.Context, _ mpc.PartyID, round string, b []byte) []byte {
				switch round {
				case "run0/statement":
					theirs := p.Look(ctx, "b", round)
					nonces := map[mpc.PartyID][]byte{"b": theirs[len(theirs)-sizeNonce:]}
					b, share = w.chooseNonce(session, own, nonces, b)
				case "run0/s":
					return share
				}
				return b
			})
			sigs, errs := w.sign(session, nil)
			if !open {
				blames(t, errs["b"], "a")
				if puppet.Got["b run0/s"] != nil {
					t.Error("b gave a share for an R that a has chosen")
				}
				return
			}
			if errs["b"] != nil || sigs["b"][0][0][0] != 0 {
				t.Errorf("with nonces unchecked a does not choose R: %v: the attack is wrong", errs["b"])
			} else {
				w.mustVerify("a message", sigs["b"][0][0])
			}
		})
	}
}

// chooseNonce tries nonces of a, at the end of message b, until r begins with
// zeros, and returns a's share of s for it.
func (w *world) chooseNonce(session mpc.SignSession, own *tuple, nonces map[mpc.PartyID][]byte, b []byte) (message, share []byte) {
	mine := b[len(b)-sizeNonce:]
	nonces["a"] = mine
	digests := [][32]byte{sha256.Sum256([]byte("a message"))}
	req := session.Requests[0]
	sp := &spending{set: session.Set, parts: []part{{public: w.key().Public, manifest: req.Manifest, tuples: req.Tuples[0], own: []*tuple{own}, digests: digests}}}
	f := &fresh{session: session, spending: sp, holes: holes{noNonceCheck: true}}
	for i := uint64(0); ; i++ {
		binary.BigEndian.PutUint64(mine, i)
		var err error
		if sp.seed, err = f.seed(nonces); err != nil {
			w.t.Error(err)
			return b, nil
		}
		all, err := sp.randomise(holes{})
		if err != nil {
			w.t.Error(err)
			return b, nil
		}
		if r := all[0].r.Bytes(); r[0] == 0 {
			return b, all[0].share.AppendBytes(nil)
		}
	}
}

// TestWrongNonceIsNamed: who opens something else than it committed to is named
// by all others, and gets no share.
func TestWrongNonceIsNamed(t *testing.T) {
	for name, change := range map[string]func(b []byte) []byte{
		"another nonce":        func(b []byte) []byte { b[len(b)-1] ^= 1; return b },
		"another of the first": func(b []byte) []byte { b[len(b)-sizeNonce-1] ^= 1; return b },
		"one nonce too few":    func(b []byte) []byte { return b[:len(b)-sizeNonce] },
		"one byte too many":    func(b []byte) []byte { return append(b, 0) },
		"no nonces":            func(b []byte) []byte { return b[:len(b)-2*sizeNonce] },
		"nonces the wrong way": func(b []byte) []byte {
			n := len(b) - 2*sizeNonce
			return slices.Concat(b[:n], b[n+sizeNonce:], b[n:n+sizeNonce])
		},
		"the second nonce doubled": func(b []byte) []byte { copy(b[len(b)-2*sizeNonce:], b[len(b)-sizeNonce:]); return b },
	} {
		inDealtWorld(t, 3, 1, func(t *testing.T, w *world) {
			session := w.request(allABC, w.deal(allABC, 2), "one", "two")
			puppet := w.corrupt(mpctest.Blind(func(_ mpc.PartyID, round string, b []byte) []byte {
				if round == "run0/statement" {
					return change(b)
				}
				return b
			}))
			_, errs := w.sign(session, nil)
			blames(t, errs["b"], "a")
			blames(t, errs["c"], "a")
			if puppet.Got["b run0/s"] != nil || puppet.Got["c run0/s"] != nil {
				t.Errorf("%s: a got a share", name)
			}
		})
	}
}

// TestUnequalNonces: a member that gives two others different nonces would
// have them release shares for different R.
func TestUnequalNonces(t *testing.T) {
	for _, open := range []bool{false, true} {
		inDealtWorld(t, 3, 1, func(t *testing.T, w *world) {
			w.open(holes{noNonceCheck: open})
			session := w.request(allABC, w.deal(allABC, 1), "a message")
			puppet := w.corrupt(mpctest.Blind(func(to mpc.PartyID, round string, b []byte) []byte {
				if round == "run0/statement" && to == "b" {
					clear(b[len(b)-sizeNonce:])
				}
				return b
			}))
			_, errs := w.sign(session, nil)
			if !open {
				blames(t, errs["b"], "a")
			}
			if both := puppet.Got["b run0/s"] != nil && puppet.Got["c run0/s"] != nil; both != open {
				t.Errorf("nonces unchecked: %v; b and c gave shares: %v", open, both)
			}
		})
	}
}

// TestSplitCommitments: a commits to other nonces towards c than towards b, and
// opens to each what it was told. Without the view in the chunk's id, they
// release shares for different R.
func TestSplitCommitments(t *testing.T) {
	for _, open := range []bool{false, true} {
		inDealtWorld(t, 3, 1, func(t *testing.T, w *world) {
			w.open(holes{noView: open})
			other := make([]byte, sizeNonce)
			_, _ = rand.Read(other)
			w.corrupt(mpctest.Blind(func(to mpc.PartyID, round string, b []byte) []byte {
				if round == "chunk0/nonces" && to == "c" {
					c, err := (&tuple{R: w.dealer.R}).commitment("a", other)
					if err != nil {
						t.Error(err)
					}
					return c[:]
				}
				return b
			}))
			errs := w.prepare(allABC, 1)
			if !open {
				blames(t, errs["b"], "a", "c")
				blames(t, errs["c"], "a", "b")
				if len(w.stores["b"].Order)+len(w.stores["c"].Order) > 0 {
					t.Error("a chunk is stored that members hold different commitments of")
				}
				return
			}
			session := w.request(allABC, mpc.TupleRange{Chunk: w.stores["b"].Order[0], Count: 1}, "a message")
			puppet := w.corrupt(mpctest.Blind(func(to mpc.PartyID, round string, b []byte) []byte {
				if round == "run0/statement" && to == "c" {
					copy(b[len(b)-sizeNonce:], other)
				}
				return b
			}))
			_, errs = w.sign(session, nil)
			if puppet.Got["b run0/s"] == nil || puppet.Got["c run0/s"] == nil {
				t.Errorf("without views b and c do not both give shares: %v: the attack is wrong", errs)
			}
		})
	}
}

// TestCopiedCommitment: what another member committed to, or the same member
// for another tuple, is no commitment that a can open.
func TestCopiedCommitment(t *testing.T) {
	for name, c := range map[string]struct {
		copyOf func(ts []*tuple) [sizeCommitment]byte // what a sends for the first tuple
		nonce  func(p *mpctest.Puppet, ctx context.Context, b []byte) []byte
	}{
		"of b": {
			func(ts []*tuple) [sizeCommitment]byte { return ts[0].commitments[1] },
			func(p *mpctest.Puppet, ctx context.Context, _ []byte) []byte {
				theirs := p.Look(ctx, "b", "run0/statement")
				return theirs[len(theirs)-2*sizeNonce:][:sizeNonce]
			},
		},
		"of another tuple": {
			func(ts []*tuple) [sizeCommitment]byte { return ts[1].commitments[0] },
			func(_ *mpctest.Puppet, _ context.Context, b []byte) []byte { return b[len(b)-sizeNonce:] },
		},
	} {
		inDealtWorld(t, 2, 1, func(t *testing.T, w *world) {
			session := w.request(pairAB, w.deal(pairAB, 2), "one", "two")
			for _, p := range pairAB {
				chunk := w.stores[p].Chunks[session.Requests[0].Tuples[0].Chunk]
				ts, err := decodeChunk(chunk.Blob, 2, 0, 2)
				if err != nil {
					t.Fatal(err)
				}
				ts[0].commitments[0] = c.copyOf(ts)
				if chunk.Blob, err = encodeChunk(ts, 2); err != nil {
					t.Fatal(err)
				}
				w.stores[p].Chunks[chunk.ID] = chunk
			}
			w.corrupt(func(p *mpctest.Puppet, ctx context.Context, _ mpc.PartyID, round string, b []byte) []byte {
				if round == "run0/statement" {
					copy(b[len(b)-2*sizeNonce:], c.nonce(p, ctx, b))
				}
				return b
			})
			_, errs := w.sign(session, nil)
			blames(t, errs["b"], "a")
			if t.Failed() {
				t.Fatal(name)
			}
		})
	}
}
