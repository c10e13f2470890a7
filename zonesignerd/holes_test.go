package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// exportedHoles are fields of mpc.Spender that take defences out. They are
// exported because the protocols whose tests set them are other packages.
var exportedHoles = []string{"NoRequest", "NoStatements", "NoHash"}

// holeFaults says where a file, which is no test, sets one of them to anything
// but the hole of that name of a protocol, which is not exported: holes.noHash.
func holeFaults(files *token.FileSet, file *ast.File) (faults []string) {
	passed := map[*ast.Ident]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		if pair, ok := n.(*ast.KeyValueExpr); ok {
			key, _ := pair.Key.(*ast.Ident)
			value, _ := pair.Value.(*ast.SelectorExpr)
			if key != nil && value != nil && value.Sel.Name == lowered(key.Name) {
				from, _ := value.X.(*ast.SelectorExpr)
				passed[key] = from != nil && from.Sel.Name == "holes"
			}
		}
		if id, ok := n.(*ast.Ident); ok && slices.Contains(exportedHoles, id.Name) && !passed[id] {
			faults = append(faults, files.Position(id.Pos()).String()+": "+id.Name+" is for tests")
		}
		return true
	})
	return faults
}

func lowered(name string) string { return string(unicode.ToLower(rune(name[0]))) + name[1:] }

// TestHolesAreForTests holds all code but that of tests, and of the Spender
// itself, to leaving its defences in.
func TestHolesAreForTests(t *testing.T) {
	passing := 0
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") || path == filepath.Join("..", "mpc", "spend.go") {
			return err
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, fault := range holeFaults(files, file) {
			t.Error(fault)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if id, ok := n.(*ast.Ident); ok && id.Name == exportedHoles[0] {
				passing++
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if passing < 3 {
		t.Errorf("%d protocols pass %s on, expected 3", passing, exportedHoles[0])
	}
}

// TestHoleRulesBite shows that what the rule is there to stop is stopped.
func TestHoleRulesBite(t *testing.T) {
	for code, bad := range map[string]bool{
		"s := mpc.Spender{NoHash: s.holes.noHash}":        false,
		"s := mpc.Spender{NoHash: true}":                  true,
		"s := mpc.Spender{NoHash: s.holes.noRequest}":     true,
		"s := mpc.Spender{NoHash: cfg.noHash}":            true,
		"s.NoStatements = true":                           true,
		"s.NoRequest = s.holes.noRequest":                 true,
		"p := &s.NoHash; *p = true":                       true,
		"s := mpc.Spender{NoHash: !engine.holes.noHash}":  true,
		"s := mpc.Spender{NoHash: engine.s.holes.noHash}": false,
	} {
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, "x.go", "package x\nfunc f() { "+code+" }", parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		if got := len(holeFaults(files, file)) > 0; got != bad {
			t.Errorf("%s is refused: %v, expected %v", code, got, bad)
		}
	}
}
