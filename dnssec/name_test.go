package dnssec

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
	"pgregory.net/rapid"
)

// check reports whether n is a well-formed canonical name.
func (n Name) check() error {
	l, err := wireNameLen(string(n))
	if err != nil || l != len(n) {
		return errName
	}
	for i := range len(n) {
		if n[i] != lower(n[i]) {
			return fmt.Errorf("name %s is not in lower case", n)
		}
	}
	return nil
}

func name(t testing.TB, text string) Name {
	t.Helper()
	n, err := ParseName(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// The list of RFC 4034, section 6.1.
func TestCanonicalOrder(t *testing.T) {
	list := []string{"example", "a.example", "yljkjljk.a.example", "Z.a.example", "zABC.a.EXAMPLE", "z.example",
		`\001.z.example`, "*.z.example", `\200.z.example`}
	for i := range list {
		for j := range list {
			got, want := name(t, list[i]).Compare(name(t, list[j])), i-j
			if (got < 0) != (want < 0) || (got > 0) != (want > 0) {
				t.Errorf("%s to %s: %d, expected the sign of %d", list[i], list[j], got, want)
			}
		}
	}
}

var genName = rapid.Custom(func(t *rapid.T) Name {
	label := rapid.SliceOfN(rapid.SampledFrom([]byte("ab*-\x00\x01.\\\xff")), 1, 3)
	var b []byte
	for _, l := range rapid.SliceOfN(label, 0, 5).Draw(t, "labels") {
		b = append(append(b, byte(len(l))), l...)
	}
	return Name(append(b, 0))
})

// key is an order-preserving form: labels from the root, each byte escaped
// so that the end of a label sorts first.
func (n Name) key() string {
	var out []string
	for ; len(n) > 1; n = n.Parent() {
		var l strings.Builder
		for _, c := range []byte(n[1 : 1+n[0]]) {
			if c <= 1 {
				l.WriteByte(1)
			}
			l.WriteByte(c)
		}
		out = append(out, l.String()+"\x00")
	}
	slices.Reverse(out)
	return strings.Join(out, "")
}

func TestOrderIsThatOfReversedLabels(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := genName.Draw(t, "a"), genName.Draw(t, "b")
		got, want := a.Compare(b), strings.Compare(a.key(), b.key())
		if (got < 0) != (want < 0) || (got > 0) != (want > 0) {
			t.Fatalf("%s to %s: %d, expected the sign of %d", a, b, got, want)
		}
		back, err := ParseName(a.String())
		if err != nil || back != a {
			t.Fatalf("%q became %q: %v", a, back, err)
		}
		if a.check() != nil {
			t.Fatal(a.check())
		}
		if sub := a.IsSubdomainOf(b); sub != strings.HasPrefix(a.key(), b.key()) {
			t.Fatalf("%s below %s: %v", a, b, sub)
		}
	})
}

func TestParseNameRefuses(t *testing.T) {
	long := strings.Repeat("a", 63)
	for text, want := range map[string]string{
		"": "empty", "..": "empty label", "a..b": "empty label", ".a": "empty label", `a\`: "escape", `\25`: "escape", `\256`: "escape",
		long + "a.": "63", strings.Join([]string{long, long, long, long}, "."): "255",
	} {
		if _, err := ParseName(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, expected %q", text, err, want)
		}
	}
	if n := name(t, strings.Join([]string{long, long, long, long[:61]}, ".")); len(n) != 255 {
		t.Errorf("%d bytes", len(n))
	}
}

func FuzzParseName(f *testing.F) {
	for _, s := range []string{".", "example.", `a\.b.\000\255.`, "a..b", `\`, "*.EXAMPLE"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, err := ParseName(text)
		if err != nil {
			return
		}
		if err := n.check(); err != nil {
			t.Fatal(err)
		}
		if back, err := ParseName(n.String()); err != nil || back != n {
			t.Fatalf("%q became %q: %v", n, back, err)
		}
		buf := make([]byte, 300)
		if off, err := dns.PackDomainName(n.String(), buf, 0, nil, false); err != nil || string(buf[:off]) != string(n) {
			t.Fatalf("%q: miekg/dns reads %q, %v", n, buf[:off], err)
		}
	})
}
