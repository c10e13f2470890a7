package node

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"zonesigner/mpc"
	"zonesigner/zonesignerd/config"
)

// daemonEnv names the configuration, in JSON, that a child of the test binary
// runs a daemon on.
const daemonEnv = "ZONESIGNER_TEST_DAEMON"

func TestMain(m *testing.M) {
	if file := os.Getenv(daemonEnv); file != "" {
		if err := runChild(file); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	// The tests wait for one another's timers more than for a processor.
	flag.Parse()
	if err := flag.Set("test.parallel", strconv.Itoa(max(4, runtime.GOMAXPROCS(0)))); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// runChild is a daemon until it is killed. Every spending is written down
// between the keystore's commit and anything that is said of it.
func runChild(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var cfg config.Daemon
	if err := json.Unmarshal(text, &cfg); err != nil {
		return err
	}
	log, err := os.OpenFile(file+".spent", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = Start(context.Background(), &cfg, Options{Version: "test", Turn: 300 * time.Millisecond, spent: func(r mpc.TupleRange, statement [32]byte) {
		fmt.Fprintf(log, "%x %d %d %x\n", r.Chunk, r.From, r.Count, statement)
	}})
	if err != nil {
		return err
	}
	select {}
}

// Daemons that are killed at any moment, over and over, while they sign, never
// spend a tuple twice, and come back level.
func TestKilledDaemonsSpendOnce(t *testing.T) {
	o := newOperators(t, 3, 1)
	o.edit = func(c *config.Daemon) {
		c.Pools.Depth, c.Pools.Chunk = 48, 16
		c.PollInterval = config.Duration(time.Second)
		c.Sessions.Timeout = config.Duration(2 * time.Second)
	}
	o.write("example.", 1, "www A 192.0.2.10")
	o.startAll()
	o.add("example.")
	serial := o.level("example.", 0)
	o.stopAll()

	children := map[string]*exec.Cmd{}
	start := func(name string) {
		file := o.path(name, "daemon.json")
		text, err := json.Marshal(o.config(name))
		must(t, err)
		must(t, os.WriteFile(file, text, 0o600))
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), daemonEnv+"="+file)
		log, err := os.OpenFile(o.path(name, "daemon.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		must(t, err)
		cmd.Stderr = log
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		must(t, cmd.Start())
		must(t, log.Close())
		children[name] = cmd
	}
	kill := func(name string) {
		must(t, children[name].Process.Kill())
		_ = children[name].Wait() // it was killed
	}
	for _, name := range o.names {
		start(name)
	}
	t.Cleanup(func() {
		for _, name := range o.names {
			kill(name)
			if t.Failed() {
				log, _ := os.ReadFile(o.path(name, "daemon.log"))
				t.Logf("log of %s ends with\n%s", name, log[max(0, len(log)-4000):])
			}
		}
	})
	// spending returns once somebody has begun to spend, or after a while.
	spending := func() {
		size := func() (n int64) {
			for _, name := range o.names {
				if info, err := os.Stat(o.path(name, "daemon.json.spent")); err == nil {
					n += info.Size()
				}
			}
			return n
		}
		before := size()
		for deadline := time.Now().Add(4 * time.Second); size() == before && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond)
		}
	}
	kills := 18
	for i := range kills {
		o.write("example.", uint32(i+2), fmt.Sprintf("www A 192.0.2.%d", i+11))
		victim := o.names[rand.IntN(len(o.names))]
		// The moment is what is tested: mostly within a signing, else anywhere.
		if i%4 != 0 {
			spending()
			time.Sleep(time.Duration(rand.IntN(12)) * time.Millisecond)
		} else {
			time.Sleep(time.Duration(rand.IntN(900)) * time.Millisecond)
		}
		kill(victim)
		start(victim)
	}
	o.write("example.", uint32(kills+2), "www A 192.0.2.200")
	o.eventually(60*time.Second, "all serve the last content", func() bool {
		for _, name := range o.names {
			text, _ := os.ReadFile(o.path(name, "example.signed"))
			if !strings.Contains(string(text), "192.0.2.200") {
				return false
			}
		}
		return true
	})
	o.level("example.", serial)
	total := 0
	for _, name := range o.names {
		total += spentOnce(t, o.path(name, "daemon.json.spent"))
	}
	if total == 0 {
		t.Fatal("nothing was spent, so nothing was tested")
	}
	t.Logf("%d kills, %d ranges of tuples spent", kills, total)
}

// spentOnce reads an operator's spendings, checks that no tuple is in two of
// them, and returns how many there are.
func spentOnce(t *testing.T, file string) int {
	t.Helper()
	f, err := os.Open(file)
	must(t, err)
	defer f.Close()
	type tuple struct {
		chunk string
		index int
	}
	by := map[tuple]string{}
	n := 0
	for s := bufio.NewScanner(f); s.Scan(); n++ {
		var chunk, statement string
		var from, count int
		if _, err := fmt.Sscanf(s.Text(), "%s %d %d %s", &chunk, &from, &count, &statement); err != nil {
			t.Fatalf("%s: %v", s.Text(), err)
		}
		for i := from; i < from+count; i++ {
			if old, twice := by[tuple{chunk, i}]; twice {
				t.Errorf("tuple %d of chunk %s was spent by statements %s and %s", i, chunk, old, statement)
			}
			by[tuple{chunk, i}] = statement
		}
	}
	return n
}
