package heap

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

// What it does it does in a process that begins.
const child = "HEAP_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(child) != "" {
		if err := raiseEarly(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func TestRaise(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), child+"=1", "GOGC=100")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

var kept []byte

// raiseEarly says what is wrong where the floor takes memory, or does not keep
// the collector from running over less garbage than it is big.
func raiseEarly() error {
	const piece = 64 << 10
	collections := func() uint32 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range Floor / piece * 3 / 4 {
			kept = make([]byte, piece)
		}
		runtime.ReadMemStats(&after)
		return after.NumGC - before.NumGC
	}
	before, err := resident()
	if err != nil {
		return err
	}
	Raise()
	Raise()
	after, err := resident()
	if err != nil {
		return err
	}
	if len(floor) != Floor || after-before > Floor/8 {
		return fmt.Errorf("a floor of %d bytes takes %d bytes of memory", len(floor), after-before)
	}
	runtime.GC() // the collector's aim is set where a collection ends
	if with := collections(); with > 0 {
		return fmt.Errorf("%d collections with the floor", with)
	}
	floor = nil
	runtime.GC()
	if without := collections(); without == 0 {
		return fmt.Errorf("no collections without the floor")
	}
	return nil
}

// resident is this process's memory, as Linux counts it.
func resident() (int, error) {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, err
	}
	pages, err := strconv.Atoi(strings.Fields(string(b))[1])
	return pages * os.Getpagesize(), err
}
