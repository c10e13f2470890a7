package dnssec

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// source reads a zone file for the parser: it counts lines and writes each
// $GENERATE directive out as plain records. (The parser would do the latter
// with a fixed TTL, whatever $TTL says.)
type source struct {
	r     *bufio.Reader
	file  string
	at    *position
	line  int
	begin bool // at the start of a line

	// Where in the text: a directive starts a line outside of these.
	quoted, escaped, comment bool
	depth                    int // of parentheses
	size                     int // of the text since a record may have begun

	gen     *generator
	pending string // of what gen wrote out
	err     error
}

func newSource(r io.Reader, file string, at *position) *source {
	return &source{r: bufio.NewReaderSize(r, 1<<16), file: file, at: at, line: 1, begin: true}
}

// Read is there for the interface; the parser reads by the byte.
func (s *source) Read(b []byte) (int, error) {
	for i := range b {
		c, err := s.ReadByte()
		if err != nil {
			if i > 0 {
				return i, nil
			}
			return 0, err
		}
		b[i] = c
	}
	return len(b), nil
}

func (s *source) ReadByte() (byte, error) {
	if s.err != nil {
		return 0, s.err
	}
	for s.pending != "" || s.gen != nil {
		if s.pending != "" {
			c := s.pending[0]
			s.pending = s.pending[1:]
			return c, nil
		}
		var ok bool
		if s.pending, ok = s.gen.next(); !ok {
			s.gen = nil
			s.line++
			break
		}
		s.at.set(s.file, s.line, []byte(s.pending))
	}
	if s.begin {
		s.begin = false
		text, _ := s.r.Peek(mostShown)
		if s.depth == 0 && !s.quoted && isGenerate(text) {
			if s.err = s.startGenerate(text); s.err != nil {
				return 0, s.err
			}
			s.begin = true
			return s.ReadByte()
		}
		if !s.quoted && len(text) > 0 { // else a fault is where the quotes, or the file, began
			s.at.set(s.file, s.line, text)
		}
	}
	c, err := s.r.ReadByte()
	if err != nil {
		s.err = err
		return 0, err
	}
	s.track(c)
	if s.size++; s.size > mostText {
		s.err = fmt.Errorf("a record of more than %d characters: are quotes or parentheses not closed?", mostText)
		return 0, s.err
	}
	return c, nil
}

const (
	mostShown = 128     // of a line, in errors, which clip it
	mostText  = 1 << 20 // of a record; \DDD for each byte of rdata takes 2^18
)

// track follows quotes, parentheses and comments.
func (s *source) track(c byte) {
	switch {
	case c == '\n':
		s.line++
		s.begin = true
		s.comment, s.escaped = false, false
		if s.depth == 0 && !s.quoted {
			s.size = 0
		}
	case s.comment:
	case s.escaped:
		s.escaped = false
	case c == '\\':
		s.escaped = true
	case c == '"':
		s.quoted = !s.quoted
	case s.quoted:
	case c == ';':
		s.comment = true
	case c == '(':
		s.depth++
	case c == ')':
		s.depth = max(s.depth-1, 0)
	}
}

const generateWord = "$GENERATE"

func isGenerate(line []byte) bool {
	return len(line) > len(generateWord) && strings.EqualFold(string(line[:len(generateWord)]), generateWord) &&
		(line[len(generateWord)] == ' ' || line[len(generateWord)] == '\t')
}

func (s *source) startGenerate(begin []byte) error {
	s.at.set(s.file, s.line, begin)
	line, err := s.r.ReadSlice('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: line too long", generateWord)
	}
	text := strings.TrimRight(string(line[len(generateWord):]), "\r\n")
	if s.gen, err = newGenerator(strings.TrimLeft(text, " \t")); err != nil {
		return err
	}
	s.pending, _ = s.gen.next() // there is one
	s.at.setText([]byte(s.pending))
	return nil
}

// generator writes one $GENERATE directive out.
type generator struct {
	at, stop, step int
	parts          []part
}

// part of a template is plain text, or the counter in some form.
type part struct {
	text    string
	format  string // for fmt; empty: plain text
	nibbles string // the digits of bases n and N, in place of format
	width   int    // of nibbles
	offset  int
}

const mostGenerated = 1 << 16

// newGenerator reads "start-stop[/step] template".
func newGenerator(text string) (*generator, error) {
	bad := func(what string) (*generator, error) {
		return nil, fmt.Errorf("%s %s: %s", generateWord, clip(text), what)
	}
	i := strings.IndexAny(text, " \t")
	if i < 0 {
		return bad("expected a range and a record")
	}
	span, step, hasStep := strings.Cut(text[:i], "/")
	from, to, ok := strings.Cut(span, "-")
	g := &generator{step: 1}
	var errs [3]error
	g.at, errs[0] = strconv.Atoi(from)
	g.stop, errs[1] = strconv.Atoi(to)
	if hasStep {
		g.step, errs[2] = strconv.Atoi(step)
	}
	if err := errors.Join(errs[:]...); !ok || err != nil || g.at < 0 || g.stop < g.at || g.stop > 1<<31 || g.step < 1 {
		return bad("bad range, expected start-stop or start-stop/step")
	}
	if (g.stop-g.at)/g.step >= mostGenerated {
		return bad(fmt.Sprintf("more than %d records", mostGenerated))
	}
	template := strings.TrimLeft(text[i:], " \t")
	if template == "" {
		return bad("no record to repeat")
	}
	var err error
	if g.parts, err = parseTemplate(template); err != nil {
		return bad(err.Error())
	}
	for _, p := range g.parts {
		if p.nibbles != "" && g.at+p.offset < 0 {
			return bad("a number below 0 has no nibbles")
		}
	}
	return g, nil
}

// parseTemplate finds "$" and "${offset[,width[,base]]}"; "\$" and "$$" are a
// dollar.
func parseTemplate(t string) ([]part, error) {
	var parts []part
	var plain []byte
	for i := 0; i < len(t); i++ {
		switch {
		case t[i] == '\\' && i+1 < len(t):
			plain = append(plain, t[i], t[i+1])
			i++
		case strings.HasPrefix(t[i:], "$$"):
			plain = append(plain, '\\', '$')
			i++
		case t[i] != '$':
			plain = append(plain, t[i])
		default:
			p := part{format: "%d"}
			if i+1 < len(t) && t[i+1] == '{' {
				spec, _, ok := strings.Cut(t[i+2:], "}")
				if !ok {
					return nil, errors.New("unclosed ${")
				}
				var err error
				if p, err = parseModifier(spec); err != nil {
					return nil, err
				}
				i += len(spec) + 2
			}
			parts = append(parts, part{text: string(plain)}, p)
			plain = plain[:0]
		}
	}
	return append(parts, part{text: string(plain) + "\n"}), nil
}

func parseModifier(spec string) (part, error) {
	bad := fmt.Errorf("bad modifier ${%s}, expected offset,width,base with base d, o, x, X, n or N", clip(spec))
	words := strings.Split(spec, ",")
	if len(words) > 3 {
		return part{}, bad
	}
	offset, err := strconv.Atoi(words[0])
	if err != nil || offset < -1<<31 || offset > 1<<31 {
		return part{}, bad
	}
	width, base := 0, "d"
	if len(words) > 1 {
		if width, err = strconv.Atoi(words[1]); err != nil || width < 0 || width > 255 {
			return part{}, bad
		}
	}
	if len(words) > 2 {
		base = words[2]
	}
	switch base {
	case "n":
		return part{nibbles: "0123456789abcdef", width: width, offset: offset}, nil
	case "N":
		return part{nibbles: "0123456789ABCDEF", width: width, offset: offset}, nil
	case "d", "o", "x", "X":
	default:
		return part{}, bad
	}
	return part{format: fmt.Sprintf("%%0%d%s", width, base), offset: offset}, nil
}

// next is the next record as a line; false after the last.
func (g *generator) next() (string, bool) {
	if g.at > g.stop {
		return "", false
	}
	var b strings.Builder
	for _, p := range g.parts {
		b.WriteString(p.text)
		switch n := g.at + p.offset; {
		case p.nibbles != "":
			writeNibbles(&b, n, p.width, p.nibbles)
		case p.format != "":
			fmt.Fprintf(&b, p.format, n)
		}
	}
	g.at += g.step
	return b.String(), true
}

// writeNibbles writes n in hexadecimal, the lowest digit first and dots between
// them, as names under ip6.arpa have it. As in BIND, width counts the dots, too,
// and what it fills up may end in one.
func writeNibbles(b *strings.Builder, n, width int, digits string) {
	for first := true; first || n > 0 || width > 0; first = false {
		b.WriteByte(digits[n&0xf])
		n >>= 4
		if width--; n > 0 || width > 0 {
			b.WriteByte('.')
			width--
		}
	}
}
