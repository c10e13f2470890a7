package figures

import (
	"testing"
	"testing/synctest"
	"time"
)

// One signature with all phases waits for as many ways between operators as
// docs/benchmarks.md says: those of the set-up and of the chunk, then two round
// trips, or three, as TestRoundTrips has them.
func TestWaysOfAllPhases(t *testing.T) {
	const way = 120 * time.Millisecond
	for engine, ways := range map[string]struct{ preparing, signing int }{
		"shamir": {2 + 1, 4}, "rep3": {2 + 1, 4}, "mal-shamir": {2 + 5, 4}, "mal-rep3": {2 + 5, 4}, "frost": {2 + 2, 4},
		"mascot": {2 + 12, 6}, "mascot-minus": {2 + 12, 6},
	} {
		t.Run(engine, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g, err := newGroup(t.Context(), plan(t, engine, Memory, Setting{"240ms", 2 * way}, 0))
				if err != nil {
					t.Fatal(err)
				}
				defer g.close()
				if err := g.keyGeneration(t.Context(), new(Row)); err != nil {
					t.Fatal(err)
				}
				preparing, err := g.prepare(t.Context(), 1, func(int) {})
				if err != nil {
					t.Fatal(err)
				}
				signing, err := g.sign(t.Context(), 1)
				if err != nil {
					t.Fatal(err)
				}
				if preparing != time.Duration(ways.preparing)*way || signing != time.Duration(ways.signing)*way {
					t.Errorf("preparing took %v and signing %v, %.1f and %.1f ways; want %d and %d",
						preparing, signing, float64(preparing)/float64(way), float64(signing)/float64(way), ways.preparing, ways.signing)
				}
			})
		})
	}
}
