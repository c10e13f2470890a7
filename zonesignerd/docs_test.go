package main

import (
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestEveryCommandIsExplained wants an example of each command, its line in
// docs/commands.md, and messages that keep to one form.
func TestEveryCommandIsExplained(t *testing.T) {
	text, err := os.ReadFile("../docs/commands.md")
	if err != nil {
		t.Fatal(err)
	}
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		if cmd.Hidden {
			return
		}
		for _, child := range cmd.Commands() {
			walk(child)
		}
		if cmd.HasSubCommands() {
			return
		}
		path := strings.TrimPrefix(cmd.CommandPath(), "zonesignerd ")
		if cmd.Example == "" {
			t.Errorf("%s has no example", path)
		}
		if !strings.Contains(string(text), "`"+path) {
			t.Errorf("docs/commands.md does not mention %s", path)
		}
		if strings.HasSuffix(cmd.Short, ".") {
			t.Errorf("%s: the short text ends in a full stop", path)
		}
		if cmd.Args == nil {
			t.Errorf("%s takes any arguments", path)
		}
	}
	walk((&app{}).root())
}
