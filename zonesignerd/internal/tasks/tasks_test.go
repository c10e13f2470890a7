package tasks

import (
	"sync"
	"sync/atomic"
	"testing"
)

// Work comes from several sides while the group closes: what began has ended
// when Wait returns, and nothing begins afterwards.
func TestWaitWhileOthersAdd(t *testing.T) {
	for range 200 {
		var g Group
		var running atomic.Int32
		var adders sync.WaitGroup
		for range 4 {
			adders.Go(func() {
				for range 50 {
					g.Go(func() {
						running.Add(1)
						running.Add(-1)
					})
				}
			})
		}
		g.Wait()
		if n := running.Load(); n != 0 {
			t.Fatalf("%d run after Wait", n)
		}
		adders.Wait()
		g.Go(func() { t.Error("begun after Wait") })
		g.Wait()
	}
}
