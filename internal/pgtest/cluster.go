package pgtest

import (
	"context"
	_ "embed" // the roles and the project
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

//go:embed roles.sql
var rolesSQL string

//go:embed project.sql
var projectSQL string

const (
	superuser = "supabase_admin"
	template  = "project"
)

// startTimeout bounds how long PostgreSQL may take to start.
const startTimeout = time.Minute

// cluster is the PostgreSQL of a test binary. The first bed starts it; it ends with the binary.
type cluster struct {
	dir  string   // holds its socket
	hold *os.File // open as long as this process lives: its end tells the cluster to stop

	mu   sync.Mutex // makes databases one by one
	made int
}

var shared = sync.OnceValues(startCluster)

// guard runs PostgreSQL until its standard input ends, however the test binary ended, and takes the
// files away.
const guard = `"$1/postgres" -D "$2/data" -k "$2" -c listen_addresses= -c fsync=off -c synchronous_commit=off -c full_page_writes=off \
  -c wal_level=logical -c max_connections=200 -c shared_buffers=32MB </dev/null &
server=$!
cat >/dev/null
kill -QUIT "$server"
wait "$server"
rm -rf "$2"`

// errMissing says how to get PostgreSQL: a test that needs it fails without, for what it checks
// can't be checked otherwise.
var errMissing = errors.New("missing: PostgreSQL; scripts/prepare postgres installs it")

func startCluster() (*cluster, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil {
		return nil, err
	}
	if path, err := exec.LookPath("initdb"); err == nil && len(found) == 0 {
		found = append(found, path)
	}
	if len(found) == 0 {
		return nil, errMissing
	}
	slices.SortFunc(found, func(a, b string) int { return major(a) - major(b) })
	bin := filepath.Dir(found[len(found)-1])
	dir, err := os.MkdirTemp("", "pg") // a socket's path must be short
	if err != nil {
		return nil, err
	}
	c := &cluster{dir: dir}
	as, err := otherThanRoot(dir)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := c.start(bin, as); err != nil {
		return nil, errors.Join(err, c.stop())
	}
	return c, nil
}

// major is the version of PostgreSQL in Debian's path of a program; 0 in another path.
func major(path string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path)))) // 0 is the answer then
	return n
}

// otherThanRoot makes dir another user's where the tests run as root, which PostgreSQL refuses to
// run as.
func otherThanRoot(dir string) (*syscall.SysProcAttr, error) {
	as := &syscall.SysProcAttr{Setpgid: true} // an interrupt from the terminal stops the tests, and their end the cluster
	if os.Getuid() != 0 {
		return as, nil
	}
	nobody, err := user.Lookup("nobody")
	if err != nil {
		return nil, err
	}
	uid, err := strconv.Atoi(nobody.Uid)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.Atoi(nobody.Gid)
	if err != nil {
		return nil, err
	}
	as.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return as, os.Chown(dir, uid, gid)
}

func (c *cluster) start(bin string, as *syscall.SysProcAttr) error {
	initdb := exec.Command(filepath.Join(bin, "initdb"), "-D", filepath.Join(c.dir, "data"), "-U", superuser,
		"-A", "trust", "-N", "-E", "UTF8", "--locale=C")
	initdb.Dir, initdb.SysProcAttr = c.dir, as
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	log, err := os.Create(filepath.Join(c.dir, "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	stdin, hold, err := os.Pipe()
	if err != nil {
		return err
	}
	defer stdin.Close()
	server := exec.Command("/bin/sh", "-c", guard, "guard", bin, c.dir)
	server.Dir, server.SysProcAttr, server.Stdin, server.Stdout, server.Stderr = c.dir, as, stdin, log, log
	if err := server.Start(); err != nil {
		return errors.Join(err, hold.Close())
	}
	c.hold = hold // nobody waits for the guard: it outlives this process by the time it takes to clean up
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	if err := c.await(ctx); err != nil {
		text, _ := os.ReadFile(log.Name()) // the error says enough where there is none
		return fmt.Errorf("PostgreSQL does not start: %w\n%s", err, text)
	}
	if _, err := c.exec(ctx, superuser, "postgres", rolesSQL+`; create database `+template); err != nil {
		return fmt.Errorf("roles.sql: %w", err)
	}
	if _, err := c.exec(ctx, superuser, template, projectSQL); err != nil {
		return fmt.Errorf("project.sql: %w", err)
	}
	return nil
}

// await waits until the server takes connections.
func (c *cluster) await(ctx context.Context) error {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		_, err := c.exec(ctx, superuser, "postgres", "select 1")
		if err == nil {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return err
		}
	}
}

// stop ends a cluster that could not be started.
func (c *cluster) stop() error {
	if c.hold == nil {
		return os.RemoveAll(c.dir)
	}
	return c.hold.Close()
}

// database makes a database with a project in it, which belongs to owner.
func (c *cluster) database(ctx context.Context, owner string) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.made++
	name := "test_" + strconv.Itoa(c.made)
	if _, err := c.exec(ctx, superuser, "postgres",
		"create database "+name+" template "+template+" owner "+owner); err != nil {
		return "", err
	}
	_, err := c.exec(ctx, superuser, name, "alter publication supabase_realtime owner to "+owner)
	return name, err
}

// address is what a client of the cluster connects to.
func (c *cluster) address(role, database string) string {
	return "postgres://" + role + "@/" + database + "?host=" + c.dir
}

// exec runs statements one by one on a connection of their own, as psql does. What it ends within a
// transaction is undone.
func (c *cluster) exec(ctx context.Context, role, database, text string) (string, error) {
	conn, err := connect(ctx, c.address(role, database))
	if err != nil {
		return "", err
	}
	var lines []string
	for _, statement := range split(text) {
		out, err := run(ctx, conn, statement)
		if err != nil {
			return "", errors.Join(fmt.Errorf("%w, at: %s", err, statement), conn.Close(ctx))
		}
		if out != "" {
			lines = append(lines, out)
		}
	}
	return strings.Join(lines, "\n"), conn.Close(ctx)
}
