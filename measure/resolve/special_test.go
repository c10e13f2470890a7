package resolve

import (
	"net/netip"
	"testing"

	"github.com/miekg/dns"

	"zonesigner/measure"
)

// TestSpecialAddresses wants addresses that are not of the Internet neither
// asked nor given, but in a test network.
func TestSpecialAddresses(t *testing.T) {
	for text, want := range map[string]bool{
		"127.0.0.1": true, "10.1.2.3": true, "172.16.0.1": true, "192.168.1.1": true, "169.254.1.1": true, "224.0.0.1": true, "255.255.255.255": true,
		"0.0.0.0": true, "100.64.0.1": true, "::1": true, "fe80::1": true, "fd00::1": true, "ff02::1": true, "::ffff:10.0.0.1": true, "2001:db8::1": true,
		"8.8.8.8": false, "198.41.0.4": false, "2001:503:ba3e::2:30": false, "172.32.0.1": false,
	} {
		if got := special(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
	lookup := func(qtype uint16) (reply, error) {
		if qtype == dns.TypeA {
			return reply{kind: kindAnswer, addrs: []netip.Addr{netip.MustParseAddr("10.0.0.1")}}, nil
		}
		return reply{kind: kindNoData}, nil
	}
	for _, noIPv6 := range []bool{false, true} {
		if h, err := addresses(&Config{NoIPv6: noIPv6}, lookup); err != nil || len(h.Addrs) > 0 || h.Status != measure.NoAddress {
			t.Errorf("%+v, %v", h, err)
		}
		if h, err := addresses(&Config{NoIPv6: noIPv6, Private: true}, lookup); err != nil || len(h.Addrs) != 1 || h.Status != measure.NoError {
			t.Errorf("in a test network: %+v, %v", h, err)
		}
	}
	r := &Iterative{Client: &Client{udp: &udp{}}, root: &cut{}}
	at := &cut{zone: "example", glue: map[string][]netip.Addr{"ns.example": {netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("9.9.9.9")}}}
	if got := r.glueOf(at, "ns.example"); len(got) != 1 || got[0].String() != "9.9.9.9" {
		t.Errorf("glue %v", got)
	}
}
