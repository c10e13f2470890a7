package sharefile

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"strings"
	"testing"

	"zonesigner/mpc/fixture"
)

func example() *Dealing {
	return &Dealing{Group: "example", Epoch: 2, GroupDigest: [32]byte{1, 2}, Zone: "example.org.", Role: "KSK", Engine: "mal-shamir",
		Public: bytes.Repeat([]byte{3}, 64), Shares: bytes.Repeat([]byte{4}, 192)}
}

func identity(b byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{b}, ed25519.SeedSize))
}

func public(key ed25519.PrivateKey) ed25519.PublicKey { return key.Public().(ed25519.PublicKey) }

// A file of version 1 is what it was, and later versions must read it.
func TestFixture(t *testing.T) {
	b, err := Seal(example(), "b", public(identity(7)), []byte("the share of b"), bytes.NewReader(bytes.Repeat([]byte{9}, 32)))
	if err != nil {
		t.Fatal(err)
	}
	f, err := Parse(fixture.Check(t, "share.v1.hex", b))
	if err != nil {
		t.Fatal(err)
	}
	share, err := f.Open(identity(7))
	if err != nil || string(share) != "the share of b" || f.Operator != "b" || f.Digest() != example().Digest() || f.Role != "KSK" || f.Epoch != 2 {
		t.Errorf("the fixture reads as %+v with share %q: %v", f, share, err)
	}
}

func TestOthersCannotRead(t *testing.T) {
	b, err := Seal(example(), "b", public(identity(7)), []byte("share"), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	f, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Open(identity(8)); err == nil {
		t.Error("another identity opens the file")
	}
	if bytes.Contains(b, []byte("share\x00")) || bytes.HasSuffix(b, []byte("share")) {
		t.Error("the share stands in the file")
	}
	again, err := Seal(example(), "b", public(identity(7)), []byte("share"), rand.Reader)
	if err != nil || bytes.Equal(again, b) {
		t.Errorf("two files are the same: %v", err)
	}
}

// Whatever is changed in a file, cut off or added, it is not opened.
func TestEveryBitIsBound(t *testing.T) {
	b, err := Seal(example(), "b", public(identity(7)), []byte("share"), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	opens := func(b []byte) bool {
		f, err := Parse(b)
		if err != nil {
			return false
		}
		_, err = f.Open(identity(7))
		return err == nil
	}
	if !opens(b) {
		t.Fatal("the file itself is not opened")
	}
	for i := range b {
		bad := bytes.Clone(b)
		bad[i] ^= 1 << (i % 8)
		if opens(bad) {
			t.Errorf("a file with another byte %d is opened", i)
		}
		if opens(b[:i]) {
			t.Errorf("a file of %d bytes of %d is opened", i, len(b))
		}
	}
	if opens(append(bytes.Clone(b), 0)) {
		t.Error("a file that goes on is opened")
	}
}

// A point of small order gives a secret that everybody knows.
func TestSmallOrder(t *testing.T) {
	b, err := Seal(example(), "b", public(identity(7)), []byte("share"), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	f, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	for _, point := range []byte{0, 1} {
		f.ephemeral = make([]byte, 32)
		f.ephemeral[0] = point
		if _, err := f.Open(identity(7)); err == nil || !strings.Contains(err.Error(), "ephemeral") {
			t.Errorf("ephemeral point %d: %v", point, err)
		}
	}
	small := make(ed25519.PublicKey, 32)
	small[0] = 1 // the identity of the group
	if _, err := Seal(example(), "b", small, []byte("share"), rand.Reader); err == nil {
		t.Error("a share is sealed to a key of small order")
	}
}

func TestDigestsDiffer(t *testing.T) {
	seen := map[[32]byte]bool{example().Digest(): true}
	for i, change := range []func(*Dealing){
		func(d *Dealing) { d.Group += "s" }, func(d *Dealing) { d.Epoch++ }, func(d *Dealing) { d.GroupDigest[31]++ },
		func(d *Dealing) { d.Zone = "example.net." }, func(d *Dealing) { d.Role = "ZSK" }, func(d *Dealing) { d.Engine = "shamir" },
		func(d *Dealing) { d.Public[0]++ }, func(d *Dealing) { d.Shares[191]++ },
		func(d *Dealing) { d.Zone, d.Role = "example.org.K", "SK" },
	} {
		d := example()
		if change(d); seen[d.Digest()] {
			t.Errorf("change %d leaves the digest as it is", i)
		}
		seen[d.Digest()] = true
	}
}

func FuzzParse(f *testing.F) {
	b, err := Seal(&Dealing{Zone: "z.", Role: "CSK"}, "b", public(identity(7)), []byte("s"), bytes.NewReader(make([]byte, 32)))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(magic))
	f.Add(append([]byte(magic), 0xff, 0xff, 0xff, 0xff))
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := Parse(b)
		if err != nil {
			return
		}
		if got := append(bytes.Clone(file.bound), file.sealed...); !bytes.Equal(got, b) {
			t.Fatal("parts of a file are lost")
		}
		if !bytes.HasPrefix(b[len(magic):], file.append(nil)) {
			t.Fatal("a dealing encodes differently from what was read")
		}
		if share, err := file.Open(identity(7)); err == nil && len(share) == 0 && len(file.sealed) < 16 {
			t.Fatal("a file without a seal is opened")
		}
	})
}
