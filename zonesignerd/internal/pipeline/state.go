package pipeline

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"zonesigner/dnssec"
	"zonesigner/mpc"
	"zonesigner/zonesignerd/internal/agree"
)

// A zone remembers two signed zones: the head, and a candidate that it has
// certified and that is not yet certified by n-t.
const (
	headSlot      = "head"
	candidateSlot = "candidate"
)

// saved is what the store holds about a signed zone; the zone itself is in
// File, whose digest is in the certificate.
type saved struct {
	Version int                    `json:"version"`
	File    string                 `json:"file"`
	Cert    Certificate            `json:"certificate"`
	Content agree.Digest           `json:"content"`
	Keys    agree.Digest           `json:"keys"`
	Policy  agree.Digest           `json:"policy"`
	Source  uint32                 `json:"source"`
	Own     bool                   `json:"own"`
	Proof   map[mpc.PartyID][]byte `json:"proof"`
}

const savedVersion = 1

func slotKey(slot, zone string) string { return "zone/" + zone + "/" + slot }

// save writes the zone to a file of its own, durably, and then points the
// slot to it. A crash in between leaves the old one in force.
func (z *Zone) save(slot string, s *Signed) error {
	z.saveMu.Lock() // between the file and the slot nobody sweeps
	defer z.saveMu.Unlock()
	if err := z.makeDir(); err != nil {
		return err
	}
	path := z.path(s)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if err := WriteDurably(path, s.Zone.Save); err != nil {
			return err
		}
	}
	m := saved{Version: savedVersion, File: filepath.Base(path), Cert: s.Cert, Content: s.Content, Keys: s.Keys, Policy: s.Policy, Source: s.Source, Own: s.Own, Proof: map[mpc.PartyID][]byte{}}
	for id, c := range s.Proof {
		m.Proof[id] = c
	}
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := z.d.Store.Put(slotKey(slot, z.name), b); err != nil {
		return err
	}
	return z.sweep()
}

// dir is where the zone's files are, and nothing else.
func (z *Zone) dir() string { return filepath.Join(z.d.Dir, FileName(z.name)) }

// makeDir makes dir. The directory above it must be there: a disk that is not
// mounted is no place to begin anew.
func (z *Zone) makeDir() error {
	if err := os.Mkdir(z.dir(), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// path is the file of a signed zone.
func (z *Zone) path(s *Signed) string {
	return filepath.Join(z.dir(), fmt.Sprintf("%d-%x.v1.zone", s.Cert.Serial, s.Cert.Digest[:8]))
}

// sweep removes files that no slot points to; z.saveMu is held.
func (z *Zone) sweep() error {
	keep := map[string]bool{}
	for _, slot := range []string{headSlot, candidateSlot} {
		m, err := z.slot(slot)
		if err != nil {
			return err
		}
		if m != nil {
			keep[m.File] = true
		}
	}
	files, err := os.ReadDir(z.dir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, f := range files {
		if !keep[f.Name()] {
			if err := os.Remove(filepath.Join(z.dir(), f.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

func (z *Zone) slot(slot string) (*saved, error) {
	b, err := z.d.Store.Get(slotKey(slot, z.name))
	if err != nil || b == nil {
		return nil, err
	}
	var m saved
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("state of zone %s, %s: %w", z.name, slot, err)
	}
	if m.Version != savedVersion {
		return nil, fmt.Errorf("state of zone %s is of version %d, this program reads %d", z.name, m.Version, savedVersion)
	}
	return &m, nil
}

// load restores head and candidate. A file that is damaged is said and left:
// the zone is fetched from a peer or signed anew.
func (z *Zone) load() error {
	if err := z.loadObjections(); err != nil {
		return err
	}
	for _, slot := range []string{headSlot, candidateSlot} {
		m, err := z.slot(slot)
		if err != nil {
			return err
		}
		if m == nil {
			continue
		}
		s, err := z.loadFile(m)
		if err != nil {
			z.log.Warn("signed zone not restored", "slot", slot, "file", m.File, "err", err)
			continue
		}
		switch {
		case slot == headSlot:
			// Whether it was published too is not known: a crash may lie
			// in between. The publisher finds out.
			z.head, z.lastT = s, s.Cert.Time
		case z.head == nil || serialLess(z.head.Cert.Serial, s.Cert.Serial):
			z.candidate, z.certAt = s, z.d.Now()
			raw, err := agree.Seal(z.d.Identity, z.d.Group().Digest, TypeCertificate, s.Cert)
			if err != nil {
				return err
			}
			z.certs[s.Cert] = map[mpc.PartyID][]byte{z.d.Identity.Self(): raw}
		}
	}
	return nil
}

func (z *Zone) loadFile(m *saved) (*Signed, error) {
	f, err := os.Open(filepath.Join(z.dir(), filepath.Base(m.File)))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	zone, err := dnssec.LoadSharing(f, z.head.zone())
	if err != nil {
		return nil, err
	}
	if agree.Digest(zone.Digest()) != m.Cert.Digest {
		return nil, errors.New("it does not have the digest that was certified")
	}
	s := &Signed{Zone: zone, Cert: m.Cert, Content: m.Content, Keys: m.Keys, Policy: m.Policy, Source: m.Source, Own: m.Own, Proof: m.Proof}
	return s, nil
}

// Forget removes all that is kept about a zone.
func (z *Zone) Forget() error {
	z.saveMu.Lock()
	defer z.saveMu.Unlock()
	names, err := z.d.Store.List("promise/" + z.name + "/")
	if err != nil {
		return err
	}
	names = append(names, slotKey(headSlot, z.name), slotKey(candidateSlot, z.name), objectionsKey(z.name))
	for _, name := range names {
		if err := z.d.Store.Delete(name); err != nil {
			return err
		}
	}
	return os.RemoveAll(z.dir())
}

// FileName is the zone's name as part of a file name.
func FileName(zone string) string {
	if zone == "." {
		return "root"
	}
	return strings.NewReplacer("/", "%2f", "%", "%25").Replace(strings.TrimSuffix(zone, "."))
}
