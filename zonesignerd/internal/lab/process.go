// Package lab runs whole groups of operators on one machine, each part in a
// process and a directory of its own, for measurements: zonesignerd from a
// binary, and for each operator a hidden and a public knotd.
package lab

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

// Process is a server in the background that writes to a log.
type Process struct {
	cmd  *exec.Cmd
	Log  string
	dead chan struct{}
}

// Launch starts a server; it ends when this process does.
func Launch(log string, name string, args ...string) (*Process, error) {
	return launch(log, syscall.SIGTERM, name, args...)
}

// Detach starts a server that may outlive this process.
func Detach(log string, name string, args ...string) (*Process, error) {
	return launch(log, 0, name, args...)
}

func launch(log string, atOurEnd syscall.Signal, name string, args ...string) (*Process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: atOurEnd}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &Process{cmd: cmd, Log: log, dead: make(chan struct{})}
	go func() {
		_ = cmd.Wait()
		close(p.dead)
	}()
	return p, nil
}

// PID is the process's number.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Ended reports whether the process has ended.
func (p *Process) Ended() bool {
	select {
	case <-p.dead:
		return true
	default:
		return false
	}
}

// Stop ends the process in order, and by force if that takes too long.
func (p *Process) Stop() {
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

// Usage is what a process has used so far.
type Usage struct {
	CPU  time.Duration // user and system
	Peak int64         // bytes of memory at the most
}

// clockTick is the unit of times in /proc, fixed on Linux.
const clockTick = 10 * time.Millisecond

// Usage reads /proc; a process that has ended has none.
func (p *Process) Usage() (u Usage, err error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return u, err
	}
	// The second field, the name, may hold anything; the rest follows its ")".
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 13 {
		return u, errors.New("/proc/pid/stat has too few fields")
	}
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return u, err
		}
		u.CPU += time.Duration(n) * clockTick
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return u, err
	}
	for line := range strings.Lines(string(status)) {
		if kb, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			if _, err := fmt.Sscan(kb, &u.Peak); err != nil {
				return u, err
			}
			u.Peak *= 1024
		}
	}
	return u, nil
}

// Measured is a command that ran to its end.
type Measured struct {
	Wall time.Duration
	Usage
	Out string
}

// Measure runs a command to its end and wants it to succeed.
func Measure(ctx context.Context, dir, name string, args ...string) (m Measured, err error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	var errs strings.Builder
	cmd.Stderr = &errs
	start := time.Now()
	out, err := cmd.Output()
	m.Wall, m.Out = time.Since(start), string(out)
	if err != nil {
		return m, fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(errs.String()))
	}
	m.CPU = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	if r, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		m.Peak = r.Maxrss * 1024
	}
	return m, nil
}

// Until polls until ok says so; what it says last is in the error.
func Until(ctx context.Context, limit time.Duration, what string, ok func() (bool, string)) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		done, state := ok()
		if done {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("waited %s for %s: %s", limit, what, state)
		}
	}
}

// FreePort finds a loopback port that is free for UDP and TCP, below those
// that the system gives to whoever asks for any.
func FreePort() (int, error) {
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

// Program finds a program that may be where only root looks.
func Program(name string) (string, error) {
	for _, path := range []string{name, "/usr/sbin/" + name} {
		if path, err := exec.LookPath(path); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is not installed: see testdata/scripts/deps.sh", name)
}
