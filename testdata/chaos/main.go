// Command chaos breaks everything between a database and fifty browsers for a while, and then looks
// whether each browser has what was committed.
//
//	go run ./testdata/chaos                             90 s of a schedule that a seed decides
//	go run ./testdata/chaos -seed 7 -duration 10m -v    a given one, longer, printed
//	go run ./testdata/chaos -no-repair -duration 30s    the bridge without what makes up for losses: the test must see some
//	go run ./testdata/chaos -naive                      the same schedule against naive.mjs too (after npm ci --prefix testdata/chaos)
//
// The database is a stand-in in this process; its REST, its Realtime and each browser are reached
// through TCP proxies of their own (gate.go). The bridge is the real program and is killed and
// started again. The browsers are real socket.io-clients in one Node process (browsers.mjs, with
// the packages of testdata/node). Everything listens on loopback, and every wait has a bound. The
// seed decides the schedule and what is written, not how they fall together in time.
//
// What is counted, for each browser and each row of the conversations it is in:
//
//   - lost: the row's last committed state was brought by no event, nor by the read with which a
//     conversation was opened. What `resync` has a browser read does not count as brought. States
//     that another overwrote are listed as "no event" and are not lost: a read can only find the
//     last.
//   - duplicated: an event brought a state, or told a delete, that one had before on the same
//     browser.
//   - out of order: an event brought an older state than one before it, or one no younger than the
//     delete in its room. A row that moves is deleted where it was.
//   - rooms unlike the database: in the end the browser shows other rows, or other states, than the
//     database holds. Deletes count here: they reach a browser as events, or by its reading the
//     ids, after a join or when `resync` asks for it.
//
// An event of status alone (message_status_update) is no state of a row and isn't counted.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
}

// options are the command line.
type options struct {
	duration                   time.Duration
	seed                       uint64
	rate, browsers, rooms      int
	noRepair, naive, noSteps   bool
	fast                       bool
	folder, binary, node, logs string
}

func run(ctx context.Context, args []string) error {
	var o options
	fs := flag.NewFlagSet("chaos", flag.ContinueOnError)
	fs.DurationVar(&o.duration, "duration", 90*time.Second, "how long to disturb, for each bridge")
	fs.Uint64Var(&o.seed, "seed", 0, "seed of the schedule and of what is written; 0 draws one")
	fs.IntVar(&o.rate, "rate", 30, "transactions a second")
	fs.IntVar(&o.browsers, "browsers", 50, "how many browsers")
	fs.IntVar(&o.rooms, "rooms", 10, "how many conversations")
	fs.BoolVar(
		&o.noRepair,
		"no-repair",
		false,
		"run the bridge with what makes up for losses switched off, and fail unless losses are seen",
	)
	fs.BoolVar(&o.naive, "naive", false, "run the same schedule against naive.mjs too")
	fs.BoolVar(&o.noSteps, "calm", false, "disturb nothing")
	lane := fs.String(
		"fast-lane",
		"auto",
		"whether the database broadcasts changes too: on, off, or auto, as the seed decides",
	)
	fs.StringVar(&o.folder, "folder", "testdata/chaos", "where browsers.mjs and naive.mjs are")
	fs.StringVar(&o.binary, "bin", "", "the program to test, instead of building it")
	fs.StringVar(&o.node, "node", "node", "Node.js")
	fs.StringVar(&o.logs, "logs", "", "folder for the bridges' logs and the browsers' journals; empty keeps none")
	verbose := fs.Bool("v", false, "print the schedule")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if o.seed == 0 {
		o.seed = rand.Uint64N(1_000_000)
	}
	if o.binary == "" {
		folder, err := os.MkdirTemp("", "chaos-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(folder)
		o.binary = filepath.Join(folder, "supabridge")
		build := exec.CommandContext(ctx, "go", "build", "-o", o.binary, "github.com/supabridge/supabridge/cmd/supabridge")
		build.Stdout, build.Stderr = os.Stderr, os.Stderr
		if err := build.Run(); err != nil {
			return fmt.Errorf("go build: %w", err)
		}
	}
	steps := plan(o.seed, o.duration)
	if o.noSteps {
		steps = nil
	}
	switch *lane {
	case "on", "off":
		o.fast = *lane == "on"
	case "auto":
		o.fast = o.seed%2 == 1
	default:
		return fmt.Errorf("-fast-lane is %q, want on, off or auto", *lane)
	}
	fmt.Printf("chaos: seed %d, %s, fast lane %t, %d steps: %s\n", o.seed, o.duration, o.fast, len(steps), summary(steps))
	if *verbose {
		for _, s := range steps {
			fmt.Println(s)
		}
	}
	return o.compare(ctx, steps)
}

// compare runs the bridges and prints what came of each.
func (o *options) compare(ctx context.Context, steps []step) error {
	var verdicts []*verdict
	first := "supabridge"
	if o.noRepair {
		first = "no repair"
	}
	v, err := o.trial(ctx, first, steps)
	if err != nil {
		return fmt.Errorf("%s, seed %d: %w", first, o.seed, err)
	}
	verdicts = append(verdicts, v)
	if o.naive {
		other, err := o.trial(ctx, "naive", steps)
		if err != nil {
			return fmt.Errorf("naive, seed %d: %w", o.seed, err)
		}
		verdicts = append(verdicts, other)
	}
	print(os.Stdout, verdicts)
	if o.noRepair {
		if v.lost == 0 {
			return fmt.Errorf("nothing was lost without what makes up for losses: this test sees none (seed %d)", o.seed)
		}
		return nil
	}
	if !v.right() {
		return fmt.Errorf("the promise was broken; again with -seed %d -duration %s", o.seed, o.duration)
	}
	return nil
}

// Bounds of the waits that end a run.
const (
	startWait  = 60 * time.Second // for a bridge to be ready and for all browsers to be in their rooms
	settleWait = 60 * time.Second // for everything committed to have come
	naiveWait  = 15 * time.Second // the same, where it never will
	stateWait  = 250 * time.Millisecond
)

// trial runs one bridge through a schedule. It has ended everything it started when it returns.
func (o *options) trial(ctx context.Context, name string, steps []step) (*verdict, error) {
	p, err := openProject(o.rooms, o.fast)
	if err != nil {
		return nil, err
	}
	defer p.close()
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	log, err := o.log(name)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	bridge := &program{
		args:  []string{o.binary, "run"},
		env:   bridgeEnv(p, port, !o.noRepair),
		probe: "http://127.0.0.1:" + port + "/readyz",
		log:   log,
	}
	if name == "naive" {
		bridge.args, bridge.env, bridge.probe = []string{
			o.node,
			absolute(o.folder, "naive.mjs"),
		}, naiveEnv(
			p,
			port,
		), "http://127.0.0.1:"+port+"/"
	}
	if err := bridge.start(); err != nil {
		return nil, err
	}
	defer bridge.end(syscall.SIGKILL)
	starting, cancel := context.WithTimeout(ctx, startWait)
	defer cancel()
	if err := bridge.ready(starting); err != nil {
		return nil, err
	}

	d := &disturbance{project: p, program: bridge, writer: newWriter(p, o.seed)}
	defer func() {
		for _, e := range d.edges {
			e.close()
		}
	}()
	for range o.browsers {
		e, err := openGate("127.0.0.1:" + port)
		if err != nil {
			return nil, err
		}
		d.edges = append(d.edges, e)
	}
	profiles, err := o.profiles(p, d.edges)
	if err != nil {
		return nil, err
	}
	if d.browsers, err = openBrowsers(o.node, absolute(o.folder, "browsers.mjs")); err != nil {
		return nil, err
	}
	defer d.browsers.close()
	begin := question{
		Do:       "start",
		Browsers: profiles,
		Rest:     "http://" + p.rest.address(),
		Key:      p.server.AnonKey(),
		Since:    !o.noRepair,
		Overlap:  feedOverlap.Milliseconds(),
		Journal:  o.logs != "",
	}
	if err := d.browsers.ask(begin, nil); err != nil {
		return nil, err
	}
	if err := settle(starting, d.browsers, len(profiles)); err != nil {
		return nil, fmt.Errorf("before the schedule: %w", err)
	}

	if err := o.disturb(ctx, d, steps); err != nil {
		return nil, err
	}
	v, err := o.quiesce(ctx, d, profiles, name == "naive" || o.noRepair)
	if err != nil {
		return nil, err
	}
	if err := o.journals(d.browsers, name); err != nil {
		return nil, err
	}
	bridge.end(syscall.SIGTERM)
	v.name, v.starts, v.late = name, bridge.starts, bridge.late
	return v, nil
}

// disturb writes and carries the schedule out, until the duration is over.
func (o *options) disturb(ctx context.Context, d *disturbance, steps []step) error {
	ctx, cancel := context.WithTimeout(ctx, o.duration)
	defer cancel()
	var writing sync.WaitGroup
	var failed error
	writing.Go(func() {
		failed = d.writer.run(ctx, o.rate)
		if failed != nil {
			cancel()
		}
	})
	err := d.perform(ctx, steps)
	writing.Wait()
	if err != nil {
		return err
	}
	return failed
}

// quiesce waits until everything committed has come, at most settleWait, and then for as long as a
// late repetition may take; and judges.
func (o *options) quiesce(ctx context.Context, d *disturbance, profiles []profile, hopeless bool) (*verdict, error) {
	wait := settleWait
	if hopeless {
		wait = naiveWait
	}
	limit, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	_ = d.program.ready(limit)                   // what did not come is counted
	_ = settle(limit, d.browsers, len(profiles)) // likewise
	if _, err := d.writer.mark(); err != nil {   // the last rows: what came before them has come when they have
		return nil, err
	}
	for {
		v, err := o.look(d, profiles)
		if err != nil {
			return nil, err
		}
		if v.lost == 0 && v.wrongRooms == 0 && v.unsettled == 0 || limit.Err() != nil {
			break
		}
		_ = pause(limit, stateWait) // the loop looks at the limit
	}
	if !hopeless {
		if err := pause(ctx, feedInterval+time.Second); err != nil {
			return nil, err
		}
	}
	return o.look(d, profiles)
}

// look judges as things are now.
func (o *options) look(d *disturbance, profiles []profile) (*verdict, error) {
	views, err := d.browsers.views()
	if err != nil {
		return nil, err
	}
	database, err := d.writer.database()
	if err != nil {
		return nil, err
	}
	return judge(d.writer, profiles, views, database), nil
}

// settle waits until all browsers are connected and in their rooms.
func settle(ctx context.Context, b *browsers, want int) error {
	for {
		var state struct{ Settled int }
		if err := b.ask(question{Do: "state"}, &state); err != nil {
			return err
		}
		if state.Settled == want {
			return nil
		}
		if pause(ctx, stateWait) != nil {
			return fmt.Errorf("only %d of %d browsers are in their rooms", state.Settled, want)
		}
	}
}

// profiles makes the browsers, each behind an edge of its own: the first is the slow reader, in
// every room; the others are in two to four rooms, and one in seven is in the tenant's room as
// well, where it gets the rows of all conversations.
func (o *options) profiles(p *project, edges []*gate) ([]profile, error) {
	random := rand.New(rand.NewPCG(o.seed, 3))
	var profiles []profile
	for i := range o.browsers {
		token, err := p.token(i)
		if err != nil {
			return nil, err
		}
		transports, rooms := []string{"websocket"}, p.conversations
		if i > 0 {
			transports = [][]string{nil, nil, nil, {"websocket"}, {"polling"}}[i%5]
			rooms = nil
			for _, at := range random.Perm(len(p.conversations))[:min(len(p.conversations), 2+i%3)] {
				rooms = append(rooms, p.conversations[at])
			}
		}
		profiles = append(
			profiles,
			profile{URL: "http://" + edges[i].address(), Token: token, Transports: transports, Rooms: rooms, Tenant: i%7 == 3},
		)
	}
	return profiles, nil
}

// log is where a bridge's output goes.
func (o *options) log(name string) (io.WriteCloser, error) {
	if o.logs == "" {
		return os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	}
	return os.Create(filepath.Join(o.logs, "chaos-"+name+".log"))
}

// journals writes down what happened to each browser, where logs are kept.
func (o *options) journals(b *browsers, name string) error {
	if o.logs == "" {
		return nil
	}
	var all [][]string
	if err := b.ask(question{Do: "journals"}, &all); err != nil {
		return err
	}
	for i, lines := range all {
		path := filepath.Join(o.logs, fmt.Sprintf("chaos-%s-browser-%d.log", name, i))
		if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// absolute is a script's path from wherever a program runs.
func absolute(folder, name string) string {
	path, err := filepath.Abs(filepath.Join(folder, name))
	if err != nil {
		return filepath.Join(folder, name)
	}
	return path
}
