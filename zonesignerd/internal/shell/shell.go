// Package shell writes commands that are shown for people to type. They may
// hold a peer's words.
package shell

import (
	"slices"
	"strings"
)

// Command is command with args and then flags, which are taken as they are.
// Where an argument looks like a flag (a zone's name may begin with "-"), the
// arguments come last, behind "--".
func Command(command string, args []string, flags ...string) string {
	words := []string{command}
	if slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, "-") }) {
		words = append(append(words, flags...), "--")
		flags = nil
	}
	for _, a := range args {
		words = append(words, Word(a))
	}
	return strings.Join(append(words, flags...), " ")
}

// Word quotes what a shell would not take as it is.
func Word(s string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./+"
	if s != "" && strings.Trim(s, plain) == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
