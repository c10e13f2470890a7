package dnssec

import (
	"bufio"
	"io"
	"strconv"
)

// WriteTo writes the zone as a zone file that ParseZone reads to the same
// content: one record a line in canonical order, absolute names, TTLs on each.
func (z *Zone) WriteTo(w io.Writer) (int64, error) {
	bw := bufio.NewWriterSize(w, 1<<18)
	var total int64
	var line, owner []byte
	var last Name
	for i, s := range z.sets {
		if i == 0 || s.Owner != last {
			owner, last = s.Owner.appendText(owner[:0]), s.Owner
		}
		for d := range s.RData() {
			line = append(append(line[:0], owner...), '\t')
			line = append(strconv.AppendUint(line, uint64(s.TTL), 10), "\tIN\t"...)
			line = append(appendTypeAndRData(line, s.Type, d), '\n')
			n, err := bw.Write(line)
			total += int64(n)
			if err != nil {
				return total, err
			}
		}
	}
	return total, bw.Flush()
}
