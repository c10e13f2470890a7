package classify

import "strings"

// oneEdit reports whether one letter put in, left out, replaced, or two
// neighbours swapped make b of a (the distance of Damerau and Levenshtein is 1).
func oneEdit(a, b string) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	i := 0
	for i < len(a) && a[i] == b[i] {
		i++
	}
	switch x, y := a[i:], b[i:]; {
	case len(x)+1 == len(y):
		return x == y[1:]
	case len(x) != len(y) || x == "":
		return false
	case x[1:] == y[1:]:
		return true
	default:
		return len(x) > 1 && x[0] == y[1] && x[1] == y[0] && x[2:] == y[2:]
	}
}

// foldNumbers writes every number as #.
func foldNumbers(s string) string {
	var b strings.Builder
	digit := false
	for i := range len(s) {
		was := digit
		if digit = '0' <= s[i] && s[i] <= '9'; !digit {
			b.WriteByte(s[i])
		} else if !was {
			b.WriteByte('#')
		}
	}
	return b.String()
}
