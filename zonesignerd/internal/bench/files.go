package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"zonesigner/zonesignerd/config"
	"zonesigner/zonesignerd/internal/api"
	"zonesigner/zonesignerd/internal/lab"
)

// fileGroup is three operators that read a zone file and write the signed one.
type fileGroup struct {
	Zone       string      `json:"zone"`
	Signatures int         `json:"signatures"`
	Stages     []api.Stage `json:"stages"` // of the whole zone, at the first operator
	Rows       []fileRow   `json:"rows"`
}

// fileRow is what one operator's daemon used from the moment that the files
// were there until all had written theirs; the peak is since its start.
type fileRow struct {
	What     string  `json:"what"`
	Operator string  `json:"operator"`
	Wall     float64 `json:"wall_seconds"`
	CPU      float64 `json:"cpu_seconds"`
	Peak     int64   `json:"peak_bytes"`
}

// fileWait is how long a signature of a zone may take, all in.
const fileWait = 10 * time.Millisecond

// files times three operators from zone file to zone file: the whole zone, then
// one changed record.
func (r *report) files(ctx context.Context, dir, bin string, z zoneSize, verify bool) error {
	dir = filepath.Join(dir, fmt.Sprintf("files-%s-%d", z.kind, z.names))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	l, err := lab.New(ctx, dir, bin, origin, false, func(c *config.Daemon) {
		c.PollInterval = config.Duration(time.Second)
		// A machine that does the work of three, and perhaps more, answers late.
		c.Sessions.Timeout = config.Duration(time.Minute)
	}, "a", "b", "c")
	if err != nil {
		return err
	}
	defer l.Stop()
	if err := giveFiles(l, hostZone(origin, 10, 1)); err != nil {
		return err
	}
	if err := l.StartDaemons(ctx); err != nil {
		return err
	}
	optOut := z.kind == "tld"
	for _, o := range l.Operators {
		policy := filepath.Join(o.Dir, "policy.yaml")
		text := fmt.Sprintf("version: 1\nzone: %s\nserial-policy: increment\ndenial:\n  nsec3: true\n  nsec3-opt-out: %t\nsource:\n  type: file\n  file: %s\npublish:\n  type: file\n  file: %s\n",
			origin, optOut, sourceOf(o), signedOf(o))
		if err := os.WriteFile(policy, []byte(text), 0o644); err != nil {
			return err
		}
		if _, err := o.Run(ctx, "zones", "add", policy); err != nil {
			return err
		}
		if _, err := o.Run(ctx, "keys", "generate", origin, "--wait=false"); err != nil {
			return err
		}
	}
	if err := written(ctx, l, nil, lab.Patience); err != nil {
		return err
	}
	g := fileGroup{Zone: fmt.Sprintf("%s %d", z.kind, z.names)}
	patience := lab.Patience + time.Duration(3*z.names)*fileWait
	text := z.text(2)
	if err := g.time(ctx, l, "the whole zone", text, patience); err != nil {
		return err
	}
	detail, err := l.Operators[0].API.Zone(ctx, origin)
	if err != nil {
		return err
	}
	g.Stages, g.Signatures = detail.Stages, detail.RRSIGs
	if verify {
		if _, err := lab.Measure(ctx, dir, bin, "verify", signedOf(l.Operators[0])); err != nil {
			return err
		}
		fmt.Fprintln(os.Stderr, "bench: zonesignerd verify agrees")
	}
	if err := g.time(ctx, l, "one record changed", append(text, "changed IN A 192.0.2.77\n"...), patience); err != nil {
		return err
	}
	r.Files = append(r.Files, g)
	return nil
}

func sourceOf(o *lab.Operator) string { return filepath.Join(o.Dir, "zone") }
func signedOf(o *lab.Operator) string { return filepath.Join(o.Dir, "signed") }

// giveFiles replaces all operators' zone files.
func giveFiles(l *lab.Lab, text []byte) error {
	for _, o := range l.Operators {
		if err := os.WriteFile(sourceOf(o)+".new", text, 0o644); err != nil {
			return err
		}
	}
	for _, o := range l.Operators {
		if err := os.Rename(sourceOf(o)+".new", sourceOf(o)); err != nil {
			return err
		}
	}
	return nil
}

// time gives all operators another zone file and waits until each has written
// the signed zone.
func (g *fileGroup) time(ctx context.Context, l *lab.Lab, what string, text []byte, patience time.Duration) error {
	fmt.Fprintf(os.Stderr, "bench: three operators with zone files, %s, %s\n", g.Zone, what)
	before := map[string]os.FileInfo{}
	cpu := map[string]time.Duration{}
	for _, o := range l.Operators {
		var err error
		if before[o.Name], err = os.Stat(signedOf(o)); err != nil {
			return err
		}
		u, err := o.Daemon.Usage()
		if err != nil {
			return err
		}
		cpu[o.Name] = u.CPU
	}
	if err := giveFiles(l, text); err != nil {
		return err
	}
	start := time.Now()
	if err := written(ctx, l, before, patience); err != nil {
		return err
	}
	wall := time.Since(start)
	for _, o := range l.Operators {
		u, err := o.Daemon.Usage()
		if err != nil {
			return err
		}
		g.Rows = append(g.Rows, fileRow{what, o.Name, wall.Seconds(), (u.CPU - cpu[o.Name]).Seconds(), u.Peak})
	}
	return same(l)
}

// written waits until every operator has put another signed file in place of
// the one before; nil: there was none.
func written(ctx context.Context, l *lab.Lab, before map[string]os.FileInfo, patience time.Duration) error {
	return lab.Until(ctx, patience, "all signed files", func() (bool, string) {
		for _, o := range l.Operators {
			now, err := os.Stat(signedOf(o))
			if err != nil || before[o.Name] != nil && os.SameFile(before[o.Name], now) {
				return false, "operator " + o.Name + " has not written it"
			}
		}
		return true, ""
	})
}

// same wants the operators' signed files to be the same, byte for byte.
func same(l *lab.Lab) error {
	var first [32]byte
	for i, o := range l.Operators {
		f, err := os.Open(signedOf(o))
		if err != nil {
			return err
		}
		h := sha256.New()
		_, err = io.Copy(h, f)
		_ = f.Close()
		if err != nil {
			return err
		}
		if sum := [32]byte(h.Sum(nil)); i == 0 {
			first = sum
		} else if sum != first {
			return fmt.Errorf("operators %s and %s wrote different zones", l.Operators[0].Name, o.Name)
		}
	}
	return nil
}

func (r *report) printFiles() {
	for _, g := range r.Files {
		fmt.Printf("\nthree operators, zone file to zone file: %s names, %d signatures\n\n", g.Zone, g.Signatures)
		w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintln(w, "wall s\tCPU s\tpeak MB\t  operator, what\t")
		for _, x := range g.Rows {
			fmt.Fprintf(w, "%.1f\t%.1f\t%d\t  %s, %s\t\n", x.Wall, x.CPU, x.Peak>>20, x.Operator, x.What)
		}
		_ = w.Flush()
		fmt.Print("stages at operator a:")
		for _, s := range g.Stages {
			fmt.Printf(" %s %.2f s", s.Name, s.Seconds)
		}
		fmt.Println()
	}
}
