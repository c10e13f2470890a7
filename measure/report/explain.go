package report

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"zonesigner/measure"
)

// Explain writes the verdict on one domain with its evidence.
func Explain(w io.Writer, r *measure.Record) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(what, format string, args ...any) {
		fmt.Fprintf(t, "%s\t%s\n", what, fmt.Sprintf(format, args...))
	}
	name := r.Name
	if r.Unicode != "" {
		name += " (" + r.Unicode + ")"
	}
	line("domain", "%s", name)
	if r.Rank > 0 {
		line("rank", "%d", r.Rank)
	}
	line("verdict", "%s", r.Data.Class)
	for _, reason := range r.Data.Reasons {
		why := measure.Codes[reason.Code]
		if why == "" {
			why = string(reason.Code)
		}
		if reason.Detail != "" {
			why += ": " + reason.Detail
		}
		line("because", "%s", why)
	}
	if r.Data.Signers != "" {
		line("signers", "%s", r.Data.Signers)
	}
	line("status", "%s; queries: %d; waited for answers: %s", r.Status, r.Data.Queries, time.Duration(r.Data.Millis)*time.Millisecond)
	line("looked up", "%s by %s", r.Timestamp.Format(time.RFC3339), r.Data.Resolver)
	if r.Data.Zone != "" {
		line("zone", "%s", r.Data.Zone)
	}
	if r.Data.CNAME != "" {
		line("cname", "%s", r.Data.CNAME)
	}
	if len(r.Data.Delegation) > 0 {
		line("parent lists", "%s", strings.Join(r.Data.Delegation, " "))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if len(r.Data.NameServers) > 0 {
		fmt.Fprintf(t, "\nNAME SERVER\tADDRESSES\tOPERATOR\tTOLD BY\n")
		for _, ns := range r.Data.NameServers {
			addrs := string(ns.Status)
			if len(ns.Addresses) > 0 {
				addrs = strings.Trim(fmt.Sprint(ns.Addresses), "[]")
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", ns.Name, dash(addrs), dash(ns.Operator), dash(ns.By))
		}
	}
	for i, o := range r.Data.Operators {
		if i == 0 {
			fmt.Fprintf(t, "\nOPERATOR\tASKED\tANSWER\tSERIAL\tSOA\tSIGNED WITH\tDNSKEY\tWHOIS\n")
		}
		p, serial := o.Probe, ""
		if p == nil {
			p = &measure.Probe{}
		} else if p.Status == measure.NoError {
			serial = strconv.FormatUint(uint64(p.Serial), 10)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", o.ID, dash(p.Server), dash(string(p.Status)), dash(serial), dash(strings.TrimSpace(p.MName+" "+p.RName)),
			dash(strings.Trim(fmt.Sprint(p.Tags), "[]")), dash(strings.Trim(fmt.Sprint(p.Keys), "[]")), dash(o.Owners))
	}
	return t.Flush()
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
