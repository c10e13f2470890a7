package config

import (
	"fmt"
	"strings"
)

// Fault is one thing that is wrong with a file. Line and Column count from 1;
// they are 0 where the fault belongs to no place, as with a missing key.
type Fault struct {
	File    string
	Line    int
	Column  int
	Path    string // of the key, as in "operators[1].nkey"; may be empty
	Message string // what was wrong and what was expected
}

func (f Fault) Error() string {
	var s strings.Builder
	if f.File != "" {
		s.WriteString(f.File + ":")
		if f.Line > 0 {
			fmt.Fprintf(&s, "%d:%d:", f.Line, f.Column)
		}
		s.WriteString(" ")
	}
	if f.Path != "" {
		s.WriteString(f.Path + ": ")
	}
	s.WriteString(f.Message)
	return s.String()
}

// Faults is all that is wrong with a file, in the order of its lines.
type Faults []Fault

func (fs Faults) Error() string {
	lines := make([]string, len(fs))
	for i, f := range fs {
		lines[i] = f.Error()
	}
	return strings.Join(lines, "\n")
}

// faults collects what a Validate finds.
type faults []Fault

func (fs *faults) add(path, format string, args ...any) {
	*fs = append(*fs, Fault{Path: path, Message: fmt.Sprintf(format, args...)})
}

// oneOf adds a fault unless value is one of the allowed words.
func (fs *faults) oneOf(path, value string, allowed ...string) {
	for _, a := range allowed {
		if value == a {
			return
		}
	}
	msg := fmt.Sprintf("%q is not known: want %s", value, strings.Join(allowed, ", "))
	if near := nearest(value, allowed); near != "" {
		msg += fmt.Sprintf("; did you mean %q?", near)
	}
	fs.add(path, "%s", msg)
}

// err is nil when nothing was found.
func (fs faults) err() error {
	if len(fs) == 0 {
		return nil
	}
	return Faults(fs)
}

// nearest is the word that was probably meant, or "".
func nearest(word string, among []string) string {
	best, bestDistance := "", 1+max(1, len(word)/3)
	for _, a := range among {
		if len(a) > 2 && strings.HasPrefix(word, a) {
			return a
		}
		if d := editDistance(word, a); d < bestDistance {
			best, bestDistance = a, d
		}
	}
	return best
}

// editDistance counts the insertions, deletions, substitutions and swaps of
// neighbours between a and b.
func editDistance(a, b string) int {
	const limit = 64 // keys are short; what is longer is no misspelling of one
	if len(a) > limit || len(b) > limit {
		return limit
	}
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			d := min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, rows[i-2][j-2]+1)
			}
			rows[i][j] = d
		}
	}
	return rows[len(a)][len(b)]
}
