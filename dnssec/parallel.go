package dnssec

import (
	"runtime"
	"sync"
)

// parallel calls f on consecutive ranges that cover [0, n), on at most
// threads goroutines (0: as many as there are CPUs), and waits for them.
func parallel(n, threads int, f func(lo, hi int)) {
	if threads <= 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	const least = 256 // below that, starting a goroutine costs more than it gains
	threads = min(threads, n/least+1)
	if threads == 1 {
		f(0, n)
		return
	}
	var wg sync.WaitGroup
	for t := range threads {
		lo, hi := n*t/threads, n*(t+1)/threads
		wg.Go(func() { f(lo, hi) })
	}
	wg.Wait()
}
