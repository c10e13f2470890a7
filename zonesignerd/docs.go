package main

import (
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

func (a *app) docsCommand() *cobra.Command {
	man := &cobra.Command{
		Use:   "man DIR",
		Short: "Write the manual pages into a directory",
		Args:  between(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return err
			}
			root := cmd.Root()
			root.DisableAutoGenTag = true
			return doc.GenManTree(root, &doc.GenManHeader{Title: "ZONESIGNERD", Section: "8", Source: "Zonesigner", Manual: "Zonesigner"}, args[0])
		},
	}
	return parent(&cobra.Command{Use: "docs", Short: "Write documentation", Hidden: true}, man)
}
