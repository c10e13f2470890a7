package main

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"zonesigner/zonesignerd/internal/api"
)

var update = flag.Bool("update", false, "write what the commands print into the scripts")

func TestMain(m *testing.M) {
	testscript.Main(leakChecked{m}, map[string]func(){
		"zonesignerd": func() { os.Exit(start(func() time.Time { return testNow })) },
	})
}

type leakChecked struct{ *testing.M }

func (m leakChecked) Run() int {
	status := m.M.Run()
	if err := goleak.Find(); err != nil && status == 0 {
		println(err.Error())
		return 1
	}
	return status
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           "testdata",
		UpdateScripts: *update,
		Setup: func(env *testscript.Env) error {
			env.Setenv("ZONESIGNER_SOCKET", filepath.Join(env.WorkDir, "control.sock"))
			env.Setenv("NO_COLOR", "1")
			golden, err := filepath.Abs("../testdata/golden")
			env.Setenv("GOLDEN", golden)
			return err
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"daemon": startFake,
			"status": wantStatus,
			"mode":   wantMode,
		},
	})
}

// startFake puts a fake daemon behind $ZONESIGNER_SOCKET until the script
// ends.
func startFake(ts *testscript.TestScript, _ bool, _ []string) {
	l, err := api.Listen(ts.Getenv("ZONESIGNER_SOCKET"))
	ts.Check(err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- api.NewServer(newFakeDaemon(), api.Access{}, nil).Serve(ctx, l) }()
	ts.Defer(func() {
		cancel()
		ts.Check(<-done)
	})
}

// wantStatus runs a command and wants an exit status: "status 2 zonesignerd x".
func wantStatus(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: status N command...")
	}
	got := "0"
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		got = err.Error()
	}
	if want := args[0]; got != want && got != "exit status "+want {
		ts.Fatalf("%s: want exit status %s", got, want)
	}
}

// wantMode checks the permissions of a file: "mode 600 file".
func wantMode(ts *testscript.TestScript, _ bool, args []string) {
	info, err := os.Stat(ts.MkAbs(args[1]))
	ts.Check(err)
	if got := info.Mode().Perm().String(); got != args[0] {
		ts.Fatalf("%s has mode %s", args[1], got)
	}
}
