package config

import (
	"reflect"
	"regexp"
	"testing"
)

func TestSamplesLoadAsTheyWereMeant(t *testing.T) {
	daemon := DefaultDaemon("a", "/etc/zonesigner/keystore.key", "0.0.0.0:7473")
	daemon.Socket.ReadGroup = "adm"
	daemon.State = `/var/lib/zone "signer"`
	text, err := FormatDaemon(daemon)
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseDaemon("daemon.yaml", text)
	if err != nil {
		t.Fatal(err)
	}
	again.NATS.URLs = nil // [] in the file
	if !reflect.DeepEqual(again, daemon) {
		t.Errorf("daemon: got %+v\nwant %+v", again, daemon)
	}
	mentionsEveryKey(t, text, reflect.TypeFor[Daemon]())

	group := testGroup(t, 3)
	group.SignerSets = [][]string{{"a", "b", "c"}, {"a", "b"}}
	if text, err = FormatGroup(group); err != nil {
		t.Fatal(err)
	}
	g, err := ParseGroup("group.yaml", text)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(g, group) {
		t.Errorf("group: got %+v\nwant %+v", g, group)
	}
	mentionsEveryKey(t, text, reflect.TypeFor[Group]())

	policy := DefaultPolicy("example.org")
	if text, err = FormatPolicy(policy); err != nil {
		t.Fatal(err)
	}
	p, err := ParsePolicy("policy.yaml", text)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(p, policy) {
		t.Errorf("policy: got %+v\nwant %+v", p, policy)
	}
	mentionsEveryKey(t, text, reflect.TypeFor[Policy]())
}

// mentionsEveryKey wants each yaml key of the struct, and of those within it,
// at the beginning of a line.
func mentionsEveryKey(t *testing.T, text []byte, of reflect.Type) {
	t.Helper()
	switch of.Kind() {
	case reflect.Slice:
		mentionsEveryKey(t, text, of.Elem())
	case reflect.Struct:
		for i := range of.NumField() {
			key := of.Field(i).Tag.Get("yaml")
			if !regexp.MustCompile(`(?m)^ *(- )?` + regexp.QuoteMeta(key) + `:`).Match(text) {
				t.Errorf("the sample does not mention %q of %s", key, of.Name())
			}
			mentionsEveryKey(t, text, of.Field(i).Type)
		}
	}
}
