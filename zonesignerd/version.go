package main

import (
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"zonesigner/zonesignerd/internal/api"
)

// version is set by the linker; without it the module's own is shown.
var version = ""

func programVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the program's version",
		Example: "  zonesignerd version",
		Args:    between(0, 0),
		RunE: func(cmd *cobra.Command, args []string) error {
			if a.json {
				return a.printJSON(api.Version{Version: programVersion(), GoVersion: runtime.Version()})
			}
			a.printf("zonesignerd %s", programVersion())
			return nil
		},
	}
}
