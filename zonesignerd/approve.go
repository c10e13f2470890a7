package main

import (
	"context"
	"fmt"
	"io"

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
it. FILE may be -, which is standard input. With --output, the signed zone is
written to a file when it is there, in full or not at all; "-" is standard
output. A file in its place has to be this zone, signed.`,
		Example: "  zonesignerd zones approve example.org.zone\n  zonesignerd zones approve db.example --zone example.org --output example.org.signed",
		Args:    between(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if zone != "" {
				var err error
				if zone, err = zoneName(zone); err != nil {
					return err
				}
			}
			s := &fileSigner{signOptions: signOptions{origin: zone, output: output}, file: args[0]}
			return a.approveFile(cmd.Context(), &w, s, "--zone")
		},
	}
	cmd.Flags().StringVar(&zone, "zone", "", "the zone's `name` (default: the owner of the file's SOA)")
	cmd.Flags().StringVarP(&output, "output", "f", "", "write the signed zone to a `file`")
	w.flags(cmd, ceremonyTimeout)
	return cmd
}

// approveFile approves the content of a file, whose zone is named by the flag
// or the file, and follows it.
func (a *app) approveFile(ctx context.Context, w *waiting, s *fileSigner, flag string) error {
	if err := s.checkOutput(); err != nil {
		return err
	}
	if err := s.read(a.in, flag); err != nil {
		return badInput(err)
	}
	if err := s.replaceable(); err != nil {
		return badInput(err)
	}
	ctx, stop := untilSignal(ctx)
	defer stop()
	return a.approve(ctx, w, s.file, s.zone, s.output)
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
	text := textOf(content)
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

// textOf is a content as a zone file. Close it, read to its end or not.
func textOf(content *dnssec.Zone) io.ReadCloser {
	text, out := io.Pipe()
	go func() {
		_, err := content.WriteTo(out)
		out.CloseWithError(err)
	}()
	return text
}

func (a *app) printApproved(r *api.Request) {
	if r.Unchanged {
		a.printf("%s: this content was signed before, as serial %s", r.Subject, serial(r.Serial))
		return
	}
	a.printf("%s: signed as serial %s", r.Subject, serial(r.Serial))
}
