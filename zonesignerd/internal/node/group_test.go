package node

import (
	"slices"
	"strings"
	"testing"
	"time"

	"zonesigner/mpc"
	"zonesigner/zonesignerd/config"
	"zonesigner/zonesignerd/internal/agree"
	"zonesigner/zonesignerd/internal/api"
)

// nextGroup is the group of the next epoch with other signer sets.
func (o *operators) nextGroup(sets ...string) []byte {
	o.t.Helper()
	next := *o.group
	next.Operators = slices.Clone(o.group.Operators)
	next.Epoch++
	next.SignerSets = nil
	for _, s := range sets {
		next.SignerSets = append(next.SignerSets, strings.Split(s, "+"))
	}
	text, err := config.FormatGroup(&next)
	must(o.t, err)
	return text
}

func (o *operators) stage(name string, text []byte) {
	o.t.Helper()
	_, err := o.nodes[name].StageGroup(o.t.Context(), api.StageGroup{File: "next.yaml", Group: string(text)})
	must(o.t, err)
}

func (o *operators) epoch(name string) int { return o.nodes[name].groups.file().Epoch }

func (o *operators) inEpoch(epoch int) {
	o.t.Helper()
	o.eventually(40*time.Second, "all operators enter the epoch and reach each other", func() bool {
		for _, name := range o.names {
			if o.epoch(name) != epoch {
				return false
			}
			for _, other := range o.names {
				if !o.nodes[name].isReady(mpc.PartyID(other)) {
					return false
				}
			}
		}
		return true
	})
}

// A group comes into force when all have staged it and not before, and signing
// goes on.
func TestGroupComesIntoForce(t *testing.T) {
	t.Parallel()
	o := newOperators(t, 3, 1)
	o.startAll()
	const zone = "example.org."
	o.write(zone, 1, "www A 192.0.2.10")
	o.add(zone)
	serial := o.level(zone, 0)
	next := o.nextGroup("a+b+c", "a+b")
	o.stage("a", next)
	o.stage("b", next)
	o.eventually(5*time.Second, "c hears of both", func() bool {
		r := o.nodes["c"].groupRequest()
		return r != nil && len(r.Asked) == 2
	})
	for _, name := range o.names {
		if o.epoch(name) != 1 {
			t.Fatalf("operator %s is in epoch %d before all have staged it", name, o.epoch(name))
		}
	}
	o.stage("c", next)
	o.inEpoch(2)
	o.write(zone, 2, "www A 192.0.2.11")
	o.level(zone, serial)
	if sets := o.nodes["c"].groups.file().Sets(config.MalShamir); len(sets) != 2 {
		t.Fatalf("signer sets in force are %v, expected the two of the new epoch", sets)
	}
}

// An operator that was away when the others entered the new epoch, and that
// heard nothing of the last one's staging, follows: the others' greetings say
// what they can no longer say in the old epoch.
func TestGroupRestartInTheMiddle(t *testing.T) {
	t.Parallel()
	o := newOperators(t, 3, 1)
	o.startAll()
	const zone = "example.org."
	o.write(zone, 1, "www A 192.0.2.10")
	o.add(zone)
	serial := o.level(zone, 0)
	next := o.nextGroup("a+b+c", "b+c")
	o.stage("c", next)
	o.stage("a", next)
	o.eventually(5*time.Second, "b hears of both", func() bool {
		r := o.nodes["b"].groupRequest()
		return r != nil && len(r.Asked) == 2
	})
	o.stop("c")
	o.stage("b", next)
	o.eventually(20*time.Second, "a and b enter the epoch", func() bool { return o.epoch("a") == 2 && o.epoch("b") == 2 })
	o.start("c")
	if o.epoch("c") != 1 {
		t.Fatal("c entered the epoch before it was told anything")
	}
	o.inEpoch(2)
	o.write(zone, 2, "www A 192.0.2.11")
	o.level(zone, serial)
}

// Who replaced what it had staged, too late, follows into what the others
// entered.
func TestGroupReplacedTooLate(t *testing.T) {
	greeted := map[mpc.PartyID][32]byte{}
	first, second := config.Group{Epoch: 2, Name: "x"}, config.Group{Epoch: 3, Name: "x"}
	g := groupState{
		view: mpc.Group{Parties: []mpc.PartyID{"a", "b", "c"}}, next: &second,
		files:  map[agree.Digest]groupFile{first.Digest(): {group: &first}, second.Digest(): {group: &second}},
		staged: map[mpc.PartyID]staged{"a": {Digest: second.Digest()}, "b": {Digest: first.Digest()}, "c": {Digest: first.Digest()}},
	}
	if f, ok := g.agreed("a", greeted); ok {
		t.Fatalf("epoch %d counts as agreed", f.group.Epoch)
	}
	greeted["b"] = first.Digest()
	if f, ok := g.agreed("a", greeted); !ok || f.group.Epoch != 2 {
		t.Fatal("a does not follow b, which entered the first file")
	}
}
