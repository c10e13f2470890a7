package p256

// MultiScalarMult returns Σ kᵢ·Pᵢ over public data: its time depends on all
// of it. It panics if the lengths differ.
func MultiScalarMult(ks []Scalar, ps []Point) Point {
	sameLength(len(ks), len(ps))
	var sum Point
	for i, k := range ks {
		sum = sum.Add(ps[i].Mult(k))
	}
	return sum
}
