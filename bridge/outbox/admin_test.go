package outbox

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"
)

func TestRunningBoxIsReachedBesideItsFile(t *testing.T) {
	m := newMailbox(func(item Item) error {
		if item.Attempts == 0 && item.Reason == "" {
			return Permanent(errors.New("no"))
		}
		return nil
	})
	opts := options(t, m)
	o := box(t, opts)
	if err := os.WriteFile(SocketPath(opts.Path), nil, 0o600); err != nil { // left by a killed process
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- o.Serve(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	add(t, o, "", "a", "x")
	add(t, o, "", "a", "y")
	run(t, o)
	settled(t, o, "dead", func(s Stats) bool { return s.Dead == 2 })
	r := Reach(opts.Path)
	var items []Item
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for err := error(os.ErrNotExist); err != nil; { // until it listens
		select {
		case <-tick.C:
		case <-timeout.C:
			t.Fatal(err)
		}
		items, err = r.List(t.Context(), true, 0, 0)
	}
	if len(items) != 2 || string(items[0].Body) != "x" || items[0].Reason != "no" {
		t.Fatalf("dead letters %+v", items)
	}
	if err := r.Drop(t.Context(), items[0].ID); err != nil {
		t.Fatal(err)
	}
	if err := r.Drop(t.Context(), items[0].ID); !errors.Is(err, ErrUnknown) {
		t.Errorf("dropped twice: %v", err)
	}
	if err := r.Retry(t.Context(), 999); !errors.Is(err, ErrUnknown) {
		t.Errorf("retry of none: %v", err)
	}
	if err := r.Retry(t.Context(), items[1].ID); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(SocketPath(opts.Path)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket's mode: %v (%v)", info.Mode(), err)
	}
}
