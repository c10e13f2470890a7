package config

import (
	"errors"
	"testing"
)

// fuzzLoader checks that whatever the bytes are, a loader ends with a value
// that Validate passes, or with Faults that name the file.
func fuzzLoader(f *testing.F, load func([]byte) (interface{ Validate() error }, error)) {
	f.Fuzz(func(t *testing.T, text []byte) {
		v, err := load(text)
		if err == nil {
			if err := v.Validate(); err != nil {
				t.Fatalf("loaded, and not valid: %v", err)
			}
			return
		}
		var faults Faults
		if !errors.As(err, &faults) || len(faults) == 0 {
			t.Fatalf("not Faults: %v", err)
		}
		for _, fault := range faults {
			if fault.File != "file" || fault.Message == "" {
				t.Fatalf("a fault without file or message: %+v", fault)
			}
		}
	})
}

func FuzzParseDaemon(f *testing.F) {
	f.Add([]byte(goodDaemon))
	sample, err := FormatDaemon(DefaultDaemon("a", "/k", "0.0.0.0:7473"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sample)
	f.Add([]byte("version: 1\n? [a]\n: b\n"))
	f.Add([]byte("{version: 1, nats: &a [*a], <<: *a}"))
	fuzzLoader(f, func(text []byte) (interface{ Validate() error }, error) { return ParseDaemon("file", text) })
}

func FuzzParseGroup(f *testing.F) {
	sample, err := FormatGroup(testGroup(f, 3))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sample)
	f.Add([]byte("version: 1\noperators: [{}, {name: a}]\nsigner-sets: [[a], []]\n"))
	fuzzLoader(f, func(text []byte) (interface{ Validate() error }, error) { return ParseGroup("file", text) })
}

func FuzzParsePolicy(f *testing.F) {
	sample, err := FormatPolicy(DefaultPolicy("example.org"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sample)
	f.Add([]byte(goodPolicy))
	f.Add([]byte("version: 1\nzone: \"\\0\"\n"))
	fuzzLoader(f, func(text []byte) (interface{ Validate() error }, error) { return ParsePolicy("file", text) })
}

func FuzzParseLine(f *testing.F) {
	f.Add("a " + testKey(f) + " a.example:7473")
	f.Add("a  b")
	f.Fuzz(func(t *testing.T, line string) {
		o, err := ParseLine(line)
		if err != nil {
			return
		}
		again, err := ParseLine(o.Line())
		if err != nil || again != o {
			t.Fatalf("%q becomes %q, %v", o.Line(), again.Line(), err)
		}
	})
}
