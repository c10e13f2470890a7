package list

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/net/idna"
)

// lookup maps what people write to A-labels (UTS 46, as RFC 5891 section 5
// wants it for lookups). Underscores are let through: lists of hosts have them.
var lookup = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.Transitional(false), idna.StrictDomainName(false))

// Name brings a domain as people write it into the form in which it is looked
// up: A-labels, lower case, no dot at the end. It fails for what is no domain:
// addresses, URLs, wildcards, labels that are empty or longer than 63 bytes.
func Name(s string) (string, error) {
	name := strings.TrimSuffix(strings.TrimSpace(s), ".")
	if name == "" {
		return "", errors.New("no name")
	}
	// Most names need not be tried: an address has a colon, or ends in a digit.
	if strings.Contains(name, ":") || name[len(name)-1] <= '9' {
		if _, err := netip.ParseAddr(name); err == nil {
			return "", fmt.Errorf("%s is an address", name)
		}
	}
	ascii := true
	for i := range len(name) {
		ascii = ascii && name[i] < 0x80
	}
	if ascii {
		name = strings.ToLower(name)
	} else {
		var err error
		if name, err = lookup.ToASCII(name); err != nil {
			return "", fmt.Errorf("%s is no domain by the rules of IDNA", quote(s)) // which err says at length
		}
	}
	if len(name) > 253 {
		return "", fmt.Errorf("a name of %d bytes, want at most 253", len(name))
	}
	digits := false
	for label := range strings.SplitSeq(name, ".") {
		digits = strings.Trim(label, "0123456789") == ""
		if label == "" || len(label) > 63 {
			return "", fmt.Errorf("%s: a label of %d bytes, want 1 to 63", quote(s), len(label))
		}
		for i := range len(label) {
			c := label[i]
			if c != '-' && c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') {
				return "", fmt.Errorf("%s is no domain", quote(s))
			}
		}
	}
	if digits { // no top-level domain is a number (RFC 3696, section 2)
		return "", fmt.Errorf("%s is no domain", quote(s))
	}
	return name, nil
}

// quote is text as it can be shown, cut where it is long.
func quote(s string) string {
	const most = 80
	if len(s) > most {
		return strconv.QuoteToASCII(s[:most]) + "..."
	}
	return strconv.QuoteToASCII(s)
}

// Unicode is name as people write it, or "" where that is no different or the
// A-labels stand for nothing.
func Unicode(name string) string {
	if !strings.Contains(name, "xn--") {
		return ""
	}
	u, err := lookup.ToUnicode(name)
	if err != nil || u == name {
		return ""
	}
	return u
}
