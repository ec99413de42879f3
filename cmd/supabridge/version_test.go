package main

import (
	"runtime"
	"runtime/debug"
	"testing"
)

func TestVersionNamesWhatWasBuilt(t *testing.T) {
	platform := runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH
	setting := func(key, value string) debug.BuildSetting { return debug.BuildSetting{Key: key, Value: value} }
	commit := []debug.BuildSetting{setting("vcs.revision", "0123456789abcdef0123"), setting("vcs.time", "2026-11-23T09:00:00Z")}
	for _, test := range []struct {
		linked string
		info   *debug.BuildInfo
		want   string
	}{
		{"", nil, "supabridge (devel), "},
		{"", &debug.BuildInfo{Main: debug.Module{Version: "v1.2.3"}}, "supabridge v1.2.3, "},
		{"v2.0.0", &debug.BuildInfo{Main: debug.Module{Version: "(devel)"}}, "supabridge v2.0.0, "},
		{"v2.0.0", &debug.BuildInfo{Settings: commit}, "supabridge v2.0.0 commit 0123456789ab of 2026-11-23T09:00:00Z, "},
		{
			"v2.0.0", &debug.BuildInfo{Settings: append(commit, setting("vcs.modified", "true"))},
			"supabridge v2.0.0 commit 0123456789ab with changes of 2026-11-23T09:00:00Z, ",
		},
	} {
		if got := describeBuild(test.linked, test.info); got != test.want+platform {
			t.Errorf("%q with %v is %q, want %q", test.linked, test.info, got, test.want+platform)
		}
	}
}
