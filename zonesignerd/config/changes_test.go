package config

import (
	"slices"
	"testing"
)

func TestChangesNamesTheKeys(t *testing.T) {
	a := DefaultDaemon("a", "/k", "0.0.0.0:7473")
	b := *a
	if got := a.Changes(&b); got != nil {
		t.Errorf("equal, and %q differ", got)
	}
	b.NATS.URLs = []string{"nats://x:1"}
	b.Pools.Depth++
	b.Log.Level = "debug"
	b.Operator = "b"
	if got, want := a.Changes(&b), []string{"operator", "nats.urls", "pools.depth", "log.level"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
