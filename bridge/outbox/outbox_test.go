package outbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"
)

// patience bounds waits that only a failing test uses up.
const patience = 20 * time.Second

// mailbox takes deliveries and answers them as told.
type mailbox struct {
	mu     sync.Mutex
	got    []string
	answer func(item Item) error
	came   chan struct{} // of capacity 1
}

func newMailbox(answer func(Item) error) *mailbox {
	return &mailbox{answer: answer, came: make(chan struct{}, 1)}
}

func (m *mailbox) deliver(_ context.Context, item Item) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer func() {
		select {
		case m.came <- struct{}{}:
		default:
		}
	}()
	if m.answer != nil {
		if err := m.answer(item); err != nil {
			return err
		}
	}
	m.got = append(m.got, string(item.Body))
	return nil
}

// await waits for n deliveries and gives them.
func (m *mailbox) await(t *testing.T, n int) []string {
	t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		m.mu.Lock()
		got := slices.Clone(m.got)
		m.mu.Unlock()
		if len(got) >= n {
			return got
		}
		select {
		case <-m.came:
		case <-timeout.C:
			t.Fatalf("%d deliveries, want %d: %q", len(got), n, got)
		}
	}
}

func options(t *testing.T, m *mailbox) Options {
	t.Helper()
	opts := Options{Path: filepath.Join(t.TempDir(), "outbox.db"), RetryMin: time.Millisecond, RetryMax: 20 * time.Millisecond}
	if m != nil {
		opts.Deliver = map[string]Deliver{"store": m.deliver}
	}
	return opts
}

// box opens an outbox that the test's end closes.
func box(t *testing.T, opts Options) *Outbox {
	t.Helper()
	o, err := Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := o.Close(); err != nil {
			t.Error(err)
		}
	})
	return o
}

// run runs a box until the test ends or stop is called.
func run(t *testing.T, o *Outbox) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); o.Run(ctx) }()
	stop = sync.OnceFunc(func() { cancel(); <-ended })
	t.Cleanup(stop)
	return stop
}

func add(t *testing.T, o *Outbox, dedupe, lane, body string) bool {
	t.Helper()
	added, err := o.Add(t.Context(), dedupe, Entry{Target: "store", Lane: lane, Body: []byte(body)})
	if err != nil {
		t.Fatalf("add %s: %v", body, err)
	}
	return added
}

// settled waits for a condition on the box's numbers.
func settled(t *testing.T, o *Outbox, what string, ok func(Stats) bool) {
	t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok(o.Stats()) {
		select {
		case <-tick.C:
		case <-timeout.C:
			t.Fatalf("%s: %+v", what, o.Stats())
		}
	}
}

func TestAddedIsDeliveredAfterReopening(t *testing.T) {
	m := newMailbox(nil)
	opts := options(t, m)
	o := box(t, opts)
	for i := range 50 {
		add(t, o, "", "a", fmt.Sprint(i))
	}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := o.Add(t.Context(), "", Entry{Target: "store"}); !errors.Is(err, ErrClosed) {
		t.Errorf("add to a closed box: %v", err)
	}
	o = box(t, opts)
	run(t, o)
	for i, body := range m.await(t, 50) {
		if body != fmt.Sprint(i) {
			t.Fatalf("delivery %d is %s", i, body)
		}
	}
	settled(t, o, "not empty", func(s Stats) bool { return s.Waiting == 0 && s.Bytes == 0 && s.Delivered == 50 })
}

func TestLaneWaitsForItsFirstWhileOthersGoOn(t *testing.T) {
	failures := 3
	m := newMailbox(func(item Item) error {
		if string(item.Body) == "a1" && failures > 0 {
			failures--
			return errors.New("not yet")
		}
		return nil
	})
	o := box(t, options(t, m))
	for _, body := range []string{"a1", "a2", "a3", "b1"} {
		add(t, o, "", body[:1], body)
	}
	run(t, o)
	got := m.await(t, 4)
	if slices.Index(got, "b1") != 0 || !slices.Equal(slices.DeleteFunc(got, func(s string) bool { return s == "b1" }), []string{"a1", "a2", "a3"}) {
		t.Errorf("delivered %q", got)
	}
}

func TestPoisonIsKeptAsideAndTheLaneGoesOn(t *testing.T) {
	cured := false
	m := newMailbox(func(item Item) error {
		if string(item.Body) == "poison" && !cured {
			return Permanent(errors.New("no such column"))
		}
		return nil
	})
	opts := options(t, m)
	o := box(t, opts)
	add(t, o, "", "a", "poison")
	add(t, o, "", "a", "next")
	stop := run(t, o)
	if got := m.await(t, 1); got[0] != "next" {
		t.Fatalf("delivered %q", got)
	}
	settled(t, o, "one dead", func(s Stats) bool { return s.Dead == 1 && s.Waiting == 0 })
	stop()
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}

	o = box(t, opts) // the dead survive too
	run(t, o)
	dead, err := o.List(true, 0, 0)
	if err != nil || len(dead) != 1 || dead[0].Reason != "no such column" || dead[0].Attempts != 1 {
		t.Fatalf("dead letters: %+v (%v)", dead, err)
	}
	if err := o.Retry(t.Context(), 999); !errors.Is(err, ErrUnknown) {
		t.Errorf("retry of none: %v", err)
	}
	m.mu.Lock()
	cured = true
	m.mu.Unlock()
	if err := o.Retry(t.Context(), dead[0].ID); err != nil {
		t.Fatal(err)
	}
	if got := m.await(t, 2); got[1] != "poison" {
		t.Errorf("delivered %q", got)
	}
	settled(t, o, "empty", func(s Stats) bool { return s.Dead == 0 && s.Waiting == 0 && s.Bytes == 0 })
}

func TestDroppedIsNotDelivered(t *testing.T) {
	m := newMailbox(nil)
	o := box(t, options(t, m))
	add(t, o, "", "a", "unwanted")
	add(t, o, "", "a", "wanted")
	waiting, err := o.List(false, 0, 1)
	if err != nil || len(waiting) != 1 || string(waiting[0].Body) != "unwanted" {
		t.Fatalf("waiting: %+v (%v)", waiting, err)
	}
	if err := o.Drop(t.Context(), waiting[0].ID); err != nil {
		t.Fatal(err)
	}
	if err := o.Drop(t.Context(), waiting[0].ID); !errors.Is(err, ErrUnknown) {
		t.Errorf("dropped twice: %v", err)
	}
	run(t, o)
	if got := m.await(t, 1); got[0] != "wanted" {
		t.Errorf("delivered %q", got)
	}
}

func TestTooOldIsADeadLetterAndInTheEndNothing(t *testing.T) {
	m := newMailbox(func(Item) error { return errors.New("never") })
	opts := options(t, m)
	opts.MaxAge = time.Nanosecond
	o := box(t, opts)
	add(t, o, "", "a", "x")
	stop := run(t, o)
	settled(t, o, "dead", func(s Stats) bool { return s.Dead == 1 })
	stop()
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	opts.KeepDead = time.Nanosecond
	o = box(t, opts)
	run(t, o)
	settled(t, o, "gone", func(s Stats) bool { return s.Dead == 0 && s.Expired == 1 && s.Bytes == 0 })
}

func TestOneOriginIsAddedOnce(t *testing.T) {
	opts := options(t, nil)
	o := box(t, opts)
	if !add(t, o, "token:1", "a", "x") || add(t, o, "token:1", "a", "x") || !add(t, o, "token:2", "a", "y") || !add(t, o, "", "a", "z") || !add(t, o, "", "a", "z") {
		t.Error("a name is added once, no name always")
	}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	o = box(t, opts)
	if add(t, o, "token:1", "a", "x") {
		t.Error("forgotten with the process")
	}
	if s := o.Stats(); s.Waiting != 4 {
		t.Errorf("%+v", s)
	}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	opts.DedupeFor = time.Nanosecond
	o = box(t, opts)
	if !add(t, o, "token:1", "a", "x") {
		t.Error("a name is taken for longer than it should")
	}
}

func TestFullBoxSaysSoAndTakesAgainWhenThereIsRoom(t *testing.T) {
	opts := options(t, nil)
	opts.MaxBytes = 3000
	o := box(t, opts)
	entry := Entry{Target: "store", Lane: "a", Body: bytes.Repeat([]byte("x"), 1000)}
	var err error
	added := 0
	for ; err == nil; added++ {
		_, err = o.Add(t.Context(), fmt.Sprint(added), entry)
	}
	if !errors.Is(err, ErrFull) || added != 3 {
		t.Fatalf("after %d: %v", added, err)
	}
	items, err := o.List(false, 0, 0)
	if err != nil || len(items) != 2 {
		t.Fatalf("%d items (%v)", len(items), err)
	}
	if err := o.Drop(t.Context(), items[0].ID); err != nil {
		t.Fatal(err)
	}
	if ok, err := o.Add(t.Context(), "2", entry); !ok || err != nil {
		t.Errorf("what was refused for want of room counts as known: %t %v", ok, err)
	}
	if _, err := o.Add(t.Context(), "", Entry{Target: "store", Body: make([]byte, maxEntry)}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("an entry beyond the bound: %v", err)
	}
}

func TestDiskThatTakesNothingLosesNothingAcknowledged(t *testing.T) {
	noSpace := errors.New("no space left on device")
	var mu sync.Mutex
	failing := false
	m := newMailbox(nil)
	opts := options(t, m)
	opts.commit = func(db *bbolt.DB, write func(*bbolt.Tx) error) error {
		mu.Lock()
		defer mu.Unlock()
		return db.Update(func(tx *bbolt.Tx) error {
			if err := write(tx); err != nil || !failing {
				return err
			}
			return noSpace
		})
	}
	set := func(to bool) { mu.Lock(); failing = to; mu.Unlock() }
	o := box(t, opts)
	add(t, o, "1", "a", "acknowledged")
	set(true)
	if _, err := o.Add(t.Context(), "2", Entry{Target: "store", Lane: "a", Body: []byte("refused")}); !errors.Is(err, ErrDisk) || !errors.Is(err, noSpace) {
		t.Fatalf("on a full disk: %v", err)
	}
	if s := o.Stats(); s.Waiting != 1 {
		t.Errorf("%+v", s)
	}
	run(t, o)
	m.await(t, 2) // delivered, and again since that could not be noted
	set(false)
	settled(t, o, "delivered", func(s Stats) bool { return s.Waiting == 0 && s.Bytes == 0 })
	if !add(t, o, "2", "a", "refused") {
		t.Error("what was refused counts as known")
	}
	settled(t, o, "delivered", func(s Stats) bool { return s.Waiting == 0 })
	if got := m.await(t, 3); got[len(got)-1] != "refused" {
		t.Errorf("delivered %q", got)
	}
}

func TestFileThatCanGrowNoMoreRefuses(t *testing.T) {
	opts := options(t, nil)
	opts.MaxBytes = 1
	o := box(t, opts)
	o.opts.MaxBytes = 1 << 40 // so that the file's own bound is met, and not ours
	entry := Entry{Target: "store", Lane: "a", Body: make([]byte, maxEntry/2)}
	var err error
	acknowledged := 0
	for range 100 {
		if _, err = o.Add(t.Context(), "", entry); err != nil {
			break
		}
		acknowledged++
	}
	if !errors.Is(err, ErrDisk) {
		t.Fatalf("after %d: %v", acknowledged, err)
	}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	opts.MaxBytes = 0
	if s := box(t, opts).Stats(); s.Waiting != acknowledged {
		t.Errorf("%d waiting, %d acknowledged", s.Waiting, acknowledged)
	}
}

func TestCorruptFileIsToldAndLeftAlone(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"a byte of a body": func(b []byte) []byte {
			return bytes.ReplaceAll(b, []byte("body-of-an-entry-7"), []byte("bady-of-an-entry-7"))
		},
		"cut in half":         func(b []byte) []byte { return b[:len(b)/2] },
		"cut to a page":       func(b []byte) []byte { return b[:4096] },
		"both metas":          func(b []byte) []byte { clear(b[:8192]); return b },
		"all but the metas":   func(b []byte) []byte { clear(b[8192:]); return b },
		"another file":        func([]byte) []byte { return []byte(strings.Repeat("not a database\n", 4000)) },
		"noise after a while": func(b []byte) []byte { copy(b[12288:], bytes.Repeat([]byte{0xff, 7}, len(b)/4)); return b },
	} {
		t.Run(name, func(t *testing.T) {
			opts := options(t, nil)
			o := box(t, opts)
			for i := range 200 {
				add(t, o, fmt.Sprint(i), "a", fmt.Sprint("body-of-an-entry-", i))
			}
			if err := o.Close(); err != nil {
				t.Fatal(err)
			}
			file, err := os.ReadFile(opts.Path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(opts.Path, damage(bytes.Clone(file)), 0o600); err != nil {
				t.Fatal(err)
			}
			damaged, err := os.ReadFile(opts.Path)
			if err != nil {
				t.Fatal(err)
			}
			o, err = Open(opts)
			if err == nil {
				_ = o.Close()
			}
			if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), opts.Path) {
				t.Fatalf("open: %v", err)
			}
			after, err := os.ReadFile(opts.Path)
			if err != nil || !bytes.Equal(damaged, after) {
				t.Errorf("opening changed the file (%v)", err)
			}
		})
	}
}

func TestFileOpenElsewhereIsTold(t *testing.T) {
	opts := options(t, nil)
	box(t, opts)
	if _, err := Open(opts); !errors.Is(err, ErrLocked) {
		t.Errorf("opened twice: %v", err)
	}
}

func TestTargetThatIsAwayIsTriedByOne(t *testing.T) {
	var mu sync.Mutex
	away, under, most, tries := true, 0, 0, 0
	o := (*Outbox)(nil)
	opts := options(t, nil)
	opts.Deliver = map[string]Deliver{"store": func(context.Context, Item) error {
		mu.Lock()
		defer mu.Unlock()
		if !away {
			return nil
		}
		tries++
		under++
		defer func() { under-- }()
		if tries > 2*DefaultWorkers {
			most = max(most, under)
		}
		return Unavailable(errors.New("refused"), 0)
	}}
	o = box(t, opts)
	for i := range 500 {
		add(t, o, "", fmt.Sprint(i), "x")
	}
	run(t, o)
	settled(t, o, "tried", func(s Stats) bool { return s.Failed > 50 })
	mu.Lock()
	away = false
	if most > 1 {
		t.Errorf("%d deliveries at once to a target that is away", most)
	}
	mu.Unlock()
	settled(t, o, "delivered", func(s Stats) bool { return s.Waiting == 0 })
}

func TestTargetThatIsSaidToBeBackIsTriedAtOnce(t *testing.T) {
	var mu sync.Mutex
	away := true
	opts := options(t, nil)
	opts.RetryMin, opts.RetryMax = time.Hour, time.Hour // nothing is tried again by itself
	opts.Deliver = map[string]Deliver{"store": func(context.Context, Item) error {
		mu.Lock()
		defer mu.Unlock()
		if away {
			return Unavailable(errors.New("refused"), 0)
		}
		return nil
	}}
	o := box(t, opts)
	for i := range 100 {
		add(t, o, "", fmt.Sprint(i), "x")
	}
	run(t, o)
	settled(t, o, "tried", func(s Stats) bool { return s.Failed >= awayAfter })
	o.Rouse("store")
	o.Rouse("elsewhere")
	mu.Lock()
	away = false
	mu.Unlock()
	settled(t, o, "delivered", func(s Stats) bool {
		o.Rouse("store") // again, since one that was under way may have failed after the first
		return s.Waiting == 0
	})
}

func TestDeliveryThatPanicsIsADeadLetter(t *testing.T) {
	opts := options(t, nil)
	opts.Deliver = map[string]Deliver{"store": func(context.Context, Item) error { panic("a defect") }}
	o := box(t, opts)
	add(t, o, "", "a", "x")
	run(t, o)
	settled(t, o, "dead", func(s Stats) bool { return s.Dead == 1 })
}

func TestManyAddsShareACommit(t *testing.T) {
	var mu sync.Mutex
	commits := 0
	opts := options(t, nil)
	opts.commit = func(db *bbolt.DB, write func(*bbolt.Tx) error) error {
		mu.Lock()
		commits++
		mu.Unlock()
		return db.Update(write)
	}
	o := box(t, opts)
	const adders, each = 64, 20
	var wait sync.WaitGroup
	for i := range adders {
		wait.Go(func() {
			for j := range each {
				if _, err := o.Add(context.Background(), fmt.Sprintf("%d.%d", i, j), Entry{Target: "store", Lane: fmt.Sprint(i), Body: []byte("x")}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	if s := o.Stats(); s.Waiting != adders*each || commits > adders*each/4 {
		t.Errorf("%d commits for %d additions", commits, s.Waiting)
	}
}

func FuzzDecode(f *testing.F) {
	record, err := encode(Item{Entry: Entry{Target: "t", Lane: "l", Header: map[string]string{"a": "b"}, Body: []byte("body")}, At: time.Unix(1, 2), Attempts: 3, Reason: "r", Dead: true})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(record)
	f.Add([]byte{})
	f.Add(make([]byte, 8))
	f.Fuzz(func(t *testing.T, record []byte) {
		item, err := decode(number(7), record)
		if err != nil {
			return
		}
		again, err := encode(item)
		if err != nil {
			t.Fatal(err)
		}
		if same, err := decode(number(7), again); err != nil || same.ID != 7 || !bytes.Equal(same.Body, item.Body) || same.Lane != item.Lane {
			t.Fatalf("%+v became %+v (%v)", item, same, err)
		}
	})
}
