package knot

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"strconv"
	"strings"
	"time"
)

const (
	// batch is how many records one block carries: 0.83 s for 100,000
	// records, against 7.2 s with a block for each.
	batch = 2000
	// commitRate is how many records a second a commit is given time for,
	// with room for Knot's own validation (measured: 7,000).
	commitRate = 2000
	readTries  = 3
)

// ReadZone reads the zone's committed content and its serial. The records
// come from one version of the zone: Knot holds one version while it answers,
// and the SOA among them must have the serial that Knot names before or after.
//
// zone-read is used where it is safe, which is from 3.2.7 on. Before that it
// can crash knotd during a reload; the zone is then read within a transaction
// that is aborted, so a transaction of somebody else is ErrTransactionOpen.
func (c *Control) ReadZone(ctx context.Context, zone string) ([]Record, uint32, error) {
	zone = canonicalZone(zone)
	var err error
	for range readTries {
		var records []Record
		var serial uint32
		records, serial, err = c.readOnce(ctx, zone)
		if err == nil {
			return records, serial, nil
		}
		if !errors.Is(err, errSlow) && !errors.Is(err, errMoved) {
			break
		}
	}
	return nil, 0, fmt.Errorf("read zone %s: %w", zone, err)
}

var errMoved = errors.New("the zone changed while it was read")

func (c *Control) readOnce(ctx context.Context, zone string) ([]Record, uint32, error) {
	var reply string
	var before, after Status
	err := c.do(ctx, func(k *conn) (err error) {
		version, err := k.version()
		if err != nil {
			return err
		}
		if before, err = k.status(zone); err != nil {
			return err
		}
		if !before.Exists {
			return ErrZoneUnknown
		}
		if !before.HasSerial {
			return ErrZoneEmpty
		}
		switch {
		case zoneReadIsSafe(version):
			reply, err = k.askZone("zone-read", zone)
		case before.TransactionOpen && !c.isLeftOpen(zone):
			// Somebody else's. To ask for one all the same is not harmless: were the
			// refusal lost, we would take this one for ours and abort it.
			err = ErrTransactionOpen
		default:
			reply, err = k.readInTransaction(zone)
		}
		if err != nil {
			return err
		}
		after, err = k.status(zone)
		return err
	})
	if err != nil {
		c.abortAgain(ctx, zone)
		return nil, 0, err
	}
	records, err := parseRecords("zone-read", reply)
	if err != nil {
		return nil, 0, err
	}
	serial, err := apexSerial(zone, records)
	if err != nil {
		return nil, 0, err
	}
	if (serial != before.Serial || !before.HasSerial) && (serial != after.Serial || !after.HasSerial) {
		return nil, 0, fmt.Errorf("%w: records of serial %d, knot said %d before and %d after", errMoved, serial, before.Serial, after.Serial)
	}
	return records, serial, nil
}

// zoneReadIsSafe: 3.2.6 and older crash when a reload falls into a zone-read.
func zoneReadIsSafe(version string) bool {
	var major, minor, patch int
	if n, _ := fmt.Sscanf(version, "%d.%d.%d", &major, &minor, &patch); n != 3 {
		return false
	}
	switch {
	case major != 3:
		return major > 3
	case minor != 2:
		return minor > 2
	}
	return patch >= 7
}

func (k *conn) askZone(command, zone string) (string, error) {
	r := newRequest(command)
	r.unit(zone)
	return k.ask(r, k.ctl.timeout)
}

// readInTransaction begins, reads and aborts. While the transaction is open,
// reloads and DDNS updates wait, so it is open for the reading alone.
func (k *conn) readInTransaction(zone string) (string, error) {
	if err := k.begin(zone); err != nil {
		return "", err
	}
	reply, err := k.askZone("zone-get", zone)
	if aerr := k.abort(zone); err == nil {
		err = aerr
	}
	return reply, err
}

// begin opens a transaction, after clearing one of our own whose end was
// never confirmed.
func (k *conn) begin(zone string) error {
	if k.ctl.isLeftOpen(zone) {
		if err := k.abort(zone); err != nil {
			return err
		}
	}
	// From the moment that the request may have reached Knot, the
	// transaction counts as open until Knot says that it is not.
	k.ctl.setLeftOpen(zone, true)
	err := k.zoneCommand("zone-begin", zone, k.ctl.timeout)
	var refused *ControlError
	if errors.As(err, &refused) {
		k.ctl.setLeftOpen(zone, false)
	}
	return err
}

// abort ends our transaction. Where this conversation is broken or its context
// has ended, abortAgain tries on a new one, and else the next begin does it.
func (k *conn) abort(zone string) error {
	err := k.zoneCommand("zone-abort", zone, k.ctl.timeout)
	if err == nil || errors.Is(err, errNoTransaction) {
		k.ctl.setLeftOpen(zone, false)
		return nil
	}
	return err
}

// abortAgain clears a transaction of ours whose end is not confirmed, on a new
// conversation, even when ctx has ended.
func (c *Control) abortAgain(ctx context.Context, zone string) {
	if !c.isLeftOpen(zone) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), min(c.timeout, 5*time.Second))
	defer cancel()
	_, _ = c.AbortStale(ctx, zone)
}

func parseRecords(command, reply string) ([]Record, error) {
	// A record seldom takes less than 70 bytes of the reply.
	records := make([]Record, 0, len(reply)/70)
	err := eachRecord(command, reply, func(r Record) { records = append(records, r) })
	if err != nil {
		return nil, err
	}
	return records, nil
}

// eachRecord goes through a reply that is a zone.
func eachRecord(command, reply string, fn func(Record)) error {
	return eachUnit(reply, func(u *unit) error {
		if err := u.err(command); err != nil {
			return err
		}
		r, err := u.record()
		if err == nil {
			fn(r)
		}
		return err
	})
}

func apexSerial(zone string, records []Record) (uint32, error) {
	for _, r := range records {
		if r.isSOA() && strings.EqualFold(r.Owner, zone) {
			return r.soaSerial()
		}
	}
	return 0, fmt.Errorf("%w: zone %s was read without its soa", ErrProtocol, zone)
}

// Apply makes the change in one transaction, and returns when Knot serves the
// new serial. On any error nothing of the change is served, but for
// ErrUnavailable, after which the commit may have gone through, or may yet:
// apply the same change again, and ErrSerial with the served serial equal to
// the new one says that it has. ErrDiffers means that Knot does not hold what
// the change was made from: apply it in full.
//
// It is for a zone of the public Knot, which nobody else writes: a transaction
// that is open there is aborted, and the change tried once more.
// ErrTransactionOpen then means that somebody else begins them.
func (c *Control) Apply(ctx context.Context, zone string, ch Change) error {
	zone = canonicalZone(zone)
	serial, err := ch.soa(zone)
	if err != nil {
		return err
	}
	for _, records := range [][]Record{ch.Remove, ch.Add} {
		for _, r := range records {
			if err := r.check(zone); err != nil {
				return err
			}
		}
	}
	err = c.do(ctx, func(k *conn) error { return k.apply(zone, serial, ch) })
	if err != nil {
		c.abortAgain(ctx, zone)
		return fmt.Errorf("apply serial %d to zone %s: %w", serial, zone, err)
	}
	return nil
}

func (k *conn) apply(zone string, serial uint32, ch Change) error {
	err := k.begin(zone)
	if errors.Is(err, ErrTransactionOpen) {
		// From 3.4 on a zone-begin whose connection broke may be carried out
		// after the zone-abort that was to clear it, by another thread.
		if err = k.abort(zone); err == nil {
			err = k.begin(zone)
		}
	}
	if err != nil {
		return err
	}
	// Within the transaction the serial cannot move. 3.2 would let it stand
	// still or go back.
	before, err := k.status(zone)
	if err == nil && before.HasSerial && !serialAhead(before.Serial, serial) {
		err = fmt.Errorf("%w: served is %d", ErrSerial, before.Serial)
	}
	n := 0
	if err == nil {
		n, err = k.fill(zone, ch)
	}
	if err == nil {
		budget := k.ctl.timeout + time.Duration(n)*time.Second/commitRate
		err = k.zoneCommand("zone-commit", zone, budget)
	}
	if err != nil {
		_ = k.abort(zone) // Apply tries again when this fails
		return err
	}
	k.ctl.setLeftOpen(zone, false)
	after, err := k.status(zone)
	if err != nil {
		return err
	}
	if !after.HasSerial || after.Serial != serial {
		return fmt.Errorf("committed, but knot serves serial %d; who else writes this zone?", after.Serial)
	}
	return nil
}

// fill sends the change into the open transaction and counts the records.
// Removals come first: a name may go from A to CNAME, and an RRset may change
// its TTL.
func (k *conn) fill(zone string, ch Change) (int, error) {
	remove, add := ch.Remove, ch.Add
	if ch.Full {
		held, err := k.askZone("zone-get", zone)
		if err != nil {
			return 0, err
		}
		// With a million records this takes longer than knotd waits for a
		// client that says nothing; the transaction outlives the connection.
		k.hangUp()
		if k.ctl.slowWorker != nil {
			k.ctl.slowWorker()
		}
		remove, add, err = difference(held, ch.Add)
		if cerr := k.connect(); err == nil {
			err = cerr
		}
		if err != nil {
			return 0, err
		}
	}
	if err := k.send("zone-unset", zone, remove, false); err != nil {
		return 0, err
	}
	if err := k.send("zone-set", zone, add, true); err != nil {
		return 0, err
	}
	return len(remove) + len(add), nil
}

// send puts records in blocks of one command each, the SOA left out of
// removals.
func (k *conn) send(command, zone string, records []Record, ttl bool) error {
	for len(records) > 0 {
		n := min(batch, len(records))
		r := newRequest(command)
		for _, rec := range records[:n] {
			if command == "zone-unset" && rec.isSOA() {
				continue
			}
			r.unit(zone)
			r.item(itemOwner, rec.Owner)
			if ttl {
				r.item(itemTTL, strconv.FormatUint(uint64(rec.TTL), 10))
			}
			r.item(itemType, rec.Type)
			r.item(itemData, rec.Data)
		}
		records = records[n:]
		if len(r.buf) == 0 {
			continue
		}
		if err := k.units(r, k.ctl.timeout, nil); err != nil {
			return err
		}
	}
	return nil
}

// difference is what turns the zone in held, a reply to zone-get, into want, by
// text: the same record in two spellings is removed and added again, which
// comes to nothing. It keeps 16 bytes a record and not a second zone.
func difference(held string, want []Record) (remove, add []Record, err error) {
	seeds := [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}
	key := func(r Record) [2]uint64 {
		r.Owner = strings.ToLower(r.Owner)
		return [2]uint64{maphash.Comparable(seeds[0], r), maphash.Comparable(seeds[1], r)}
	}
	missing := make(map[[2]uint64]struct{}, len(want))
	for _, r := range want {
		missing[key(r)] = struct{}{}
	}
	err = eachRecord("zone-get", held, func(r Record) {
		k := key(r)
		if _, ok := missing[k]; ok {
			delete(missing, k)
		} else {
			remove = append(remove, r)
		}
	})
	if err != nil {
		return nil, nil, err
	}
	for _, r := range want {
		if _, ok := missing[key(r)]; ok {
			add = append(add, r)
		}
	}
	return remove, add, nil
}
