package p256

// BaseMultBatch returns kᵢ·G for each of ks, normalized, in time that depends
// on their number alone.
func BaseMultBatch(ks []Scalar) []Point {
	out := make([]Point, len(ks))
	for i, k := range ks {
		out[i] = BaseMult(k)
	}
	return out
}

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
