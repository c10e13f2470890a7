package pipeline

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"zonesigner/dnssec"
	"zonesigner/mpc"
	"zonesigner/zonesignerd/internal/agree"
)

// buckets is how many parts a zone is cut into, by hash of owner, when two
// operators look for the records in which they differ. They exchange digests
// of all parts, then the records of a few that differ.
const (
	buckets     = 256
	mostBuckets = 8
	mostListed  = 5000 // records in one answer
)

type listKey struct {
	peer    mpc.PartyID
	content agree.Digest
	records bool
}

// difference is one RRset in which two operators' copies of a zone differ.
type difference struct {
	what   string // "www.example.org. A"
	detail string // and what each of them has
}

// explain finds, with the proposer's help, the RRsets that differ between
// the proposed content and ours. The answer is for people; it decides nothing.
func (z *Zone) explain(ctx context.Context, peer mpc.PartyID, content agree.Digest, ours *dnssec.Zone) []difference {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	all := z.ask(ctx, peer, Listing{Zone: z.name, Content: content})
	if all == nil || len(all.Digests) != buckets {
		return nil
	}
	mine := bucketDigests(ours)
	var differ []int
	for i := range buckets {
		if mine[i] != all.Digests[i] && len(differ) < mostBuckets {
			differ = append(differ, i)
		}
	}
	if len(differ) == 0 { // the SOA is in no bucket
		what := z.name + " SOA"
		return []difference{{what, fmt.Sprintf("%s: operators %s and %s differ in more than its serial", what, peer, z.d.Identity.Self())}}
	}
	theirs := z.ask(ctx, peer, Listing{Zone: z.name, Content: content, Buckets: differ})
	if theirs == nil {
		return nil
	}
	return compareRecords(z.d.Identity.Self(), listRecords(ours, differ), peer, theirs.Records)
}

func (z *Zone) ask(ctx context.Context, peer mpc.PartyID, q Listing) *Listed {
	key := listKey{peer, q.Content, q.Buckets != nil}
	c := make(chan *Listed, 1)
	z.mu.Lock()
	z.listings[key] = c
	z.mu.Unlock()
	defer func() {
		z.mu.Lock()
		delete(z.listings, key)
		z.mu.Unlock()
	}()
	if _, err := z.d.Say(TypeListing, q, peer); err != nil {
		return nil
	}
	select {
	case l := <-c:
		return l
	case <-ctx.Done():
		return nil
	}
}

// Listed takes a peer's answer in.
func (z *Zone) Listed(m *agree.Message) error {
	var l Listed
	if err := m.Decode(&l); err != nil {
		return err
	}
	z.mu.Lock()
	c := z.listings[listKey{m.From, l.Content, l.Digests == nil}]
	z.mu.Unlock()
	if c != nil {
		select {
		case c <- &l:
		default:
		}
	}
	return nil
}

// Listing answers a peer that wants to know where its zone differs. The
// operators of a zone all serve it: its content is no secret among them.
func (z *Zone) Listing(m *agree.Message) error {
	var q Listing
	if err := m.Decode(&q); err != nil {
		return err
	}
	if len(q.Buckets) > mostBuckets {
		return fmt.Errorf("operator %s asks for %d parts at once", m.From, len(q.Buckets))
	}
	z.mu.Lock()
	zone := z.content(q.Content)
	z.mu.Unlock()
	if zone == nil {
		return nil
	}
	answer := Listed{Zone: z.name, Content: q.Content}
	if q.Buckets == nil {
		answer.Digests = bucketDigests(zone)
	} else {
		answer.Records = listRecords(zone, q.Buckets)
	}
	_, err := z.d.Say(TypeListed, answer, m.From)
	return err
}

// content is a content that this operator read, if it is still at hand; z.mu is
// held.
func (z *Zone) content(digest agree.Digest) *dnssec.Zone {
	i := slices.IndexFunc(z.versions, func(v *version) bool { return v.digest == digest })
	switch {
	case i < 0:
		return nil
	case z.versions[i].zone == nil && z.head != nil && z.head.Content == digest:
		return z.head.Zone.Content()
	}
	return z.versions[i].zone
}

func bucketOf(owner dnssec.Name) int {
	sum := sha256.Sum256([]byte(owner))
	return int(sum[0]) % buckets
}

// bucketDigests hashes the zone in buckets parts; the SOA is left out, its
// serial may differ.
func bucketDigests(zone *dnssec.Zone) []agree.Digest {
	var text [buckets][]byte
	for set := range zone.RRsets() {
		if set.Type == dns.TypeSOA {
			continue
		}
		b := bucketOf(set.Owner)
		t := append(text[b], set.Owner...)
		t = binary.BigEndian.AppendUint16(t, set.Type)
		t = binary.BigEndian.AppendUint32(t, set.TTL)
		for rd := range set.RData() {
			t = binary.BigEndian.AppendUint16(t, uint16(len(rd)))
			t = append(t, rd...)
		}
		text[b] = t
	}
	out := make([]agree.Digest, buckets)
	for i := range text {
		out[i] = sha256.Sum256(text[i])
	}
	return out
}

func listRecords(zone *dnssec.Zone, which []int) []ListedRecord {
	var out []ListedRecord
	for set := range zone.RRsets() {
		if set.Type == dns.TypeSOA || !slices.Contains(which, bucketOf(set.Owner)) {
			continue
		}
		for data := range set.RData() {
			if len(out) == mostListed {
				return out
			}
			out = append(out, ListedRecord{Owner: []byte(set.Owner), TTL: set.TTL, Type: set.Type, Data: []byte(data)})
		}
	}
	return out
}

// words are the record's owner, and its TTL and data, for people. What a peer
// sent may be no record at all.
func (r ListedRecord) words() (owner, rest string) {
	owner, _, err := dns.UnpackDomainName(r.Owner, 0)
	if err != nil {
		owner = fmt.Sprintf("%x", r.Owner)
	}
	h := dns.RR_Header{Name: owner, Rrtype: r.Type, Class: dns.ClassINET, Ttl: r.TTL, Rdlength: uint16(len(r.Data))}
	rr, _, err := dns.UnpackRRWithHeader(h, r.Data, 0)
	if err != nil {
		return owner, fmt.Sprintf("%d \\# %d %x", r.TTL, len(r.Data), r.Data)
	}
	return owner, fmt.Sprintf("%d %s", r.TTL, strings.TrimPrefix(rr.String(), rr.Header().String()))
}

// compareRecords says, RRset by RRset, what each of two operators has.
func compareRecords(self mpc.PartyID, ours []ListedRecord, peer mpc.PartyID, theirs []ListedRecord) []difference {
	type set struct{ owner, typ string }
	group := func(rs []ListedRecord) map[set][]string {
		m := map[set][]string{}
		for _, r := range rs {
			owner, text := r.words()
			k := set{owner, dnssec.TypeName(r.Type)}
			m[k] = append(m[k], text)
		}
		for _, v := range m {
			slices.Sort(v)
		}
		return m
	}
	a, b := group(ours), group(theirs)
	var keys []set
	for k := range a {
		keys = append(keys, k)
	}
	for k := range b {
		if _, ok := a[k]; !ok {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, func(x, y set) int {
		return cmp.Or(cmp.Compare(x.owner, y.owner), cmp.Compare(x.typ, y.typ))
	})
	var out []difference
	for _, k := range keys {
		if slices.Equal(a[k], b[k]) {
			continue
		}
		what := k.owner + " " + k.typ
		out = append(out, difference{what, fmt.Sprintf("%s: operator %s has %s; operator %s has %s", what, peer, listed(b[k]), self, listed(a[k]))})
	}
	return out
}

// listed is an RRset's records, each with its TTL, in one line.
func listed(records []string) string {
	if len(records) == 0 {
		return "none"
	}
	return strings.Join(records, ", ")
}
