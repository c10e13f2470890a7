package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"zonesigner/mpc"
	"zonesigner/zonesignerd/internal/engines"
)

// The engines that a group may use. Those of ECDSA but for the last three need
// an honest majority.
const (
	MalShamir   = "mal-shamir"   // active security with abort
	Shamir      = "shamir"       // passive security
	MalRep3     = "mal-rep3"     // active security with abort, for three operators
	Rep3        = "rep3"         // passive security, for three operators
	Frost       = "frost"        // active security with abort; Ed25519, algorithm 15
	Mascot      = "mascot"       // active security with abort, threshold n-1
	MascotMinus = "mascot-minus" // the same with fewer checks, heuristic
	CGGMP       = "cggmp"        // active security with abort, any threshold; slow
)

var engineNames = []string{MalShamir, Shamir, MalRep3, Rep3, Frost, Mascot, MascotMinus, CGGMP}

// Engines lists the engines, the default first, parted by commas.
func Engines() string { return strings.Join(engineNames, ", ") }

// MaxOperators bounds a group.
const MaxOperators = 35

// Passive reports whether one altered daemon can take a key of the engine.
func Passive(engine string) bool { return engine == Shamir || engine == Rep3 }

// Algorithm is the DNSSEC algorithm of the engine's keys.
func Algorithm(engine string) uint8 {
	if engine == Frost {
		return 15
	}
	return 13
}

// CheckEngine reports that the engine is none, or cannot serve a group of so many
// operators with that threshold, and which can.
func (g *Group) CheckEngine(engine string) error {
	err := g.supports(engine)
	if err == nil {
		return nil
	}
	fit := slices.DeleteFunc(slices.Clone(engineNames), func(e string) bool { return g.supports(e) != nil })
	if len(fit) == 0 {
		return err
	}
	return fmt.Errorf("%w; for %d operators with threshold %d there are %s", err, len(g.Operators), g.Threshold, strings.Join(fit, ", "))
}

// supports asks the engine. It takes no names, which may not be right yet.
func (g *Group) supports(engine string) error {
	e, ok := engines.Find(engine)
	if !ok {
		return fmt.Errorf("engine %q is unknown", engine)
	}
	group := mpc.Group{T: g.Threshold}
	for i := range g.Operators {
		group.Parties = append(group.Parties, mpc.PartyID(strconv.Itoa(i)))
	}
	return e.Supports(group)
}
