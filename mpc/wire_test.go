package mpc

import (
	"bytes"
	"encoding/binary"
	"testing"
)

func TestReader(t *testing.T) {
	b := AppendText(nil, "name")
	b = append(b, 7)
	b = binary.BigEndian.AppendUint32(b, 1<<31)
	b = binary.BigEndian.AppendUint64(b, 1<<63)
	b = append(b, "rest"...)
	r := NewReader(b)
	if r.Text() != "name" || r.Byte() != 7 || r.Uint32() != 1<<31 || r.Uint64() != 1<<63 || r.Done() || r.Len() != 4 {
		t.Error("other values come back")
	}
	if !bytes.Equal(r.Take(4), []byte("rest")) || !r.Done() || r.Short() {
		t.Error("the end is not where it is")
	}
	for n := range b { // cut short anywhere
		r := NewReader(b[:n])
		r.Text()
		r.Byte()
		r.Uint32()
		r.Uint64()
		if r.Take(4) != nil || r.Done() || !r.Short() {
			t.Errorf("%d bytes of %d are enough", n, len(b))
		}
		if r.Byte() != 0 || r.Uint32() != 0 || r.Uint64() != 0 || r.Text() != "" {
			t.Errorf("after a short read of %d bytes something comes back", n)
		}
	}
	if r := NewReader(b); r.Take(-1) != nil || r.Done() {
		t.Error("a negative length is taken")
	}
}
