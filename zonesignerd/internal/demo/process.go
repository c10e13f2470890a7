package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a server that runs in the background and writes to a log.
type process struct {
	cmd  *exec.Cmd
	log  string
	dead chan struct{} // closed when it has ended
}

// launch starts a server in a session of its own, so that a Ctrl-C at the
// terminal does not reach it before the demonstration has had its say.
func launch(log string, env []string, name string, args ...string) (*process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, log: log, dead: make(chan struct{})}
	go func() {
		_ = cmd.Wait()
		close(p.dead)
	}()
	return p, nil
}

// ended reports whether the process has ended by itself.
func (p *process) ended() bool {
	select {
	case <-p.dead:
		return true
	default:
		return false
	}
}

// stop ends the process in order, and by force if that takes too long.
func (p *process) stop() {
	if p == nil {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.dead:
	case <-time.After(10 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.dead
	}
}

// result is what a command printed and ended with.
type result struct {
	out, err string
	status   int
}

// runCommand runs a command to its end. Only a command that could not be run
// is an error; its exit status is the caller's business.
func runCommand(ctx context.Context, dir string, env []string, stdin, name string, args ...string) (result, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs limited
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return result{}, err
	}
	return result{string(out), string(errs), cmd.ProcessState.ExitCode()}, ctx.Err()
}

// limited keeps the beginning of what a command prints.
type limited []byte

func (l *limited) Write(b []byte) (int, error) {
	*l = append(*l, b[:min(len(b), 1<<20-len(*l))]...)
	return len(b), nil
}

// poll waits until ok says so; what it says last is in the error.
func poll(ctx context.Context, limit time.Duration, what string, ok func() (bool, string)) error {
	deadline := time.After(limit)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		done, state := ok()
		if done {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline:
			return fmt.Errorf("waited %s for %s: %s", limit, what, state)
		}
	}
}

// freePort finds a loopback port that is free for UDP and TCP, below those
// that the system gives to whoever asks for any.
func freePort() (int, error) {
	for range 1000 {
		port := 20000 + rand.IntN(12000)
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		l, err := net.Listen("tcp", address)
		if err != nil {
			continue
		}
		c, err := net.ListenPacket("udp", address)
		_ = l.Close()
		if err != nil {
			continue
		}
		_ = c.Close()
		return port, nil
	}
	return 0, errors.New("no port of 127.0.0.1 from 20000 to 31999 is free")
}

// program finds a program that may be where only root looks.
func program(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	if path, err := exec.LookPath("/usr/sbin/" + name); err == nil {
		return path, nil
	}
	return "", fmt.Errorf("%s is not installed: `make demo` installs what is needed", name)
}
