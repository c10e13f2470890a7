package pipeline

import "testing"

func TestThreeSign(t *testing.T) {
	w := newWorld(t, "", "a", "b", "c")
	serial := w.runAll("www A 192.0.2.10")
	w.change(2, "www A 192.0.2.11")
	w.level(serial)
}
