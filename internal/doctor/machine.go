package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// FewFiles is the limit on open files below which a server is held to be short of them: each
// browser takes one.
const FewFiles = 65_536

// files looks at how many files, and so connections, a process of this user may have open.
func (p *patient) files() {
	limit, ok := FileLimit()
	switch {
	case !ok:
	case limit < FewFiles:
		p.add(
			Finding{
				Check: "file_limit",
				Level: Warn,
				Text:  fmt.Sprintf("%d files may be open, so no more browsers can be connected", limit),
				Fix:   "ulimit -n 1048576 # in the shell\nLimitNOFILE=1048576 # in the unit of systemd\ndocker run --ulimit nofile=1048576:1048576",
			},
		)
	default:
		p.good("file_limit", "", "%d", limit)
	}
}

// outbox finds out whether the outbox's file can be made and written to.
func (p *patient) outbox() {
	path := p.cfg.Webhooks.Outbox.Path
	if path == "" {
		return
	}
	directory := filepath.Dir(path)
	if err := writable(path); err != nil {
		fix := "install -d -o supabridge -m 0750 " + directory
		if errors.Is(err, fs.ErrPermission) {
			fix = "chown -R supabridge " + directory + " # the user the daemon runs as"
		}
		p.add(
			Finding{
				Check: "outbox",
				About: path,
				Level: Fail,
				Text:  err.Error(),
				Fix:   fix + "\n# or\n" + yaml("webhooks.outbox.path", "# a file in a directory that is there"),
			},
		)
		return
	}
	p.good("outbox", path, "it can be written to")
}

// writable tries to open the file, and to make one beside it, which is taken away again.
func writable(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err == nil {
		err = f.Close()
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	probe, err := os.CreateTemp(filepath.Dir(path), ".supabridge-doctor-*")
	if err != nil {
		return err
	}
	defer os.Remove(probe.Name())
	if _, err := probe.WriteString("x"); err != nil {
		_ = probe.Close()
		return err
	}
	return errors.Join(probe.Sync(), probe.Close())
}
