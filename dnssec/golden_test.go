package dnssec

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

const goldenDir = "../testdata/golden"

// Manifests and signed zones stay as they are, byte for byte: operators that
// run different versions must derive the same.
func TestGolden(t *testing.T) {
	forEachZone(t, func(t *testing.T, file string, z *Zone, d string) {
		ksk, zsk := kskAndZSK()
		p := testParams(ksk, zsk)
		p.Denial, p.CDS = denials[d], CDSAlways
		plan := mustPlan(t, z, p)
		base := filepath.Join(goldenDir, strings.TrimSuffix(file, ".zone")+"."+d)
		golden(t, base+".manifest", string(plan.Manifest()))
		golden(t, base+".signed", zoneText(t, signPlan(t, plan, ksk, zsk)))
	})
}

// The two manifests of a zone with ZONEMD stay as they are, too.
func TestGoldenZONEMD(t *testing.T) {
	ksk, zsk := kskAndZSK()
	p := testParams(ksk, zsk)
	p.ZONEMD = ZONEMDSHA384
	first, second, sz := signWithZONEMD(t, readZone(t, "reverse.zone"), p, ksk, zsk)
	base := filepath.Join(goldenDir, "reverse.zonemd")
	golden(t, base+".manifest", string(first.Manifest()))
	golden(t, base+"-2.manifest", string(second.Manifest()))
	golden(t, base+".signed", zoneText(t, sz))
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got == string(want) {
		return
	}
	a, b := strings.Split(string(want), "\n"), strings.Split(got, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			t.Fatalf("%s:%d differs\nwant %s\ngot  %s", path, i+1, a[i], b[i])
		}
	}
	t.Fatalf("%s: %d lines, got %d", path, len(a), len(b))
}
