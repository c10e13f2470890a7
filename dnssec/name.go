package dnssec

import (
	"errors"
	"fmt"
	"strings"
)

// Name is a domain name in canonical form: wire format (RFC 1035, section
// 3.1), uncompressed, letters in lower case (RFC 4034, section 6.2), with the
// root's zero byte at its end. It is at most 255 bytes long. The zero value
// is no name.
type Name string

// Root is the name of the root zone.
const Root Name = "\x00"

const maxNameLen = 255

// ParseName reads a name in presentation format (RFC 1035, section 5.1). The
// name is absolute whether or not it ends with a dot.
func ParseName(text string) (Name, error) {
	var buf [maxNameLen]byte
	b, err := appendNameText(buf[:0], text)
	if err != nil {
		return "", err
	}
	return Name(b), nil
}

// appendNameText appends the canonical wire form of text.
func appendNameText(dst []byte, text string) ([]byte, error) {
	if text == "." {
		return append(dst, 0), nil
	}
	bad := func(what string) ([]byte, error) { return nil, fmt.Errorf("name %q: %s", clip(text), what) }
	start := len(dst)
	length := len(dst) // where the current label's length byte is
	dst = append(dst, 0)
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c == '.' {
			n := len(dst) - length - 1
			if n == 0 {
				return bad("empty label")
			}
			dst[length] = byte(n)
			length = len(dst)
			dst = append(dst, 0)
			continue
		}
		if c == '\\' {
			v, n, ok := unescape(text[i:])
			if !ok {
				return bad("bad escape")
			}
			c = v
			i += n - 1
		}
		if len(dst)-length > 63 {
			return bad("label longer than 63 bytes")
		}
		if len(dst)-start >= maxNameLen {
			return bad("longer than 255 bytes")
		}
		dst = append(dst, lower(c))
	}
	if n := len(dst) - length - 1; n > 0 { // no dot at the end
		dst[length] = byte(n)
		dst = append(dst, 0)
	}
	if len(dst)-start == 1 {
		return bad("empty")
	}
	if len(dst)-start > maxNameLen {
		return bad("longer than 255 bytes")
	}
	return dst, nil
}

// unescape reads \DDD or \X at the start of s and returns the byte and how
// many bytes of s it took.
func unescape(s string) (byte, int, bool) {
	if len(s) < 2 {
		return 0, 0, false
	}
	if !isDigit(s[1]) {
		return s[1], 2, true
	}
	if len(s) < 4 || !isDigit(s[2]) || !isDigit(s[3]) {
		return 0, 0, false
	}
	v := int(s[1]-'0')*100 + int(s[2]-'0')*10 + int(s[3]-'0')
	return byte(v), 4, v <= 255
}

var errName = errors.New("malformed name in wire format")

// wireNameLen returns the length of the uncompressed name at the start of b.
func wireNameLen[T string | []byte](b T) (int, error) {
	for i := 0; i < len(b) && i < maxNameLen; {
		n := int(b[i])
		if n == 0 {
			return i + 1, nil
		}
		if n > 63 {
			return 0, errName
		}
		i += n + 1
	}
	return 0, errName
}

// lowerName makes the letters of the wire name b lower case, in place. Length
// bytes are below 64 and stay as they are.
func lowerName(b []byte) {
	for i, c := range b {
		b[i] = lower(c)
	}
}

// String is the presentation format with a dot at the end; bytes that a zone
// file treats specially are escaped.
func (n Name) String() string {
	var buf [256]byte
	return string(n.appendText(buf[:0]))
}

func (n Name) appendText(dst []byte) []byte {
	if n == Root {
		return append(dst, '.')
	}
	for i := 0; i < len(n) && n[i] != 0; {
		end := min(i+1+int(n[i]), len(n))
		plain := i + 1 // from where on nothing was escaped
		for i++; i < end; i++ {
			c := n[i]
			if !escaped[c] {
				continue
			}
			dst = append(dst, n[plain:i]...)
			plain = i + 1
			if c <= ' ' || c >= 0x7f {
				dst = appendDecimalEscape(dst, c)
			} else {
				dst = append(dst, '\\', c)
			}
		}
		dst = append(append(dst, n[plain:end]...), '.')
	}
	return dst
}

// escaped are the bytes of a label that do not stand for themselves in text.
var escaped = func() (table [256]bool) {
	for c := range table {
		table[c] = c <= ' ' || c >= 0x7f || strings.IndexByte(`.\"();@$`, byte(c)) >= 0
	}
	return table
}()

// Compare is the canonical order of names (RFC 4034, section 6.1): label by
// label from the root, each label as bytes, a parent before its children.
func (n Name) Compare(o Name) int {
	if n == o {
		return 0
	}
	if p := n.Parent(); len(p) > 0 && p == o.Parent() && len(n) > 1 && len(o) > 1 { // most names of a zone
		return strings.Compare(string(n[1:len(n)-len(p)]), string(o[1:len(o)-len(p)]))
	}
	var no, oo [128]uint8
	a, b := n.offsets(&no), o.offsets(&oo)
	for a > 0 && b > 0 {
		a--
		b--
		if c := strings.Compare(n.label(no[a]), o.label(oo[b])); c != 0 {
			return c
		}
	}
	return a - b
}

// offsets stores where each label starts and returns how many there are,
// without the root's.
func (n Name) offsets(at *[128]uint8) int {
	k := 0
	for i := 0; i < len(n) && n[i] != 0 && k < len(at); i += int(n[i]) + 1 {
		at[k] = uint8(i)
		k++
	}
	return k
}

// label is the label at offset i, without its length byte.
func (n Name) label(i uint8) string {
	return string(n[int(i)+1 : int(i)+1+int(n[i])])
}

// Labels counts the labels, the root's not among them.
func (n Name) Labels() int {
	k := 0
	for i := 0; i < len(n) && n[i] != 0; i += int(n[i]) + 1 {
		k++
	}
	return k
}

// Parent is the name without its first label; the root is its own parent.
func (n Name) Parent() Name {
	if len(n) <= 1 {
		return n
	}
	return n[int(n[0])+1:]
}

// IsSubdomainOf reports whether n is p or below it.
func (n Name) IsSubdomainOf(p Name) bool {
	if len(n) < len(p) || n[len(n)-len(p):] != p {
		return false
	}
	for len(n) > len(p) {
		n = n.Parent()
	}
	return len(n) == len(p)
}

// IsWildcard reports whether the first label is "*" (RFC 4592).
func (n Name) IsWildcard() bool { return len(n) > 1 && n[0] == 1 && n[1] == '*' }

// rrsigLabels is the Labels field of an RRSIG (RFC 4034, section 3.1.3).
func (n Name) rrsigLabels() uint8 {
	k := n.Labels()
	if n.IsWildcard() {
		k--
	}
	return uint8(k)
}

// commonLabels counts the labels that n and o share, from the root.
func (n Name) commonLabels(o Name) int {
	var no, oo [128]uint8
	a, b := n.offsets(&no), o.offsets(&oo)
	k := 0
	for a > 0 && b > 0 {
		a--
		b--
		if n.label(no[a]) != o.label(oo[b]) {
			break
		}
		k++
	}
	return k
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func appendDecimalEscape(dst []byte, c byte) []byte {
	return append(dst, '\\', '0'+c/100, '0'+c/10%10, '0'+c%10)
}

// clip shortens text that may be hostile for an error message.
func clip(s string) string {
	const most = 120
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}
