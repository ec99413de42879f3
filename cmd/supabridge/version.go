package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version may be set by the linker: -ldflags "-X main.version=v1.2.3".
var version string

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			info, _ := debug.ReadBuildInfo()
			fmt.Fprintln(cmd.OutOrStdout(), describeBuild(version, info))
			return nil
		},
	}
}

// describeBuild says in a line what was built from what: the linker's version
// before the module's, the commit with its time, and the Go it was built with.
func describeBuild(linked string, info *debug.BuildInfo) string {
	name := linked
	settings := make(map[string]string)
	if info != nil {
		if name == "" {
			name = info.Main.Version
		}
		for _, s := range info.Settings {
			settings[s.Key] = s.Value
		}
	}
	if name == "" {
		name = "(devel)"
	}
	s := "supabridge " + name
	if revision := settings["vcs.revision"]; revision != "" {
		s += " commit " + revision[:min(12, len(revision))]
		if settings["vcs.modified"] == "true" {
			s += " with changes"
		}
		if at := settings["vcs.time"]; at != "" {
			s += " of " + at
		}
	}
	return fmt.Sprintf("%s, %s %s/%s", s, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
