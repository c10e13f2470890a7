package p256

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strings"
	"testing"
)

// TestConstantTime finds everything that the functions for secrets call in
// this package, by name (so that of two methods with one name both count),
// and refuses what could make time depend on a value.
func TestConstantTime(t *testing.T) {
	secret := []string{
		"Add", "Sub", "Neg", "Mul", "Square", "Inverse", "Equal", "IsZero",
		"Double", "InnerProduct", "ScalarFromWide", "number", "toMontgomery",
		"bytes", "invertFields", "append", "Scalar", "Shift", "Select", "IsMontgomery", "InvertBatch",
	}
	// Why a function may hold what is otherwise refused.
	allowed := map[string]string{
		"Inverse index":        "at counters and at bits of the public n-2",
		"bits index":           "at a public position",
		"bits if":              "on a public position",
		"bits division":        "of a public position",
		"sameLength if":        "on lengths",
		"InnerProduct index":   "at a counter",
		"ScalarFromWide index": "at lengths",
		"ScalarFromWide if":    "on a length",
		"invertFields index":   "at counters",
		"invertFields if":      "on a product that no secret makes zero",
		"InvertBatch if":       "on a product that no secret makes zero",
		"products index":       "at counters",
		"products if":          "on a factor that no secret makes zero",
		"spreadInverse index":  "at counters",
		"append index":         "at constants",
		"bytes index":          "at constants",
		"u256FromBytes index":  "at constants",
	}
	files := token.NewFileSet()
	functions := map[string][]*ast.FuncDecl{}
	types := map[string]bool{}
	names, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range names {
		if !strings.HasSuffix(entry.Name(), ".go") || strings.HasSuffix(entry.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(files, entry.Name(), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				functions[d.Name.Name] = append(functions[d.Name.Name], d)
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					if spec, ok := spec.(*ast.TypeSpec); ok {
						types[spec.Name.Name] = true
					}
				}
			}
		}
	}

	seen := map[string]bool{}
	refuse := func(name, what string, at token.Pos) {
		if _, ok := allowed[name+" "+what]; !ok {
			t.Errorf("%s: %s in %s, which is for secrets", files.Position(at), what, name)
		}
	}
	for todo := secret; len(todo) > 0; {
		name := todo[0]
		todo = todo[1:]
		if seen[name] {
			continue
		}
		seen[name] = true
		if len(functions[name]) == 0 {
			t.Errorf("no function %s", name)
		}
		for _, f := range functions[name] {
			local := map[string]bool{}
			ast.Inspect(f.Body, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.AssignStmt:
					for i, value := range n.Rhs {
						if _, ok := value.(*ast.FuncLit); ok {
							local[n.Lhs[i].(*ast.Ident).Name] = true // its body is walked here
						}
					}
				case *ast.IfStmt:
					refuse(name, "if", n.Pos())
				case *ast.SwitchStmt, *ast.TypeSwitchStmt, *ast.SelectStmt, *ast.BranchStmt, *ast.DeferStmt, *ast.GoStmt:
					refuse(name, "jump", n.Pos())
				case *ast.IndexExpr, *ast.SliceExpr:
					refuse(name, "index", n.Pos())
				case *ast.BinaryExpr:
					switch n.Op {
					case token.LAND, token.LOR:
						refuse(name, n.Op.String(), n.Pos())
					case token.QUO, token.REM:
						refuse(name, "division", n.Pos())
					}
				case *ast.CallExpr:
					callee, ours := callee(n.Fun)
					if ours && !types[callee] && !local[callee] && !builtin[callee] {
						todo = append(todo, callee)
					}
				}
				return true
			})
		}
	}
	for _, name := range []string{"product", "square", "montgomeryN", "montgomeryP", "reduceN", "reduceP", "choose", "wellFormed"} {
		if !seen[name] {
			t.Errorf("the walk did not come to %s", name)
		}
	}
}

var builtin = map[string]bool{"uint64": true, "uint": true, "len": true, "make": true, "copy": true, "panic": true, "append": true, "clear": true, "min": true}

// callee is the name that a call calls, and whether it may be ours: packages
// of others are known by their names.
func callee(fun ast.Expr) (name string, ours bool) {
	switch fun := fun.(type) {
	case *ast.Ident:
		return fun.Name, true
	case *ast.SelectorExpr:
		if x, ok := fun.X.(*ast.Ident); ok {
			switch x.Name {
			case "bits", "fmt":
				return "", false
			}
		}
		if x, ok := fun.X.(*ast.SelectorExpr); ok && x.Sel.Name == "BigEndian" {
			return "", false
		}
		return fun.Sel.Name, true
	}
	return "", false
}
