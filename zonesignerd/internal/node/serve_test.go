package node

import (
	"context"
	"testing"
	"testing/synctest"

	"zonesigner/mpc"
	"zonesigner/zonesignerd/internal/agree"
)

// A peer that asks for much has one request worked on at a time, and holds up
// neither the handler nor another peer.
func TestServeOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &Node{ctx: context.Background()}
		release := make(chan struct{})
		running, most, refused, other := 0, 0, 0, 0
		for range mostServings + 5 {
			err := n.serve(&agree.Message{From: "b", Type: "fetch"}, func() error {
				running++
				most = max(most, running)
				<-release
				running--
				return nil
			})
			if err != nil {
				refused++
			}
		}
		for _, from := range []mpc.PartyID{"b", "c"} {
			if err := n.serve(&agree.Message{From: from, Type: "listing"}, func() error { other++; return nil }); err != nil {
				t.Error(err)
			}
			synctest.Wait()
		}
		if running != 1 || refused != 5 || other != 2 {
			t.Errorf("%d at work, %d refused, %d others answered", running, refused, other)
		}
		close(release)
		n.wg.Wait()
		if most != 1 {
			t.Errorf("%d at work at once", most)
		}
	})
}
