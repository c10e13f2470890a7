package cggmp

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// A shape says what one item of CBOR (RFC 8949) must look like. The library
// decodes whatever it gets: it dereferences what is missing, and allocates by
// counts that a peer chose. So it gets only what has its shape: every field
// there once and none besides, every length known, nothing null.
//
// A shape reads one item from b and returns what follows it. It allocates
// nothing but errors.
type shape func(b []byte) (rest []byte, err error)

// Major types of CBOR (RFC 8949, section 3.1).
const (
	majorBytes  = 2
	majorText   = 3
	majorArray  = 4
	majorMap    = 5
	majorTag    = 6
	majorSimple = 7
)

// Items of one byte and the tag of a bignum (RFC 8949, sections 3.3 and 3.4.3).
const (
	simpleFalse = 20
	simpleTrue  = 21
	tagBignum   = 2
)

var errShort = errors.New("it ends early")

// head reads the head of an item in its shortest form. Indefinite lengths
// have none.
func head(b []byte) (major byte, argument uint64, rest []byte, err error) {
	if len(b) == 0 {
		return 0, 0, nil, errShort
	}
	major, info := b[0]>>5, b[0]&31
	b = b[1:]
	if info < 24 {
		return major, uint64(info), b, nil
	}
	size := 1 << (info - 24)
	switch {
	case info > 27:
		return 0, 0, nil, errors.New("it has an item of indefinite length")
	case len(b) < size:
		return 0, 0, nil, errShort
	}
	var wide [8]byte
	copy(wide[8-size:], b[:size])
	argument = binary.BigEndian.Uint64(wide[:])
	if argument < 24 || size > 1 && argument < 1<<(4*size) {
		return 0, 0, nil, errors.New("it has a number that is not in its shortest form")
	}
	return major, argument, b[size:], nil
}

// expect reads a head of the given major type.
func expect(want byte, b []byte) (argument uint64, rest []byte, err error) {
	major, argument, rest, err := head(b)
	if err == nil && major != want {
		err = fmt.Errorf("it has an item of type %d where %d is expected", major, want)
	}
	return argument, rest, err
}

// text reads a byte or text string of at least low and at most high bytes.
func text(major byte, low, high int, b []byte) (s, rest []byte, err error) {
	n, b, err := expect(major, b)
	switch {
	case err != nil:
		return nil, nil, err
	case n < uint64(low) || n > uint64(high):
		return nil, nil, fmt.Errorf("it has a string of %d bytes, expected %d to %d", n, low, high)
	case n > uint64(len(b)):
		return nil, nil, errShort
	}
	return b[:n], b[n:], nil
}

// octets is a byte string of low to high bytes.
func octets(low, high int) shape {
	return func(b []byte) ([]byte, error) {
		_, rest, err := text(majorBytes, low, high, b)
		return rest, err
	}
}

// nested is a byte string that inner takes apart, to its end.
func nested(high int, inner shape) shape {
	return func(b []byte) ([]byte, error) {
		s, rest, err := text(majorBytes, 0, high, b)
		if err != nil {
			return nil, err
		}
		return rest, whole(inner, s)
	}
}

// bignum is a positive number of at most high bytes.
func bignum(high int) shape {
	return func(b []byte) ([]byte, error) {
		tag, b, err := expect(majorTag, b)
		if err != nil {
			return nil, err
		}
		if tag != tagBignum {
			return nil, fmt.Errorf("it has a tag %d where a positive number is expected", tag)
		}
		_, rest, err := text(majorBytes, 1, high, b)
		return rest, err
	}
}

// boolean is true or false.
func boolean(b []byte) ([]byte, error) {
	v, rest, err := expect(majorSimple, b)
	if err == nil && v != simpleFalse && v != simpleTrue {
		err = errors.New("it has something else than true or false")
	}
	return rest, err
}

// list is an array of n items.
func list(n int, item shape) shape {
	return func(b []byte) ([]byte, error) {
		got, b, err := expect(majorArray, b)
		if err == nil && got != uint64(n) {
			err = fmt.Errorf("it has a list of %d, expected %d", got, n)
		}
		for i := 0; i < n && err == nil; i++ {
			b, err = item(b)
		}
		return b, err
	}
}

// object is a map with exactly these fields, in any order.
func object(fields map[string]shape) shape {
	return func(b []byte) ([]byte, error) {
		n, b, err := expect(majorMap, b)
		if err != nil {
			return nil, err
		}
		if n != uint64(len(fields)) {
			return nil, fmt.Errorf("it has %d fields, expected %d", n, len(fields))
		}
		seen := make(map[string]bool, len(fields))
		for range fields {
			var name []byte
			if name, b, err = text(majorText, 0, 32, b); err != nil {
				return nil, err
			}
			field := fields[string(name)]
			if field == nil || seen[string(name)] {
				return nil, fmt.Errorf("it has a field %q twice, or one that is not expected", name)
			}
			seen[string(name)] = true
			if b, err = field(b); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		}
		return b, nil
	}
}

// whole reports an error unless b is one item of shape s and nothing else.
func whole(s shape, b []byte) error {
	rest, err := s(b)
	if err == nil && len(rest) != 0 {
		err = fmt.Errorf("%d bytes follow it", len(rest))
	}
	return err
}
