package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
)

// hostZone is a zone of n names with A and AAAA and some MX, TXT and
// wildcards: all names get signatures. The same n gives the same zone.
func hostZone(origin string, n int, serial uint32) []byte {
	var w bytes.Buffer
	head(&w, origin, serial)
	for i := range n {
		x := fmt.Sprintf("%x", sha256.Sum256(fmt.Appendf(nil, "%d", i)))
		name := fmt.Sprintf("n%d-%s", i, x[:6])
		fmt.Fprintf(&w, "%s IN A 198.51.%d.%d\n", name, i>>8&255, i&255)
		if i%2 == 0 {
			fmt.Fprintf(&w, "%s IN AAAA 2001:db8::%s:%x\n", name, x[:4], i&0xffff)
		}
		if i%10 == 0 {
			fmt.Fprintf(&w, "%s IN MX 10 mail.%s\n%s IN TXT \"%s\"\n", name, origin, name, x)
		}
		if i%1000 == 0 {
			fmt.Fprintf(&w, "*.%s IN A 198.51.100.7\n", name)
		}
	}
	return w.Bytes()
}

// tldZone is a zone of n delegations with two servers each, three in ten with
// DS, one in ten with glue.
func tldZone(origin string, n int, serial uint32) []byte {
	var w bytes.Buffer
	head(&w, origin, serial)
	for i := range n {
		x := fmt.Sprintf("%x", sha256.Sum256(fmt.Appendf(nil, "%d", i)))
		name := fmt.Sprintf("n%d-%s", i, x[:6])
		fmt.Fprintf(&w, "%s IN NS ns1.p%d.dns.example.\n%[1]s IN NS ns2.p%[3]d.dns.example.\n", name, i%97, i%89)
		if i%10 < 3 {
			fmt.Fprintf(&w, "%s IN DS %d 13 2 %s\n", name, i&0xffff, x)
		}
		if i%10 == 9 {
			fmt.Fprintf(&w, "%s IN NS ns.%[1]s.%s\nns.%[1]s IN A 203.0.113.%[3]d\n", name, origin, i&255)
		}
	}
	return w.Bytes()
}

// head is what both kinds of zone begin with.
func head(w *bytes.Buffer, origin string, serial uint32) {
	fmt.Fprintf(w, "$ORIGIN %s\n$TTL 3600\n@ IN SOA ns1.%[1]s hostmaster.%[1]s %d 7200 3600 1209600 300\n", origin, serial)
	fmt.Fprintf(w, "@ IN NS ns1.%[1]s\n@ IN NS ns2.%[1]s\nns1 IN A 192.0.2.1\nns2 IN A 192.0.2.2\nns1 IN AAAA 2001:db8::1\n@ IN MX 10 mail.%[1]s\nmail IN A 192.0.2.3\n@ IN TXT \"v=spf1 mx -all\"\n", origin)
}
