package natsnet

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Inside TLS each side first sends a hello, whose form never changes:
//
//	"zonesigner link\x00" | lowest version 2 | highest version 2 | group digest 32
//
// and then frames:
//
//	kind 1 | length of data 4 | data
//
// The first frame of a message begins with the message's length in 4 bytes.
// Integers are big-endian.
const (
	framePing  = 1 // data: a number of 8 bytes
	framePong  = 2 // data: the ping's
	frameFirst = 3 // frameFirst + 2*lane: a message begins
	frameMore  = 4 // frameMore + 2*lane: a message goes on
	// frameSigned has the signature, 64 bytes, on a ledger: the session messages
	// that ended since the last one.
	frameSigned = frameFirst + 2*lanes

	frameHeader = 5
	maxFrame    = 32 << 10 // bytes of data; so much one lane waits for the other
	sendFrame   = 31 << 10 // as we send them: two, and all that is around them, fit a packet

	// minVersion and maxVersion are the versions that this build speaks: the
	// current one and, once there is one, the one before.
	minVersion = 1
	maxVersion = 1
)

var helloMagic = []byte("zonesigner link\x00")

const helloSize = 16 + 2 + 2 + 32

type hello struct {
	min, max uint16
	group    [32]byte
}

func (h hello) encode() []byte {
	b := bytes.Clone(helloMagic)
	b = binary.BigEndian.AppendUint16(b, h.min)
	b = binary.BigEndian.AppendUint16(b, h.max)
	return append(b, h.group[:]...)
}

func parseHello(b []byte) (h hello, err error) {
	if len(b) != helloSize || !bytes.HasPrefix(b, helloMagic) {
		return h, errors.New("not the hello of a link")
	}
	h.min = binary.BigEndian.Uint16(b[16:])
	h.max = binary.BigEndian.Uint16(b[18:])
	copy(h.group[:], b[20:])
	if h.min > h.max {
		return h, fmt.Errorf("hello names versions %d to %d", h.min, h.max)
	}
	return h, nil
}

// common is the highest version that both speak, false when there is none.
func common(a, b hello) (uint16, bool) {
	v := min(a.max, b.max)
	return v, v >= a.min && v >= b.min
}

func appendFrameHeader(b []byte, kind byte, n int) []byte {
	b = append(b, kind)
	return binary.BigEndian.AppendUint32(b, uint32(n))
}

// outMessage is a message on its way out, sent in frames.
type outMessage struct {
	b     []byte
	sent  int
	entry [32]byte // for the ledger, of a session message
}

// appendFrame appends the message's next frame and reports whether it was
// the last.
func (m *outMessage) appendFrame(b []byte, lane int) ([]byte, bool) {
	if m.sent == 0 {
		n := min(len(m.b), sendFrame-4)
		b = appendFrameHeader(b, byte(frameFirst+2*lane), 4+n)
		b = binary.BigEndian.AppendUint32(b, uint32(len(m.b)))
		b = append(b, m.b[:n]...)
		m.sent = n
	} else {
		n := min(len(m.b)-m.sent, sendFrame)
		b = appendFrameHeader(b, byte(frameMore+2*lane), n)
		b = append(b, m.b[m.sent:m.sent+n]...)
		m.sent += n
	}
	return b, m.sent == len(m.b)
}

// framingError says that a peer's frames make no sense; it is the peer's
// fault, since TLS below does not let anybody else alter them.
type framingError struct{ what string }

func (e *framingError) Error() string { return "broke the framing: " + e.what }

func framing(format string, a ...any) error { return &framingError{fmt.Sprintf(format, a...)} }

// frameReader puts frames together to messages. limit bounds a message of
// each lane in bytes; nothing is allocated before it is checked.
type frameReader struct {
	r       io.Reader
	limit   [lanes]int
	partial [lanes][]byte // message in the making, its capacity is its length
	probe   [8]byte
}

// next returns one ping or pong (kind, number), one signature (frameSigned,
// signature), or one whole message (frameFirst + 2*lane, message), which the
// caller owns.
func (f *frameReader) next() (kind byte, number uint64, msg []byte, err error) {
	for {
		var head [frameHeader]byte
		if _, err := io.ReadFull(f.r, head[:]); err != nil {
			return 0, 0, nil, err
		}
		kind, n := head[0], int(binary.BigEndian.Uint32(head[1:]))
		if kind < framePing || kind > frameSigned {
			return 0, 0, nil, framing("frame of unknown kind %d", kind)
		}
		if n > maxFrame {
			return 0, 0, nil, framing("frame of %d bytes, expected at most %d", n, maxFrame)
		}
		if kind == framePing || kind == framePong {
			if n != 8 {
				return 0, 0, nil, framing("probe of %d bytes, expected 8", n)
			}
			if _, err := io.ReadFull(f.r, f.probe[:]); err != nil {
				return 0, 0, nil, err
			}
			return kind, binary.BigEndian.Uint64(f.probe[:]), nil, nil
		}
		if kind == frameSigned {
			if n != ed25519.SignatureSize {
				return 0, 0, nil, framing("signature of %d bytes, expected %d", n, ed25519.SignatureSize)
			}
			sig := make([]byte, n)
			_, err := io.ReadFull(f.r, sig)
			return kind, 0, sig, err
		}
		lane := int(kind-frameFirst) / 2
		msg, err := f.part(lane, kind == byte(frameFirst+2*lane), n)
		if err != nil {
			return 0, 0, nil, err
		}
		if msg != nil {
			return byte(frameFirst + 2*lane), 0, msg, nil
		}
	}
}

// part reads n bytes of a message and returns the message when it is whole.
func (f *frameReader) part(lane int, first bool, n int) ([]byte, error) {
	p := &f.partial[lane]
	if first {
		if *p != nil {
			return nil, framing("a message begins inside another")
		}
		if n < 4 {
			return nil, framing("first frame of %d bytes, expected at least 4", n)
		}
		var total [4]byte
		if _, err := io.ReadFull(f.r, total[:]); err != nil {
			return nil, err
		}
		size := int(binary.BigEndian.Uint32(total[:]))
		if size > f.limit[lane] {
			return nil, framing("message of %d bytes, expected at most %d", size, f.limit[lane])
		}
		*p = make([]byte, 0, size)
		n -= 4
	} else if *p == nil {
		return nil, framing("a message goes on that did not begin")
	}
	have := len(*p)
	if n == 0 && cap(*p) > 0 || have+n > cap(*p) {
		return nil, framing("frame of %d bytes, but the message has %d to come", n, cap(*p)-have)
	}
	*p = (*p)[:have+n]
	if _, err := io.ReadFull(f.r, (*p)[have:]); err != nil {
		return nil, err
	}
	if len(*p) < cap(*p) {
		return nil, nil
	}
	msg := *p
	*p = nil
	return msg, nil
}
