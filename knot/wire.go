package knot

import (
	"encoding/binary"
	"fmt"
	"strconv"
)

// Knot's control protocol: a message is a sequence of units, a unit is a type
// byte and, for DATA and EXTRA, items; an item is a code, a length of two
// bytes, big-endian, and text. A unit has no length: it ends where the next
// type byte stands. A request is DATA units of one command and a BLOCK; so is
// a reply. END closes the conversation.
const (
	unitEnd   = 0
	unitData  = 1
	unitExtra = 2
	unitBlock = 3

	itemFirst = 16 // lowest item code
	itemLast  = 63 // codes above itemFilter are of versions to come: skipped

	maxItem = 65535 // bytes in one item
)

// Item codes, less itemFirst.
const (
	itemCmd = iota
	itemFlags
	itemError
	itemSection
	itemItem
	itemID
	itemZone
	itemOwner
	itemTTL
	itemType
	itemData
	itemFilter
	itemCount
)

// unit is a decoded DATA or EXTRA; absent items are empty.
type unit struct {
	extra bool
	items [itemCount]string
}

func (u *unit) get(item int) string { return u.items[item] }

// err is the refusal that the unit carries, or nil. command is used when the
// unit does not echo it.
func (u *unit) err(command string) error {
	if u.items[itemError] == "" {
		return nil
	}
	if c := u.items[itemCmd]; c != "" {
		command = c
	}
	return &ControlError{Command: command, Zone: u.items[itemZone], Owner: u.items[itemOwner], Type: u.items[itemType], Msg: u.items[itemError]}
}

// record takes a unit of zone-read or zone-get.
func (u *unit) record() (Record, error) {
	ttl, err := strconv.ParseUint(u.items[itemTTL], 10, 32)
	if err != nil || u.items[itemOwner] == "" || u.items[itemType] == "" {
		return Record{}, fmt.Errorf("%w: %q %q %q is no record", ErrProtocol, u.items[itemOwner], u.items[itemTTL], u.items[itemType])
	}
	return Record{Owner: u.items[itemOwner], TTL: uint32(ttl), Type: u.items[itemType], Data: u.items[itemData]}, nil
}

// appendItem appends one item; the text has been checked to fit.
func appendItem(b []byte, item int, text string) []byte {
	b = append(b, byte(itemFirst+item))
	b = binary.BigEndian.AppendUint16(b, uint16(len(text)))
	return append(b, text...)
}

// request builds a block: every unit repeats the command, since Knot takes the
// command of the block's first unit for all of them.
type request struct {
	command string
	buf     []byte
}

func newRequest(command string) *request { return &request{command: command} }

// unit starts a DATA unit. An empty zone stands for all zones or none.
func (r *request) unit(zone string) {
	r.buf = append(r.buf, unitData)
	r.buf = appendItem(r.buf, itemCmd, r.command)
	if zone != "" {
		r.buf = appendItem(r.buf, itemZone, zone)
	}
}

// item adds to the unit started last.
func (r *request) item(item int, text string) { r.buf = appendItem(r.buf, item, text) }

// block ends the request and gives its bytes.
func (r *request) block() []byte { return append(r.buf, unitBlock) }

// frame finds the end of a reply in bytes as they come. It does nothing else,
// so that reading is never held up by parsing.
type frame struct {
	inUnit bool
	header int // bytes of the item header still to come
	length int // bytes of the item still to come, or the header so far
}

// scan takes the next bytes and reports whether the reply ends with the last
// of them. Bytes after the end are an error: nothing more was asked for.
func (f *frame) scan(p []byte) (done bool, err error) {
	for i := 0; i < len(p); {
		c := p[i]
		switch {
		case f.header > 0:
			f.length = f.length<<8 | int(c)
			f.header--
			i++
		case f.length > 0:
			n := min(f.length, len(p)-i)
			f.length -= n
			i += n
		case c == unitBlock || c == unitEnd:
			if i+1 != len(p) {
				return false, fmt.Errorf("%w: %d bytes after the end of the reply", ErrProtocol, len(p)-i-1)
			}
			return true, nil
		case c == unitData || c == unitExtra:
			f.inUnit = true
			i++
		case c >= itemFirst && c <= itemLast && f.inUnit:
			f.header = 2
			i++
		default:
			return false, fmt.Errorf("%w: byte 0x%02x where a unit or item starts", ErrProtocol, c)
		}
	}
	return false, nil
}

// eachUnit decodes a whole reply and calls fn for each DATA and EXTRA, in
// order; the unit is fn's until it returns, its strings share reply.
func eachUnit(reply string, fn func(*unit) error) error {
	var u unit
	open := false
	flush := func() error {
		if !open {
			return nil
		}
		open = false
		return fn(&u)
	}
	for i := 0; i < len(reply); {
		switch c := reply[i]; {
		case c == unitBlock || c == unitEnd:
			if i+1 != len(reply) {
				return fmt.Errorf("%w: %d bytes after the end of the reply", ErrProtocol, len(reply)-i-1)
			}
			return flush()
		case c == unitData || c == unitExtra:
			if err := flush(); err != nil {
				return err
			}
			u, open = unit{extra: c == unitExtra}, true
			i++
		case c >= itemFirst && c <= itemLast && open:
			if len(reply)-i < 3 {
				return fmt.Errorf("%w: item header cut short", ErrProtocol)
			}
			n := int(reply[i+1])<<8 | int(reply[i+2])
			if len(reply)-i-3 < n {
				return fmt.Errorf("%w: item of %d bytes cut short", ErrProtocol, n)
			}
			if k := int(c) - itemFirst; k < itemCount {
				u.items[k] = reply[i+3 : i+3+n]
			}
			i += 3 + n
		default:
			return fmt.Errorf("%w: byte 0x%02x where a unit or item starts", ErrProtocol, c)
		}
	}
	return fmt.Errorf("%w: the reply has no end", ErrProtocol)
}
