package pipeline

import (
	"bytes"
	"testing"

	"zonesigner/mpc"
	"zonesigner/zonesignerd/internal/agree"
)

// Of two operators with threshold 1, b certifies alone what a never derived,
// made of signatures that both made earlier. n-t certificates, which is one,
// would make a take it for the last signed zone; t+1 are wanted.
func TestCertificateOfOneOfTwo(t *testing.T) {
	for _, defended := range []bool{true, false} {
		w := newWorld(t, "b", "a", "b")
		w.group.T = 1
		b := w.byHand["b"]
		a := w.members["a"]
		a.source.set(t, 1, "www A 192.0.2.10")
		a.run()
		z := a.zone
		z.mu.Lock()
		z.holes.noMajority = !defended
		z.mu.Unlock()
		crt := Certificate{Zone: "example.", Serial: 1, Source: 1, Time: uint32(w.now().Unix())}
		bad := signAlone(w, "www A 192.0.2.66", &crt)
		crt.Digest = agree.Digest(bad.Digest())
		var text bytes.Buffer
		check(t, bad.Save(&text))
		b.serve(func(net mpc.Session, to mpc.PartyID) { sendZone(net, to, text.Bytes(), text.Len()) })
		b.say(TypeCertificate, crt)
		adopted := func() bool {
			z.mu.Lock()
			defer z.mu.Unlock()
			return z.head != nil && z.head.Cert.Digest == crt.Digest
		}
		w.eventually("a has judged what b certified", func() bool {
			z.mu.Lock()
			refused := !z.fetches["b"].until.IsZero()
			z.mu.Unlock()
			return refused || adopted()
		})
		if adopted() == defended {
			t.Errorf("a took over what b alone certified: %v, expected %v", adopted(), !defended)
		}
	}
}
