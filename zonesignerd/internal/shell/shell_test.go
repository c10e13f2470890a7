package shell

import (
	"os/exec"
	"testing"
)

func TestWord(t *testing.T) {
	for _, word := range []string{"example", "0/25.2.0.192.in-addr.arpa", `a\032b`, "x$(echo owned)", "it's", "a+b", "", "--ksk `id`"} {
		out, err := exec.Command("sh", "-c", "printf %s "+Word(word)).Output()
		if err != nil || string(out) != word {
			t.Errorf("a shell reads %q as %q, %v", word, out, err)
		}
	}
}

func TestCommand(t *testing.T) {
	for _, c := range []struct {
		args, flags []string
		want        string
	}{
		{[]string{"example.org"}, nil, "do example.org"},
		{[]string{"example.org"}, []string{"--ksk", "--engine frost"}, "do example.org --ksk --engine frost"},
		{[]string{"-x.org"}, []string{"--ksk", "--engine frost"}, "do --ksk --engine frost -- -x.org"},
		{[]string{"-x.org"}, nil, "do -- -x.org"},
		{[]string{"a b", "-c"}, nil, "do -- 'a b' -c"},
		{[]string{"example+013+7.b.share"}, nil, "do example+013+7.b.share"},
	} {
		if got := Command("do", c.args, c.flags...); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}
