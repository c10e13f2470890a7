package run

import (
	"reflect"
	"testing"

	"zonesigner/measure"
)

// FuzzSummary wants that what can be read is written as it was, and that
// nothing else breaks anything.
func FuzzSummary(f *testing.F) {
	s := Summary{Rank: 7, Name: "example.org", Class: measure.MoreThanOne, Status: measure.NoError, Signers: measure.SignersOne,
		Operators: []string{"amazon", "ns1"}, Reasons: []measure.Code{measure.OtherOperators}, offset: 1 << 40, length: 700}
	f.Add(s.encode())
	f.Add([]byte{1, 1, 1, 1, 1, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := decode(b)
		if err != nil {
			return
		}
		if again, err := decode(s.encode()); err != nil || !reflect.DeepEqual(again, s) {
			t.Errorf("%+v, then %+v, %v", s, again, err)
		}
	})
}
