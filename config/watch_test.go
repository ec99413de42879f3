package config

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// watching begins to watch and returns what tells of changes. The first, of the start, is taken
// already.
func watching(t *testing.T, files ...string) <-chan struct{} {
	t.Helper()
	told, ended := make(chan struct{}), make(chan error, 1)
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		ended <- Watch(ctx, files, func() {
			select {
			case told <- struct{}{}:
			case <-ctx.Done():
			}
		})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Watch: %v", err)
		}
	})
	await(t, told)
	return told
}

func await(t *testing.T, told <-chan struct{}) {
	t.Helper()
	select {
	case <-told:
	case <-time.After(20 * time.Second):
		t.Fatal("a change was not told")
	}
}

func TestWatchTellsOfEveryWayAFileChanges(t *testing.T) {
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	rename := func(from, to string) {
		t.Helper()
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	link := func(to, path string) {
		t.Helper()
		if err := os.Symlink(to, path); err != nil {
			t.Skip(err)
		}
	}
	t.Run("written to", func(t *testing.T) {
		path := file(t, "c.yaml", "a")
		told := watching(t, path)
		write(path, "b")
		await(t, told)
	})
	t.Run("replaced", func(t *testing.T) {
		path := file(t, "c.yaml", "a")
		told := watching(t, path)
		write(path+".new", "b")
		rename(path+".new", path)
		await(t, told)
		write(path+".new", "c")
		rename(path+".new", path)
		await(t, told)
	})
	t.Run("gone and back", func(t *testing.T) {
		path := file(t, "c.yaml", "a")
		told := watching(t, path)
		rename(path, path+"~")
		await(t, told)
		write(path, "a")
		await(t, told)
	})
	t.Run("as Kubernetes mounts it", func(t *testing.T) {
		dir := t.TempDir()
		for _, version := range []string{"..1", "..2"} {
			if err := os.Mkdir(filepath.Join(dir, version), 0o700); err != nil {
				t.Fatal(err)
			}
			write(filepath.Join(dir, version, "c.yaml"), version)
		}
		link("..1", filepath.Join(dir, "..data"))
		link(filepath.Join("..data", "c.yaml"), filepath.Join(dir, "c.yaml"))
		told := watching(t, filepath.Join(dir, "c.yaml"))
		link("..2", filepath.Join(dir, "..new"))
		rename(filepath.Join(dir, "..new"), filepath.Join(dir, "..data"))
		await(t, told)
	})
	t.Run("behind a link", func(t *testing.T) {
		path := file(t, "c.yaml", "a")
		alias := filepath.Join(t.TempDir(), "alias.yaml")
		link(path, alias)
		told := watching(t, alias)
		write(path, "b")
		await(t, told)
	})
}

func TestWatchSaysWhatCannotBeWatched(t *testing.T) {
	if err := Watch(t.Context(), []string{"/no/such/directory/c.yaml"}, func() { t.Error("told of a change") }); err == nil {
		t.Error("no error")
	}
}
