// Package localkeys signs zones with keys that this machine can use on its
// own: in files, or in a PKCS #11 token. Groups and their protocols have no
// part in it.
//
// A Key is loaded by Load or made by Create, and a plan signed by Sign. Every
// signature is verified before it is returned, so that a fault of the machine
// or of a token is found here and not by resolvers.
package localkeys

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"zonesigner/dnssec"
)

// Key is a key of a zone and what signs with it. It is safe for concurrent
// use.
type Key struct {
	dnssec.Key
	Source string // where it is from, for people: a file, a token's label
	signer signer // nil: the key is published and signs nothing
}

// signer makes and checks signatures of one key.
type signer interface {
	// sign writes n verified signatures, one after the other, to sigs, which
	// has the room for exactly these. message(i) is valid until it is called
	// again.
	sign(n int, message func(i int) []byte, sigs []byte) error
	// verify returns the indexes of the signatures that are false. signed(i)
	// is a message and its signature, of any length, valid until it is called
	// again.
	verify(n int, signed func(i int) (message []byte, sig string)) (bad []int, err error)
}

// Format keeps every printing verb from what signs.
func (k *Key) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "key %d of algorithm %d from %s", k.KeyTag(), k.Algorithm, k.Source)
}

// ForPlan are the keys as a plan takes them.
func ForPlan(keys []*Key) []dnssec.Key {
	out := make([]dnssec.Key, len(keys))
	for i, k := range keys {
		out[i] = k.Key
	}
	return out
}

// batchSize is how many signatures are made at once: enough to share the
// inversions, few enough to stay in a processor's cache.
const batchSize = 1024

// Sign makes the signatures of a plan, in its order. threads bounds how many
// CPUs work; 0: all.
func Sign(ctx context.Context, plan *dnssec.Plan, keys []*Key, threads int) ([]string, error) {
	sigs := make([]string, plan.Len())
	for _, k := range keys {
		items := plan.ItemsOf(k.ID)
		if len(items) > 0 && k.signer == nil {
			return nil, fmt.Errorf("%v has no private half here, and is to sign", k)
		}
		err := batches(ctx, len(items), threads, func(lo, hi int) error {
			var buf []byte
			flat := make([]byte, (hi-lo)*k.SignatureSize())
			err := k.signer.sign(hi-lo, func(i int) []byte {
				buf = plan.AppendMessage(buf[:0], items[lo+i])
				return buf
			}, flat)
			if err != nil {
				return fmt.Errorf("signing with %v: %w", k, err)
			}
			all := string(flat)
			for i := lo; i < hi; i++ {
				sigs[items[i]], all = all[:k.SignatureSize()], all[k.SignatureSize():]
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return sigs, nil
}

// CheckKept verifies the signatures that a plan keeps, and returns the plan
// with the false ones to be made anew, and how many those are.
func CheckKept(ctx context.Context, plan *dnssec.Plan, keys []*Key, threads int) (*dnssec.Plan, int, error) {
	var mu sync.Mutex
	var renew []dnssec.Kept
	for _, k := range keys {
		kept := plan.KeptOf(k.ID)
		if k.signer == nil {
			continue // signs nothing, so nothing of it is kept
		}
		err := batches(ctx, len(kept), threads, func(lo, hi int) error {
			var buf []byte
			bad, err := k.signer.verify(hi-lo, func(i int) ([]byte, string) {
				var sig string
				buf, sig = plan.KeptSignature(buf[:0], kept[lo+i])
				return buf, sig
			})
			mu.Lock()
			defer mu.Unlock()
			for _, i := range bad {
				renew = append(renew, kept[lo+i])
			}
			return err
		})
		if err != nil {
			return nil, 0, err
		}
	}
	if len(renew) == 0 {
		return plan, 0, nil
	}
	return plan.Renew(renew), len(renew), nil
}

// batches calls f on ranges that cover [0, n) on several goroutines, until
// one fails.
func batches(ctx context.Context, n, threads int, f func(lo, hi int) error) error {
	if threads <= 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	size := max(min(batchSize, n/(4*threads)), 16)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(threads, n/size+1) {
		wg.Go(func() {
			for ctx.Err() == nil {
				lo := int(next.Add(int64(size))) - size
				if lo >= n {
					return
				}
				if err := f(lo, min(lo+size, n)); err != nil {
					cancel(err)
				}
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// Roles says what keys sign when no ZSK of their algorithm is there: those with
// flags 257 are CSKs then. It reports a set that cannot sign a zone.
func Roles(keys []*Key) error {
	has := func(algorithm, flags uint16) bool {
		return slices.ContainsFunc(keys, func(k *Key) bool {
			return k.signer != nil && uint16(k.Algorithm) == algorithm && k.Flags == flags
		})
	}
	signing := false
	for _, k := range keys {
		algorithm := uint16(k.Algorithm)
		switch {
		case k.signer == nil:
		case !has(algorithm, 257):
			return fmt.Errorf("%v is a ZSK, and there is no KSK of algorithm %d, which would sign the DNSKEY RRset", k, algorithm)
		case !has(algorithm, 256):
			k.CSK = true
		}
		signing = signing || k.signer != nil
	}
	if !signing {
		return errors.New("no key that signs")
	}
	return nil
}
