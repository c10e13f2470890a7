package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/spf13/cobra"

	"zonesigner/zonesignerd/config"
	"zonesigner/zonesignerd/internal/api"
)

// runNode runs the daemon until ctx ends. It calls ready once, with what it
// offers to the operator, when it can answer.
var runNode = func(ctx context.Context, cfg *config.Daemon, opts nodeOptions) error {
	return errors.New("this build holds no daemon")
}

type nodeOptions struct {
	ConfigFile string
	Version    string
	Log        *slog.Logger
	Ready      func(api.Backend)
}

func (a *app) runCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "run",
		Short: "Run the daemon",
		Long: `Run the daemon in the foreground, until SIGTERM or SIGINT. SIGHUP reads the
configuration again; should it be wrong, the one in force stays. Under systemd
the daemon tells when it is ready, reloads and stops, and serves the watchdog.`,
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
	log := newLogger(a, cfg.Log)
	access, err := api.ParseAccess(cfg.Socket.ReadGroup, cfg.Socket.ActGroup)
	if err != nil {
		return err
	}

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// From the first moment: a SIGHUP while the daemon starts must not end it.
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	systemd := newNotifier()
	tell := func(err error) {
		if err != nil {
			log.Warn("systemd was not told", "error", err)
		}
	}
	var serving sync.WaitGroup
	ready := func(b api.Backend) {
		l, err := api.Listen(cfg.Socket.Path)
		if err != nil {
			cancel(err)
			return
		}
		serving.Go(func() {
			if err := api.NewServer(b, access, log).Serve(ctx, l); err != nil {
				cancel(err)
			}
		})
		serving.Go(func() { reloadOnHangup(ctx, hangup, b, systemd, log) })
		serving.Go(func() {
			systemd.watch(ctx, func(ctx context.Context) error { _, err := b.Status(ctx); return err }, tell)
		})
		log.Info("ready", "operator", cfg.Operator, "socket", cfg.Socket.Path)
		tell(systemd.ready())
	}
	forget := context.AfterFunc(ctx, func() { tell(systemd.stopping()) })
	defer forget()
	err = runNode(ctx, cfg, nodeOptions{ConfigFile: a.configPath(), Version: programVersion(), Log: log, Ready: ready})
	cancel(err)
	serving.Wait()
	// What made us stop says more than what stopping led to.
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// reloadOnHangup reads the configuration again at each SIGHUP.
func reloadOnHangup(ctx context.Context, hangup <-chan os.Signal, b api.Backend, systemd *notifier, log *slog.Logger) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangup:
		}
		if err := systemd.reloading(); err != nil {
			log.Warn("systemd was not told", "error", err)
		}
		if result, err := b.Reload(ctx); err != nil {
			log.Error("reload failed, what was in force stays", "error", err)
		} else {
			log.Info("reloaded", "changed", result.Changed)
		}
		if err := systemd.ready(); err != nil {
			log.Warn("systemd was not told", "error", err)
		}
	}
}

func newLogger(a *app, c config.Log) *slog.Logger {
	var level slog.Level
	// Validate let only the names pass that slog knows.
	_ = level.UnmarshalText([]byte(c.Level))
	options := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(a.err, options))
	}
	return slog.New(slog.NewTextHandler(a.err, options))
}
