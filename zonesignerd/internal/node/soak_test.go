//go:build soak

package node

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"zonesigner/zonesignerd/config"
	"zonesigner/zonesignerd/internal/api"
)

const (
	soakZones = 1000
	soakNames = 20
)

// lineCounter counts log lines, and keeps them for whoever wants to look.
type lineCounter struct {
	n    atomic.Int64
	file *os.File
}

func (c *lineCounter) Write(b []byte) (int, error) {
	c.n.Add(int64(bytes.Count(b, []byte("\n"))))
	return c.file.Write(b)
}

// TestSoak is a thousand small zones at three operators in one process: the
// time until all are signed, and what the daemons do at rest.
func TestSoak(t *testing.T) {
	o := newOperators(t, 3, 1)
	o.group.SignerSets = [][]string{{"a", "b", "c"}}
	o.edit = func(c *config.Daemon) {
		c.Pools.Depth, c.Pools.Changes, c.Pools.Chunk = 4096, 32, 1024
		c.PollInterval = config.Duration(2 * time.Second)
		c.Sessions.Settle = config.Duration(30 * time.Second)
	}
	logFile, err := os.Create(o.path("log"))
	must(t, err)
	defer logFile.Close()
	counter := &lineCounter{file: logFile}
	o.options = func(name string, opt *Options) {
		opt.Logger = slog.New(slog.NewTextHandler(counter, nil)).With("operator", name)
		opt.Turn = 0 // as it is by default
	}
	var records strings.Builder
	for i := range soakNames {
		fmt.Fprintf(&records, "n%d A 192.0.2.%d\n", i, i+1)
	}
	zones := make([]string, soakZones)
	for i := range zones {
		zones[i] = fmt.Sprintf("zone%d.example.", i)
		o.write(zones[i], 1, records.String())
	}
	o.startAll()
	o.eventually(30*time.Second, "all are connected", func() bool {
		return !slices.ContainsFunc(o.names, func(n string) bool {
			return slices.ContainsFunc(o.nodes[n].peers(), func(p api.Peer) bool { return !p.Ready })
		})
	})

	start := time.Now()
	for _, z := range zones {
		o.add(z, "single-type-signing: true")
	}
	t.Logf("asked for the keys of %d zones at all operators after %s", soakZones, time.Since(start).Round(time.Second))
	profile(t, "sign", func() {
		last := time.Now()
		for done := 0; done < len(zones); {
			time.Sleep(time.Second)
			done = 0
			keys := len(o.nodes["a"].keys.all())
			for _, z := range zones {
				if !slices.ContainsFunc(o.names, func(n string) bool {
					_, err := os.Stat(o.path(n, z+"signed"))
					return err != nil
				}) {
					done++
				}
			}
			if time.Since(last) > 10*time.Second {
				t.Logf("after %s: %d keys, %d zones signed", time.Since(start).Round(time.Second), keys, done)
				last = time.Now()
			}
			if time.Since(start) > 20*time.Minute {
				t.Fatalf("%d of %d zones are signed", done, len(zones))
			}
		}
	})
	first := time.Since(start)

	// Let what is left of filling pools end.
	for calm := 0; calm < 5; calm++ {
		before := counter.n.Load()
		time.Sleep(2 * time.Second)
		if counter.n.Load() != before {
			calm = 0
		}
	}
	lines, cpu := counter.n.Load(), cpuTime(t)
	rest := time.Now()
	profile(t, "rest", func() { time.Sleep(30 * time.Second) })
	if said := counter.n.Load() - lines; said > 0 {
		text, err := os.ReadFile(logFile.Name())
		must(t, err)
		all := strings.Split(strings.TrimSpace(string(text)), "\n")
		t.Logf("said at rest, among others:\n%s", strings.Join(all[max(0, len(all)-10):], "\n"))
	}
	perMinute := float64(counter.n.Load()-lines) / time.Since(rest).Minutes()
	load := (cpuTime(t) - cpu).Seconds() / time.Since(rest).Seconds()

	poll := time.Now()
	o.nodes["a"].pollOnce()
	cycle := time.Since(poll)
	status := time.Now()
	_, err = o.nodes["a"].Status(t.Context())
	must(t, err)
	asked := time.Since(status)
	runtime.GC()
	if dir := os.Getenv("ZONESIGNER_PROFILE"); dir != "" {
		f, err := os.Create(dir + "/heap.prof")
		must(t, err)
		must(t, pprof.WriteHeapProfile(f))
		must(t, f.Close())
	}
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	t.Logf("%d zones of %d names, 3 operators in one process: first signing %s; at rest %.1f log lines a minute and %.0f%% of a core in all; poll cycle %s; status %s; RSS %d MiB, heap %d MiB in all; %d goroutines",
		soakZones, soakNames, first.Round(time.Second), perMinute, 100*load, cycle.Round(time.Millisecond), asked.Round(time.Millisecond), rss(t)>>20, mem.HeapAlloc>>20, runtime.NumGoroutine())

	change := time.Now()
	for _, z := range zones[:100] {
		o.write(z, 2, records.String()+"new A 192.0.2.99\n")
	}
	o.eventually(5*time.Minute, "100 changed zones are signed", func() bool {
		return !slices.ContainsFunc(zones[:100], func(z string) bool { return !o.has("c", z, "A 192.0.2.99") })
	})
	t.Logf("100 zones changed at once: %s", time.Since(change).Round(100*time.Millisecond))
}

// profile writes a CPU profile to the directory in ZONESIGNER_PROFILE, if any.
func profile(t *testing.T, name string, run func()) {
	if dir := os.Getenv("ZONESIGNER_PROFILE"); dir != "" {
		f, err := os.Create(dir + "/" + name + ".prof")
		must(t, err)
		defer f.Close()
		must(t, pprof.StartCPUProfile(f))
		defer pprof.StopCPUProfile()
	}
	run()
}

func cpuTime(t *testing.T) time.Duration {
	var u syscall.Rusage
	must(t, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func rss(t *testing.T) int64 {
	text, err := os.ReadFile("/proc/self/statm")
	must(t, err)
	var size, resident int64
	_, err = fmt.Sscan(string(text), &size, &resident)
	must(t, err)
	return resident * int64(os.Getpagesize())
}
