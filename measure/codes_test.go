package measure

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strconv"
	"strings"
	"testing"
)

// TestDocumented wants every class, status, reason and word for signers that a
// record may hold to have its place in docs/measure.md, and every reason to have
// its explanation.
func TestDocumented(t *testing.T) {
	manual, err := os.ReadFile("../docs/measure.md")
	if err != nil {
		t.Fatal(err)
	}
	words := 0
	documented := func(word string) {
		words++
		if !strings.Contains(string(manual), "`"+word+"`") {
			t.Errorf("docs/measure.md has no `%s`", word)
		}
	}
	for _, c := range Classes {
		documented(c.String())
	}
	for _, file := range []string{"codes.go", "measure.go"} {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || len(spec.Values) != 1 {
				return true
			}
			kind, typed := spec.Type.(*ast.Ident)
			value, literal := spec.Values[0].(*ast.BasicLit)
			if !typed || !literal {
				return true
			}
			word, err := strconv.Unquote(value.Value)
			if err != nil {
				t.Fatal(err)
			}
			switch documented(word); {
			case kind.Name == "Code" && Codes[Code(word)] == "":
				t.Errorf("reason %s has no explanation", word)
			}
			return true
		})
	}
	if words < 40 {
		t.Errorf("only %d words were found", words)
	}
}
