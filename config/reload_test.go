package config

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestWhatCanChangeLiveExists(t *testing.T) {
	for _, path := range live {
		found := false
		for k := range root().leaves() {
			found = found || k.path == path || strings.HasPrefix(k.path, path+".")
		}
		if !found {
			t.Errorf("there is no key %s", path)
		}
	}
}

func TestReplaceNamesWhatIsFixedAndWhereItStands(t *testing.T) {
	old := mustLoad(t, Sources{Environ: complete})
	path := file(t, "c.yaml", "typing:\n  timeout: 9s\nlisten: ':1'\ntables: {messages: {name: letters}}\n")
	next := mustLoad(t, Sources{File: path, Environ: complete})
	changed, err := old.Replace(next)
	if want := []string{"listen", "tables.messages.name", "typing.timeout"}; !slices.Equal(changed, want) {
		t.Errorf("changed %q, want %q", changed, want)
	}
	want := path + ":3: listen: can't change while the daemon runs; restart it, or take the change back\n" + path + ":4: tables.messages.name: can't change"
	if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "typing") {
		t.Errorf("error is %v, want %s…", err, want)
	}
}

func TestReplaceTakesWhatIsLive(t *testing.T) {
	old := mustLoad(t, Sources{Environ: complete})
	next := mustLoad(t, Sources{Environ: complete})
	if changed, err := old.Replace(next); err != nil || len(changed) > 0 {
		t.Errorf("of the same: %q, %v", changed, err)
	}
	next.Log.Level, next.Auth.Leeway, next.Vocabulary.Accept = "debug", time.Second, []string{"kebab"}
	if changed, err := old.Replace(next); err != nil || !slices.Equal(changed, []string{"vocabulary.accept", "auth.leeway", "log.level"}) {
		t.Errorf("changed %q, %v", changed, err)
	}
}
