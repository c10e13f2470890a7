package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/spf13/cobra"

	"zonesigner/zonesignerd/config"
	"zonesigner/zonesignerd/internal/api"
	"zonesigner/zonesignerd/internal/heap"
	"zonesigner/zonesignerd/internal/node"
)

// daemon is what runs behind the commands' socket.
type daemon interface {
	api.Backend
	Close()
}

// startNode starts the daemon. Tests put another daemon here.
var startNode = func(ctx context.Context, cfg *config.Daemon, o node.Options) (daemon, error) {
	n, err := node.Start(ctx, cfg, o)
	if err != nil {
		return nil, err
	}
	return n, nil
}

func (a *app) runCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "run",
		Short: "Run the daemon",
		Long: `Run the daemon in the foreground, until SIGTERM or SIGINT. SIGHUP reads the
configuration again: log.level, pools.depth and pools.changes come into force, other changes
are named in the log and need a restart; should a file be wrong, the one in
force stays. Under systemd the daemon tells when it is ready, reloads and
stops, and serves the watchdog.`,
		Example: "  zonesignerd run\n  zonesignerd run --config ./zonesignerd.yaml",
		Args:    between(0, 0),
		RunE:    func(cmd *cobra.Command, args []string) error { return a.runDaemon(cmd.Context()) },
	}
}

func (a *app) runDaemon(ctx context.Context) error {
	cfg, err := config.LoadDaemon(a.configPath())
	if err != nil {
		return err
	}
	level := new(slog.LevelVar)
	setLevel(level, cfg.Log.Level)
	log := newLogger(a, cfg.Log, level)
	access, err := api.ParseAccess(cfg.Socket.ReadGroup, cfg.Socket.ActGroup)
	if err != nil {
		return err
	}

	// From the first moment: a SIGHUP while the daemon starts must not end it.
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)

	heap.Raise()
	d, err := startNode(ctx, cfg, node.Options{
		Version: programVersion(), Logger: log,
		Load:        func() (*config.Daemon, error) { return config.LoadDaemon(a.configPath()) },
		SetLogLevel: func(name string) { setLevel(level, name) },
	})
	if err != nil {
		return err
	}
	defer d.Close()
	l, err := api.Listen(cfg.Socket.Path)
	if err != nil {
		return err
	}
	s := newNotifier(log)
	ctx, cancel := context.WithCancel(ctx)
	var beside sync.WaitGroup
	defer beside.Wait()
	defer cancel()
	beside.Go(func() { reloadOnHangup(ctx, hangup, d, s, log) })
	beside.Go(func() {
		s.watch(ctx, func(ctx context.Context) error { _, err := d.Status(ctx); return err })
	})
	beside.Go(func() {
		<-ctx.Done()
		s.stopping()
	})
	log.Info("ready", "operator", cfg.Operator, "socket", cfg.Socket.Path)
	s.ready()
	return api.NewServer(d, access, log).Serve(ctx, l)
}

// reloadOnHangup reads the configuration again at each SIGHUP.
func reloadOnHangup(ctx context.Context, hangup <-chan os.Signal, b api.Backend, s *notifier, log *slog.Logger) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangup:
		}
		s.reloading()
		if result, err := b.Reload(ctx); err != nil {
			log.Error("reload failed, what was in force stays", "error", err)
		} else {
			log.Info("reloaded", "changed", result.Changed, "needs restart", result.NeedsRestart)
		}
		s.ready()
	}
}

// setLevel takes a level by its name; Validate let only those pass that slog
// knows.
func setLevel(v *slog.LevelVar, name string) {
	var level slog.Level
	_ = level.UnmarshalText([]byte(name))
	v.Set(level)
}

func newLogger(a *app, c config.Log, level slog.Leveler) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(a.err, options))
	}
	return slog.New(slog.NewTextHandler(a.err, options))
}
