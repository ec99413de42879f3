package main

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/supabridge/supabridge/bridge/outbox"
)

// outboxCommand runs `supabridge outbox …` and gives its output and exit code.
func outboxCommand(t *testing.T, args ...string) (string, int) {
	t.Helper()
	var out, errs strings.Builder
	code := execute(t.Context(), append([]string{"outbox"}, args...), &out, &errs)
	return out.String() + errs.String(), code
}

func TestDeadLettersAreListedRetriedAndDroppedWithAndWithoutADaemon(t *testing.T) {
	path := filepath.Join(t.TempDir(), "o.db")
	ctx, stop := context.WithCancel(context.Background())
	died := make(chan struct{}, 10)
	box, err := outbox.Open(outbox.Options{Path: path, Deliver: map[string]outbox.Deliver{"store": func(context.Context, outbox.Item) error {
		died <- struct{}{}
		return outbox.Permanent(errors.New("no such column"))
	}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := box.Add(ctx, "", outbox.Entry{Target: "store", Lane: "+15550111", Body: []byte("Body=hush")}, outbox.Entry{Target: "store", Lane: "+15550111", Body: []byte("Body=two")}); err != nil {
		t.Fatal(err)
	}
	ran := make(chan struct{})
	served := make(chan error, 1)
	go func() { defer close(ran); box.Run(ctx) }()
	<-died
	<-died
	go func() { served <- box.Serve(ctx) }()
	var out string
	for code := 1; code != 0 || !strings.Contains(out, "2   store"); { // until it is there and both are noted
		out, code = outboxCommand(t, "list", "--file", path)
	}
	if strings.Contains(out, "hush") || strings.Contains(out, "15550111") || !strings.Contains(out, "no such column") {
		t.Errorf("list:\n%s", out)
	}
	if out, _ := outboxCommand(t, "list", "--file", path, "--bodies"); !strings.Contains(out, "hush") {
		t.Errorf("list --bodies:\n%s", out)
	}
	if out, code := outboxCommand(t, "drop", "--file", path, "1"); code != 0 {
		t.Errorf("drop: %s", out)
	}
	if out, code := outboxCommand(t, "drop", "--file", path, "1"); code != exitFailed || !strings.Contains(out, "no such entry") {
		t.Errorf("drop again: %d %s", code, out)
	}
	stop()
	<-ran
	if err := <-served; err != nil {
		t.Error(err)
	}
	if err := box.Close(); err != nil {
		t.Fatal(err)
	}
	if out, code := outboxCommand(t, "retry", "--file", path, "2"); code != 0 {
		t.Errorf("retry: %s", out)
	}
	if out, _ := outboxCommand(t, "list", "--file", path, "--waiting"); !strings.Contains(out, "2   store") {
		t.Errorf("waiting:\n%s", out)
	}
	for _, args := range [][]string{{"retry", "--file", path}, {"drop", "--file", path, "x"}} {
		if out, code := outboxCommand(t, args...); code != exitMisuse {
			t.Errorf("%q: %d %s", args, code, out)
		}
	}
	if out, code := outboxCommand(t, "list", "--file", path+".absent"); code != exitFailed {
		t.Errorf("a file that is not there: %d %s", code, out)
	}
}
