package main

import (
	"strings"
	"testing"
)

func TestLoadAimsAtThisMachineUnlessToldOtherwise(t *testing.T) {
	for _, args := range [][]string{{"load", "https://app.example.com"}, {"load", "http://127.0.0.1:1", "--connections", "0"}, {"load", "http://127.0.0.1:1", "--token", "@/no/such/file"}, {"load"}} {
		var out, errs strings.Builder
		if code := execute(t.Context(), args, &out, &errs); code != exitMisuse && len(args) > 1 || code == 0 {
			t.Errorf("%q: exit %d\n%s", args, code, errs.String())
		}
		if args = args[1:]; len(args) == 1 && !strings.Contains(errs.String(), "--i-own-this-host") {
			t.Errorf("%q:\n%s", args, errs.String())
		}
	}
}
