package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/miekg/dns"
	"github.com/spf13/cobra"

	"zonesigner/dnssec"
	"zonesigner/zonesignerd/internal/api"
	"zonesigner/zonesignerd/internal/pipeline"
)

func (a *app) zonesApproveCommand() *cobra.Command {
	var w waiting
	var zone, output string
	cmd := &cobra.Command{
		Use:   "approve FILE",
		Short: "Approve a zone file's content, to be signed by the group",
		Long: `Approve the content of a zone file: this operator's word that it may be signed.
It is for zones whose policy has source.type: approved at this operator. The
operators compare contents by their digest, the SOA's serial left out, and each
takes part by a file that it approved or by its own copy: nobody signs for the
asking alone.

An approval is for one content. It takes the place of the one before, and is
void once that content, or another, is signed. "zones show" and "status" show
it. With --output, the signed zone is written to a file when it is there, in
full or not at all; "-" is standard output.`,
		Example: "  zonesignerd zones approve example.org.zone\n  zonesignerd zones approve db.example --zone example.org --output example.org.signed",
		Args:    between(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			content, err := readContent(args[0], zone)
			if err != nil {
				return err
			}
			return a.approve(cmd.Context(), &w, args[0], content, output)
		},
	}
	cmd.Flags().StringVar(&zone, "zone", "", "the zone's `name` (default: the owner of the file's SOA)")
	cmd.Flags().StringVarP(&output, "output", "f", "", "write the signed zone to a `file`")
	w.flags(cmd, ceremonyTimeout)
	return cmd
}

// approve approves a content, read from a file of that name, and follows it.
// With output it waits until the content is signed, and writes the signed zone
// there.
func (a *app) approve(ctx context.Context, w *waiting, name string, content *dnssec.Zone, output string) error {
	if output != "" && !w.wait {
		return usageError("--output needs --wait: the signed zone is there when all is done")
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	text, out := io.Pipe()
	go func() {
		_, err := content.WriteTo(out)
		out.CloseWithError(err)
	}()
	r, err := c.ApproveZone(ctx, api.ApproveZone{Zone: content.Apex().String(), File: name, Text: text})
	_ = text.Close() // the daemon may have wanted less
	if err != nil {
		return err
	}
	progress := progress{a: a}
	progress.say(fmt.Sprintf("approved serial %d of %s, content %s", content.Serial(), content.Apex(), shortDigest(r.Content)))
	progress.end()
	if output != "-" {
		if err := a.follow(ctx, c, w, r, a.printApproved); err != nil || output == "" {
			return err
		}
	}
	if r, err = a.wait(ctx, c, w, r); err != nil {
		return err
	}
	write := func(to io.Writer) error { return c.SignedZone(ctx, r.Subject, r.Serial, to) }
	if output == "-" {
		return write(a.out)
	}
	return pipeline.WriteOutput(output, write)
}

func (a *app) printApproved(r *api.Request) {
	if r.Unchanged {
		a.printf("%s: this content was signed before, as serial %s", r.Subject, serial(r.Serial))
		return
	}
	a.printf("%s: signed as serial %s", r.Subject, serial(r.Serial))
}

// readContent reads a zone file; without a name of the zone, it is that of the
// file's SOA.
func readContent(file, zone string) (*dnssec.Zone, error) {
	var err error
	if zone == "" {
		zone, err = apexOf(file)
	} else {
		zone, err = zoneName(zone)
	}
	if err != nil {
		return nil, err
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := dnssec.ParseZone(f, zone, file)
	if err != nil {
		return nil, api.Errorf(api.CodeUsage, "%w", err)
	}
	return content, nil
}

// apexOf finds the owner of the first SOA record, which has to be an absolute
// name.
func apexOf(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	records := dns.NewZoneParser(f, "", file)
	for rr, ok := records.Next(); ok; rr, ok = records.Next() {
		if rr.Header().Rrtype == dns.TypeSOA {
			return dns.CanonicalName(rr.Header().Name), nil
		}
	}
	return "", &api.Error{Code: api.CodeUsage, Message: file + ": it does not begin with an SOA record of an absolute name", Hint: "name the zone with --zone"}
}
