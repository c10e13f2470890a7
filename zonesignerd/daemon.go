package main

import (
	"context"

	"zonesigner/zonesignerd/config"
	"zonesigner/zonesignerd/internal/node"
)

func init() {
	runNode = func(ctx context.Context, cfg *config.Daemon, opts nodeOptions) error {
		n, err := node.Start(ctx, cfg, node.Options{
			Version: opts.Version, Logger: opts.Log,
			Load: func() (*config.Daemon, error) { return config.LoadDaemon(opts.ConfigFile) },
		})
		if err != nil {
			return err
		}
		defer n.Close()
		opts.Ready(n)
		<-ctx.Done()
		return nil
	}
}
