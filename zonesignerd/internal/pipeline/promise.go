package pipeline

import (
	"fmt"
	"strings"

	"zonesigner/zonesignerd/internal/agree"
)

// promise durably records the one manifest that this operator stands by for
// an output serial. Another manifest for the same serial is refused, and so is
// the same one once a session has begun under it: two sessions make two sets
// of signatures, and so two zones under one serial. fresh tells that there was
// none before.
func (z *Zone) promise(body *Proposal) (fresh bool, err error) {
	key := promiseKey(z.name, body.Serial)
	old, err := z.d.Store.Get(key)
	if err != nil {
		return false, err
	}
	if old == nil {
		if err := z.d.Store.Put(key, body.Manifest[:]); err != nil {
			return false, err
		}
		fresh = true
	} else if string(old) != string(body.Manifest[:]) {
		z.mu.Lock()
		free := body.Serial + 1
		if z.serial != 0 && serialLess(free, z.serial) {
			free = z.serial
		}
		z.serial = free
		z.mu.Unlock()
		return false, &serialError{free: free}
	}
	z.mu.Lock()
	z.tried = body
	z.mu.Unlock()
	return fresh, nil
}

// begun is appended to a promise's manifest when a session begins under it.
const begun = "\x01"

// begin uses the promise up: this session is the only one under it.
func (z *Zone) begin(body *Proposal) error {
	return z.d.Store.Put(promiseKey(z.name, body.Serial), append(body.Manifest[:len(body.Manifest):len(body.Manifest)], begun...))
}

// extend makes a promise under which a session has begun longer by the
// manifest of the ZONEMD record, once: there is no second record under a
// serial, whatever restarts.
func (z *Zone) extend(body *Proposal, zonemd agree.Digest) error {
	key := promiseKey(z.name, body.Serial)
	old, err := z.d.Store.Get(key)
	if err != nil {
		return err
	}
	first := string(body.Manifest[:]) + begun
	if string(old) != first && !z.holes.manyZONEMD {
		return fmt.Errorf("serial %d is promised to no session that waits for its ZONEMD record", body.Serial)
	}
	return z.d.Store.Put(key, append([]byte(first), zonemd[:]...))
}

// standBy uses the promise up for a zone that was signed without this operator:
// it certifies that one, and takes part in no session for its serial.
func (z *Zone) standBy(body *Proposal) error {
	old, err := z.d.Store.Get(promiseKey(z.name, body.Serial))
	if err != nil {
		return err
	}
	if strings.HasPrefix(string(old), string(body.Manifest[:])+begun) {
		return nil
	}
	if _, err := z.promise(body); err != nil {
		return err
	}
	return z.begin(body)
}

// unpromise takes back a promise under which this operator has taken part in
// no session: what all members accepted, and one of them did not sign for,
// cannot come to be. Without that, proposals that are given up would use up
// serials until none follows from the policy.
func (z *Zone) unpromise(body *Proposal) {
	if z.holes.noUnpromise {
		return
	}
	if err := z.d.Store.Delete(promiseKey(z.name, body.Serial)); err != nil {
		z.log.Error("promise not taken back", "serial", body.Serial, "err", err)
	}
}

// serialError says that an output serial is taken by another manifest.
type serialError struct{ free uint32 }

func (e *serialError) Error() string {
	return fmt.Sprintf("the output serial was promised to another manifest; %d is free", e.free)
}

func promiseKey(zone string, serial uint32) string {
	return fmt.Sprintf("promise/%s/%010d", zone, serial)
}

// forget drops promises up to serial, which is certified now.
func (z *Zone) forget(serial uint32) error {
	names, err := z.d.Store.List("promise/" + z.name + "/")
	if err != nil {
		return err
	}
	for _, name := range names {
		var s uint32
		if _, err := fmt.Sscanf(name[len("promise/"+z.name+"/"):], "%d", &s); err != nil {
			continue
		}
		if s == serial || !serialLess(serial, s) {
			if err := z.d.Store.Delete(name); err != nil {
				return err
			}
		}
	}
	return nil
}
