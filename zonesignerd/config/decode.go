package config

import (
	"bytes"
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// maxFile bounds a file's bytes. The largest group file that Validate lets
// pass has a few kilobytes.
const maxFile = 64 << 10

// The parser recurses, and takes time that grows with the square of a file's
// nesting. Brackets are counted wherever they stand, in strings and comments
// too, because to tell those apart would be to parse. A long line could nest
// as deep with "- - - -".
const (
	maxBrackets = 1024
	maxLine     = 4096
)

// decoder fills a struct from YAML by its yaml tags. It accepts less than
// YAML has (one document, no anchors, aliases, tags or merge keys, which can
// make a small file large or hide what it says) and reports all faults with
// their places.
type decoder struct {
	file   string
	faults faults
	places map[string]*token.Token // of every value that was read, by path
}

// decode reads text over what v, a pointer to a struct, holds already.
func decode(file string, text []byte, v any) (*decoder, error) {
	d := &decoder{file: file, places: map[string]*token.Token{}}
	if len(text) > maxFile {
		return nil, Faults{{File: file, Message: fmt.Sprintf("the file has %d bytes: at most %d are read", len(text), maxFile)}}
	}
	if bytes.Count(text, []byte("["))+bytes.Count(text, []byte("{")) > maxBrackets {
		return nil, Faults{{File: file, Message: fmt.Sprintf("the file has more than %d brackets", maxBrackets)}}
	}
	number := 0
	for line := range bytes.Lines(text) {
		if number++; len(line) > maxLine {
			return nil, Faults{{File: file, Line: number, Column: 1, Message: fmt.Sprintf("the line has %d bytes: at most %d are read", len(line), maxLine)}}
		}
	}
	doc, err := parser.ParseBytes(text, 0)
	if err != nil {
		return nil, Faults{d.syntaxFault(err)}
	}
	var bodies []ast.Node
	for _, one := range doc.Docs {
		if one.Body != nil && one.Body.Type() != ast.CommentType {
			bodies = append(bodies, one.Body)
		}
	}
	switch len(bodies) {
	case 0:
		return nil, Faults{{File: file, Message: "the file is empty: want version: 1 and more"}}
	case 1:
		d.value("", bodies[0], reflect.ValueOf(v).Elem())
	default:
		return nil, Faults{d.at(bodies[1].GetToken(), "", "a second document begins: want one only")}
	}
	return d, nil
}

func (d *decoder) syntaxFault(err error) Fault {
	var syntax yaml.Error
	if errors.As(err, &syntax) {
		return d.at(syntax.GetToken(), "", syntax.GetMessage())
	}
	return Fault{File: d.file, Message: "not YAML: " + err.Error()}
}

func (d *decoder) at(t *token.Token, path, message string) Fault {
	f := Fault{File: d.file, Path: path, Message: message}
	if t != nil && t.Position != nil {
		f.Line, f.Column = t.Position.Line, t.Position.Column
	}
	return f
}

func (d *decoder) fault(n ast.Node, path, format string, args ...any) {
	d.faults = append(d.faults, d.at(n.GetToken(), path, fmt.Sprintf(format, args...)))
}

// value reads node into v.
func (d *decoder) value(path string, node ast.Node, v reflect.Value) {
	d.places[path] = node.GetToken()
	if node.Type() == ast.NullType {
		return // "key:" with nothing after it keeps the default
	}
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		if text, ok := d.scalar(path, node, "a duration"); ok {
			if err := u.UnmarshalText([]byte(text)); err != nil {
				d.fault(node, path, "%v", err)
			}
		}
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.mapping(path, node, v)
	case reflect.Slice:
		list, ok := node.(*ast.SequenceNode)
		if !ok {
			d.fault(node, path, "want a list, one \"- \" an entry")
			return
		}
		// A list in the file replaces the default.
		v.Set(reflect.MakeSlice(v.Type(), len(list.Values), len(list.Values)))
		for i, n := range list.Values {
			d.value(fmt.Sprintf("%s[%d]", path, i), n, v.Index(i))
		}
	case reflect.String:
		if text, ok := d.scalar(path, node, "text"); ok {
			v.SetString(text)
		}
	case reflect.Bool:
		text, ok := d.scalar(path, node, "true or false")
		switch {
		case !ok:
		case text == "true" || text == "on" || text == "yes":
			v.SetBool(true)
		case text == "false" || text == "off" || text == "no":
			v.SetBool(false)
		default:
			d.fault(node, path, "%q: want true or false", text)
		}
	case reflect.Int:
		if text, ok := d.scalar(path, node, "a number"); ok {
			n, err := strconv.ParseInt(text, 10, 32)
			if err != nil {
				d.fault(node, path, "%q: want a whole number", text)
			}
			v.SetInt(n)
		}
	case reflect.Uint16:
		if text, ok := d.scalar(path, node, "a number"); ok {
			n, err := strconv.ParseUint(text, 10, 16)
			if err != nil {
				d.fault(node, path, "%q: want a number from 0 to 65535", text)
			}
			v.SetUint(n)
		}
	}
}

// mapping reads the keys of node into the fields of the struct v.
func (d *decoder) mapping(path string, node ast.Node, v reflect.Value) {
	var pairs []*ast.MappingValueNode
	switch n := node.(type) {
	case *ast.MappingNode:
		pairs = n.Values
	case *ast.MappingValueNode:
		pairs = []*ast.MappingValueNode{n}
	default:
		d.fault(node, path, "want keys and values, as in \"version: 1\"")
		return
	}
	known := keysOf(v.Type())
	seen := map[string]bool{}
	for _, pair := range pairs {
		key := pair.Key.GetToken().Value
		i := slices.Index(known, key)
		if i < 0 {
			msg := fmt.Sprintf("unknown key %q", key)
			if near := nearest(key, known); near != "" {
				msg += fmt.Sprintf("; did you mean %q?", near)
			}
			d.fault(pair.Key, path, "%s", msg)
			continue
		}
		if seen[key] {
			d.fault(pair.Key, path, "the key %q stands here a second time", key)
			continue
		}
		seen[key] = true
		d.value(join(path, key), pair.Value, v.Field(i))
	}
}

// scalar is the text of a plain or quoted value as it was written: a salt of
// 0012 stays 0012.
func (d *decoder) scalar(path string, node ast.Node, want string) (string, bool) {
	switch node.Type() {
	case ast.StringType, ast.IntegerType, ast.FloatType, ast.BoolType, ast.InfinityType, ast.NanType:
		return node.GetToken().Value, true
	}
	d.fault(node, path, "want %s", want)
	return "", false
}

// keysOf lists the yaml keys of a struct, in the order of its fields.
func keysOf(t reflect.Type) []string {
	keys := make([]string, t.NumField())
	for i := range keys {
		keys[i] = t.Field(i).Tag.Get("yaml")
	}
	return keys
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// finish puts together what decoding and Validate found. Validate's faults
// get the places of their paths; they are left out when decoding failed,
// because they would only follow from that.
func (d *decoder) finish(validate func() error) error {
	if len(d.faults) > 0 {
		return Faults(d.faults)
	}
	err := validate()
	var found Faults
	if !errors.As(err, &found) {
		return err
	}
	placed := make(Faults, len(found))
	for i, f := range found {
		placed[i] = d.at(d.places[f.Path], f.Path, f.Message)
	}
	slices.SortStableFunc(placed, func(a, b Fault) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	return placed
}

// version refuses a file of another format before its keys are looked at: a
// newer file's keys would only be called unknown.
func (d *decoder) version(what string, version int) error {
	const ours = 1
	place := func(format string, args ...any) error {
		return Faults{d.at(d.places["version"], "version", fmt.Sprintf(format, args...))}
	}
	for _, f := range d.faults {
		if f.Path == "version" {
			return Faults{f}
		}
	}
	switch {
	case version == ours:
		return nil
	case d.places["version"] == nil:
		return place("missing: want version: %d, the format of this %s file", ours, what)
	case version > ours:
		return place("%d is newer than this program knows: it reads version %d of the %s file; upgrade zonesignerd", version, ours, what)
	}
	return place("%d was never a format of the %s file: want %d", version, what, ours)
}
