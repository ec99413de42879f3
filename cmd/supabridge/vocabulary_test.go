package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestEveryProfileOfTheRepositoryIsGood(t *testing.T) {
	profiles, err := filepath.Glob("../../testdata/profiles/*.yaml")
	if err != nil || len(profiles) < 5 {
		t.Fatalf("%d profiles (%v), want one for each style", len(profiles), err)
	}
	for _, profile := range profiles {
		var out, errs bytes.Buffer
		if code := execute(t.Context(), []string{"vocabulary", "check", "--config", profile}, &out, &errs); code != 0 {
			t.Errorf("%s: exit code %d: %s", profile, code, &errs)
		}
	}
}

func TestVocabularyMistakesAreToldWithTheirLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.yaml")
	for text, want := range map[string]string{
		"vocabulary:\n  out:\n    message.created:\n      - event: a\n        payload: { x: '${rwo.id}' }\n": "out.message.created[0] (line 4): payload: x: no variable ${rwo.id}",
		"vocabulary:\n  out:\n    message.created: { evnt: a }\n":                                            ":3: vocabulary.out.message.created[0].evnt: unknown key, did you mean event?",
		"vocabulary:\n  in:\n    join: { events: [typing] }\n    typing: { events: [typing] }\n":             "would mean both",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var out, errs bytes.Buffer
		if code := execute(t.Context(), []string{"vocabulary", "check", "--config", path}, &out, &errs); code != exitMisuse || !strings.Contains(errs.String(), want) {
			t.Errorf("exit code %d, %q, want %q", code, &errs, want)
		}
	}
}

func TestVocabularyExplainNeedsNoProject(t *testing.T) {
	var out, errs bytes.Buffer
	if code := execute(t.Context(), []string{"vocabulary", "explain", "join-conversation", `{"conversationId":42}`}, &out, &errs); code != 0 {
		t.Fatalf("exit code %d: %s", code, &errs)
	}
	for _, want := range []string{"join", "kebab", "conversation:42", "joined-conversation"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in %s", want, &out)
		}
	}
}
