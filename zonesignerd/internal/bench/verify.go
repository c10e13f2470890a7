package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"zonesigner/zonesignerd/internal/lab"
)

// verifiers times those that check a signed zone in a file, all on the same
// file; ours is first.
func verifiers(ctx context.Context, bin, file string) ([]result, error) {
	dir, name := filepath.Split(file)
	var out []result
	for _, c := range []struct {
		what string
		line []string
	}{
		{"zonesignerd verify", []string{bin, "verify", "-o", origin, name}},
		{"zonesignerd verify --threads 1", []string{bin, "verify", "-o", origin, "--threads", "1", name}},
		{"kzonecheck -d on", []string{"kzonecheck", "-d", "on", "-o", origin, name}},
		{"dnssec-verify", []string{"dnssec-verify", "-q", "-o", origin, name}},
		{"ldns-verify-zone", []string{"ldns-verify-zone", name}},
	} {
		fmt.Fprintln(os.Stderr, "bench:", c.what)
		m, err := lab.Measure(ctx, dir, c.line[0], c.line[1:]...)
		if err != nil {
			return nil, err
		}
		r := result{What: c.what, Wall: m.Wall.Seconds(), CPU: m.CPU.Seconds(), Peak: m.Peak}
		if r.Ratio = 1; len(out) > 0 {
			r.Ratio = r.Wall / out[0].Wall
		}
		out = append(out, r)
	}
	return out, nil
}

// checkFile times the verifiers on a file of any place.
func checkFile(ctx context.Context, bin, file string) ([]result, error) {
	bin, err := filepath.Abs(bin)
	if err != nil {
		return nil, err
	}
	if file, err = filepath.Abs(file); err != nil {
		return nil, err
	}
	return verifiers(ctx, bin, file)
}
