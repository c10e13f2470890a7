package config

import (
	"reflect"
	"strings"
)

// Changes names the keys in which two configurations differ, as the file has
// them ("pools.depth"), in the order of the file.
func (c *Daemon) Changes(other *Daemon) []string {
	return changes("", reflect.ValueOf(*c), reflect.ValueOf(*other))
}

func changes(prefix string, a, b reflect.Value) []string {
	var out []string
	for i := range a.NumField() {
		name, _, _ := strings.Cut(a.Type().Field(i).Tag.Get("yaml"), ",")
		switch x, y := a.Field(i), b.Field(i); {
		case x.Kind() == reflect.Struct:
			out = append(out, changes(prefix+name+".", x, y)...)
		case !reflect.DeepEqual(x.Interface(), y.Interface()):
			out = append(out, prefix+name)
		}
	}
	return out
}
