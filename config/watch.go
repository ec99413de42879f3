package config

import (
	"context"
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// settleTime is how long the files' directories must be quiet before the files are looked at:
// editors write in several steps.
const settleTime = 100 * time.Millisecond

// Watch calls changed when the content of any of the files has become another, until ctx ends; it
// returns then, or with an error where the system can't watch them. It also calls changed once at
// the start, since a file may have changed after it was read. Files that are replaced, by an editor
// or as Kubernetes swaps what it mounts, count as much as files that are written to; one that is
// gone counts as changed. Network file systems may tell nothing.
func Watch(ctx context.Context, files []string, changed func()) error {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch the configuration: %w", err)
	}
	defer watcher.Close()
	for _, file := range files {
		// The directory, since a watch on the file itself ends with the file; and that of what a link
		// points to.
		directories := []string{filepath.Dir(file)}
		if target, err := filepath.EvalSymlinks(file); err == nil {
			directories = append(directories, filepath.Dir(target))
		}
		for _, directory := range directories {
			if err := watcher.Add(directory); err != nil {
				return fmt.Errorf("watch %s: %w", directory, err)
			}
		}
	}
	last := digest(files)
	changed()
	quiet := time.NewTimer(settleTime)
	defer quiet.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, open := <-watcher.Events:
			if !open {
				return nil
			}
			quiet.Reset(settleTime)
		case err := <-watcher.Errors:
			if err != nil { // an overflow: what it hid may have been a change
				quiet.Reset(settleTime)
			}
		case <-quiet.C:
			if now := digest(files); now != last {
				last = now
				changed()
			}
		}
	}
}

// digest stands for the content of all files.
func digest(files []string) [sha256.Size]byte {
	all := sha256.New()
	for _, file := range files {
		content, err := readFile(file)
		fmt.Fprintf(all, "%d %t\n%s", len(content), err == nil, content)
	}
	return [sha256.Size]byte(all.Sum(nil))
}
