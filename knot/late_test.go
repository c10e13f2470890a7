package knot

import (
	"bytes"
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
)

// manyThreads is a Knot as 3.4 and later are: a request whose connection broke
// is carried out all the same, by a thread of its own, after what came later.
type manyThreads struct {
	serial string
	open   bool
	cut    bool     // break the connection at the next zone-begin, carry it out late
	late   bool     // a zone-begin waits for the next request to be answered
	again  bool     // somebody else begins a transaction after each zone-abort
	asked  []string // zone-begin, zone-abort and zone-commit, in order
}

func (k *manyThreads) serve(c net.Conn) {
	for {
		req, err := readRequest(c)
		if err != nil {
			return
		}
		var out []byte
		i := slices.IndexFunc(transactionCommands, func(s string) bool { return bytes.Contains(req, []byte(s)) })
		command := ""
		if i >= 0 {
			command = transactionCommands[i]
			k.asked = append(k.asked, strings.TrimPrefix(command, "zone-"))
		}
		switch {
		case command == "zone-begin" && k.cut:
			k.cut, k.late = false, true
			return
		case command == "zone-begin" && k.open:
			out = unitBytes(itemError, "too many transactions")
		case command == "zone-begin":
			k.open = true
		case command != "" && !k.open:
			out = unitBytes(itemError, "no active transaction")
		case command == "zone-abort":
			k.open = k.again
		case command == "zone-commit":
			k.open, k.serial = false, "2"
		case bytes.Contains(req, []byte("zone-status")):
			out = unitBytes(itemZone, "z.", itemType, "serial", itemData, k.serial)
			if k.open {
				out = append(out, unitBytes(itemZone, "z.", itemType, "transaction", itemData, "open")...)
			}
		case bytes.Contains(req, []byte("status")):
			out = unitBytes(itemData, "Version: 3.2.6")
		}
		if k.late && command == "zone-abort" {
			k.open, k.late = true, false
		}
		if _, err := c.Write(append(out, unitBlock)); err != nil {
			return
		}
	}
}

var transactionCommands = []string{"zone-begin", "zone-abort", "zone-commit"}

// A zone-begin that takes effect after the zone-abort that was to clear it
// leaves a transaction that nobody knows of: the next push clears it.
func TestBeginCarriedOutLate(t *testing.T) {
	k := &manyThreads{serial: "1", cut: true}
	ctl := fake(t, k.serve)
	change := Change{Add: []Record{{Owner: "z.", TTL: 1, Type: "SOA", Data: "ns. h. 2 1 1 1 1"}}}
	if err := ctl.Apply(context.Background(), "z.", change); !errors.Is(err, ErrUnavailable) {
		t.Fatal(err)
	}
	if !k.open || ctl.isLeftOpen("z.") {
		t.Fatal("the late zone-begin is not what this test is about")
	}
	if err := ctl.Apply(context.Background(), "z.", change); err != nil {
		t.Fatal(err)
	}
	if want := []string{"begin", "abort", "begin", "abort", "begin", "commit"}; !slices.Equal(k.asked, want) || k.open {
		t.Fatalf("%v, expected %v", k.asked, want)
	}
}

// Somebody who begins one transaction after another is reported, not fought.
func TestTransactionsOfSomebodyElse(t *testing.T) {
	k := &manyThreads{serial: "1", open: true, again: true}
	ctl := fake(t, k.serve)
	change := Change{Add: []Record{{Owner: "z.", TTL: 1, Type: "SOA", Data: "ns. h. 2 1 1 1 1"}}}
	if err := ctl.Apply(context.Background(), "z.", change); !errors.Is(err, ErrTransactionOpen) {
		t.Fatal(err)
	}
	if want := []string{"begin", "abort", "begin"}; !slices.Equal(k.asked, want) {
		t.Fatalf("%v, expected %v", k.asked, want)
	}
}

// Reading is for the hidden Knot, where the transaction may be somebody's edit.
// One that is open is not ours, also where the conversation breaks at the
// moment at which Knot would say so.
func TestReadingAbortsNothing(t *testing.T) {
	for _, cut := range []bool{false, true} {
		k := &manyThreads{serial: "1", open: true, cut: cut}
		ctl := fake(t, k.serve)
		if _, _, err := ctl.ReadZone(context.Background(), "z."); !errors.Is(err, ErrTransactionOpen) {
			t.Fatal(err)
		}
		if len(k.asked) != 0 || !k.open {
			t.Fatalf("reading beside an open transaction asked for %v", k.asked)
		}
	}
}
