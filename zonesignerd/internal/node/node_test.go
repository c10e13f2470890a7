package node

import "testing"

// Three operators generate keys, sign a zone, and sign a change; what they
// serve is the same, byte for byte.
func TestThreeOperatorsSign(t *testing.T) {
	o := newOperators(t, 3, 1)
	o.write("example.", 1, "www A 192.0.2.10")
	o.startAll()
	o.add("example.")
	first := o.level("example.", 0)
	o.write("example.", 2, "www A 192.0.2.11")
	o.level("example.", first)
}
