package outbox

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestFullDiskRefusesAndKeepsWhatItTook fills a file system of 2 MiB, which only root may make.
func TestFullDiskRefusesAndKeepsWhatItTook(t *testing.T) {
	folder := t.TempDir()
	if err := syscall.Mount("tmpfs", folder, "tmpfs", 0, "size=2m"); err != nil {
		t.Skipf("a file system that is full can't be made here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(folder, 0); err != nil {
			t.Error(err)
		}
	})
	filler := filepath.Join(folder, "filler")
	if err := os.WriteFile(filler, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	m := newMailbox(nil)
	opts := options(t, m)
	opts.Path = filepath.Join(folder, "outbox.db")
	o := box(t, opts)
	entry := func(n int) Entry {
		return Entry{Target: "store", Lane: "a", Body: append(fmt.Appendf(nil, "%03d ", n), bytes.Repeat([]byte("x"), 20_000)...)}
	}
	acknowledged := 0
	var err error
	for ; err == nil && acknowledged < 1000; acknowledged++ {
		_, err = o.Add(t.Context(), fmt.Sprint(acknowledged), entry(acknowledged))
	}
	acknowledged-- // the last was refused
	if !errors.Is(err, ErrDisk) || !errors.Is(err, syscall.ENOSPC) || acknowledged < 3 {
		t.Fatalf("after %d: %v", acknowledged, err)
	}
	if s := o.Stats(); s.Waiting != acknowledged {
		t.Errorf("%d waiting, %d acknowledged", s.Waiting, acknowledged)
	}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	o = box(t, opts) // as after a crash: the file is read through, on the disk that is still full
	if s := o.Stats(); s.Waiting != acknowledged {
		t.Errorf("reopened: %d waiting, %d acknowledged", s.Waiting, acknowledged)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if ok, err := o.Add(t.Context(), fmt.Sprint(acknowledged), entry(acknowledged)); !ok || err != nil {
		t.Errorf("with room again, what was refused: %t %v", ok, err)
	}
	run(t, o)
	got := m.await(t, acknowledged+1)
	for n, body := range got {
		if want := fmt.Sprintf("%03d", n); body[:3] != want {
			t.Fatalf("delivered %s in place of %s", body[:3], want)
		}
	}
}
