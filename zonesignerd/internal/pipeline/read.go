package pipeline

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"zonesigner/dnssec"
	"zonesigner/zonesignerd/internal/agree"
)

// read takes the source's present content in.
func (z *Zone) read(ctx context.Context) error {
	z.readMu.Lock()
	defer z.readMu.Unlock()
	defer z.handle()()
	start := z.d.Now()
	content, err := z.src.Read(ctx)
	if err != nil {
		return err
	}
	if content.Apex() != z.apex {
		return fmt.Errorf("source holds zone %s, expected %s", content.Apex(), z.name)
	}
	digest := agree.Digest(content.ContentDigest())
	z.solved("read")
	if head := z.Certified(); head != nil {
		content.Share(head.Zone)
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	if err := z.stands(digest); err != nil {
		return err
	}
	delete(z.problems, "content")
	if n := len(z.versions); n > 0 && z.versions[n-1].digest == digest && z.versions[n-1].serial == content.Serial() {
		return nil
	}
	z.stages.Read = z.d.Now().Sub(start)
	z.seq++
	v := &version{zone: content, digest: digest, serial: content.Serial(), seen: z.d.Now(), seq: z.seq, records: content.Records()}
	v.expire, v.maxTTL = margins(content)
	z.versions = append(z.versions, v)
	if extra := len(z.versions) - keepVersions; extra > 0 {
		z.versions = slices.Delete(z.versions, 0, extra)
	}
	if z.head.of(v, z.policy) {
		z.headSeq = v.seq
		z.head.Own = true
	}
	z.shed()
	z.log.Debug("content read", "serial", v.serial, "content", digest)
	return nil
}

// shed gives up the content of versions that are never signed again: the head has
// that of the last. z.mu is held.
func (z *Zone) shed() {
	for _, v := range z.versions {
		if z.head != nil && v.seq <= z.headSeq && v != z.newest() {
			v.zone = nil
		}
	}
}

// handle notes that the zone is read or planned, until done is called.
func (z *Zone) handle() (done func()) {
	z.mu.Lock()
	z.handling++
	z.mu.Unlock()
	return func() {
		z.mu.Lock()
		z.handling--
		z.mu.Unlock()
	}
}

// stands reports an approval that does not stand any more; z.mu is held.
func (z *Zone) stands(content agree.Digest) error {
	if z.d.Stands == nil {
		return nil
	}
	return z.d.Stands(content, z.head)
}

// unread notes that the source brought nothing: it is in trouble, or has
// nothing that is to be signed.
func (z *Zone) unread(err error) {
	if errors.Is(err, ErrNoContent) {
		z.solved("read")
		z.problem("content", err)
		return
	}
	z.problem("read", err)
}

// margins is the zone's SOA expire and its largest TTL, in seconds.
func margins(content *dnssec.Zone) (expire, maxTTL uint32) {
	for data := range content.SOA().RData() { // RFC 1035, section 3.3.13: expire and minimum are its end
		expire = binary.BigEndian.Uint32([]byte(data[len(data)-8:]))
	}
	for set := range content.RRsets() {
		maxTTL = max(maxTTL, set.TTL)
	}
	return expire, maxTTL
}
