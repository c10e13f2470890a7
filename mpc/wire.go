package mpc

import "encoding/binary"

// MaxName bounds a name (of an operator, a key, an engine) in what is encoded.
const MaxName = 255

// MaxMembers bounds the operators in what is encoded.
const MaxMembers = 64

// AppendText appends one byte of length and the text, at most MaxName bytes.
func AppendText(b []byte, text string) []byte {
	return append(append(b, byte(len(text))), text...)
}

// Reader takes apart what AppendText and encoding/binary's big-endian order put
// together. After a short read everything else is zero, and Done is false: a
// decoder reads all fields and asks once.
type Reader struct {
	b     []byte
	short bool
}

// NewReader reads b, which must not change meanwhile.
func NewReader(b []byte) *Reader { return &Reader{b: b} }

// Take returns the next n bytes, a part of what is read; nil when they are not
// there.
func (r *Reader) Take(n int) []byte {
	if r.short || n < 0 || len(r.b) < n {
		r.short = true
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

// Byte returns the next byte.
func (r *Reader) Byte() byte {
	if b := r.Take(1); b != nil {
		return b[0]
	}
	return 0
}

// Uint32 returns the next four bytes as a number.
func (r *Reader) Uint32() uint32 {
	if b := r.Take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

// Uint64 returns the next eight bytes as a number.
func (r *Reader) Uint64() uint64 {
	if b := r.Take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// Text returns the next text.
func (r *Reader) Text() string { return string(r.Take(int(r.Byte()))) }

// Len is how many bytes are left.
func (r *Reader) Len() int { return len(r.b) }

// Short reports whether a read went past the end.
func (r *Reader) Short() bool { return r.short }

// Done reports whether every byte was read, and none too many.
func (r *Reader) Done() bool { return !r.short && len(r.b) == 0 }
