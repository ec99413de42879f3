package outbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
	"golang.org/x/time/rate"
)

// Defaults of Options.
const (
	DefaultMaxBytes  = 256 << 20
	DefaultMaxAge    = 72 * time.Hour
	DefaultKeepDead  = 30 * 24 * time.Hour
	DefaultDedupeFor = time.Hour
	DefaultWorkers   = 16
	DefaultRetryMin  = time.Second
	DefaultRetryMax  = time.Minute
	DefaultTimeout   = 30 * time.Second
)

// Bounds that are not worth a knob.
const (
	maxEntry  = 4 << 20         // bytes of one entry
	maxName   = 1024            // bytes of a lane or dedupe key
	maxSeen   = 1_000_000       // dedupe keys
	lockWait  = 2 * time.Second // for another process to let go of the file
	fileSlack = 64 << 20        // bytes the file may have beyond twice MaxBytes: pages of the tree, and of dedupe keys
)

var (
	// ErrFull means that MaxBytes are taken. Adding works again when something was delivered or
	// dropped.
	ErrFull = errors.New("outbox: full")
	// ErrDisk means that the disk did not take it; its own error is in the chain. Nothing was added.
	ErrDisk = errors.New("outbox: the disk did not take it")
	// ErrCorrupt means that the file is not what was written. Nothing is deleted; the file is to be
	// put aside by hand.
	ErrCorrupt = errors.New("outbox: the file is corrupt")
	// ErrLocked means that another process has the file open.
	ErrLocked = errors.New("outbox: another process has the file open")
	// ErrClosed means that the outbox was closed.
	ErrClosed = errors.New("outbox: closed")
	// ErrTooLarge means that an entry, a lane's name or a dedupe key is too long to be kept.
	ErrTooLarge = errors.New("outbox: too large")
)

// Deliver carries one entry to its target. nil means that it has arrived; an error of Permanent
// that it never can, which makes it a dead letter; any other is tried again, the lane waiting. One
// of Unavailable says that the target as a whole is away. ctx ends with Run or after Timeout.
type Deliver func(ctx context.Context, item Item) error

// Entry is something to deliver.
type Entry struct {
	// Target names the Deliver function. Entries to a target that is not configured wait until it is.
	Target string
	// Lane names what has an order: entries of a target's lane are delivered one after another. At
	// most 1 KiB.
	Lane string
	// Header is for the Deliver function; small.
	Header map[string]string
	// Body is what is to be delivered, together with the rest at most 4 MiB.
	Body []byte
}

// Item is an entry on its way.
type Item struct {
	Entry
	// ID tells the items of a file apart, and their order.
	ID uint64
	// Attempts counts deliveries that failed before this one.
	Attempts int
	// At is when it was added.
	At time.Time
	// Reason is why the last delivery failed, empty before one has.
	Reason string
	// Since is when a delivery first failed for Reason, without another reason or a success since.
	Since time.Time
	// Dead marks one that is kept aside.
	Dead bool
}

// Options of an Outbox. Path is required; zero values mean the defaults.
type Options struct {
	// Path is the file; it is made with mode 0600, its directory must be there.
	Path string
	// Deliver has the functions by target. It may be empty for a box that is only looked at.
	Deliver map[string]Deliver
	// ExistingOnly has Open fail where the file is not there.
	ExistingOnly bool
	// MaxBytes bounds what waits and what is dead together. The file may take somewhat more than twice
	// that. Dead letters take at most half: beyond that the oldest are dropped, so that they never
	// keep new entries out.
	MaxBytes int64
	// MaxAge is how long an entry is tried before it is a dead letter, KeepDead how long dead letters
	// are kept, DedupeFor how long dedupe keys.
	MaxAge, KeepDead, DedupeFor time.Duration
	// Workers is how many deliveries are under way at most, to each target.
	Workers int
	// RetryMin and RetryMax bound the waits between attempts, doubled from one to the other.
	RetryMin, RetryMax time.Duration
	// Timeout bounds one delivery.
	Timeout time.Duration
	// Log is told of dead letters and of targets that go away and come back; never of bodies.
	Log zerolog.Logger

	commit func(db *bbolt.DB, write func(*bbolt.Tx) error) error // in place of db.Update
}

// Outbox is one box. Add, List, Retry, Drop and Stats may be called by any goroutine.
type Outbox struct {
	opts Options
	db   *bbolt.DB

	writes  chan *write   // to the writing goroutine
	closing chan struct{} // closed by Close
	written chan struct{} // closed when that goroutine has ended
	closed  sync.Once
	wake    chan struct{} // of capacity 1: something in fresh or back

	seen int // dedupe keys on disk; the writing goroutine's

	failing  rate.Sometimes // holds the log lines of deliveries that fail
	trimming sync.Mutex     // held while dead letters are dropped to make room

	mu    sync.Mutex // guards what follows
	stats Stats
	fresh []queued // added and not yet known to Run
	back  []string // targets that Rouse named, not yet known to Run; each once
	taken int64    // bytes on disk and about to be
	dead  int64    // of them, those of dead letters
}

// Stats is how full a box is.
type Stats struct {
	Waiting, Dead int
	Bytes         int64
	// Delivered and Failed count deliveries since Open, Expired the dead letters that were dropped for
	// their age, or because they took more than half of MaxBytes.
	Delivered, Failed, Expired uint64
}

// queued is what is kept in memory of an entry that waits.
type queued struct {
	id       uint64
	lane     laneName
	at       time.Time
	attempts int
}

// Open opens the file, or makes it, and reads it through. It fails with ErrLocked while another
// process has it, and with ErrCorrupt where anything in it is not as it was written.
func Open(opts Options) (*Outbox, error) {
	for _, d := range []struct {
		value *time.Duration
		def   time.Duration
	}{
		{&opts.MaxAge, DefaultMaxAge}, {&opts.KeepDead, DefaultKeepDead}, {&opts.DedupeFor, DefaultDedupeFor},
		{&opts.RetryMin, DefaultRetryMin}, {&opts.RetryMax, DefaultRetryMax}, {&opts.Timeout, DefaultTimeout},
	} {
		if *d.value == 0 {
			*d.value = d.def
		}
	}
	if opts.MaxBytes == 0 {
		opts.MaxBytes = DefaultMaxBytes
	}
	if opts.Workers == 0 {
		opts.Workers = DefaultWorkers
	}
	if opts.commit == nil {
		opts.commit = (*bbolt.DB).Update
	}
	if opts.ExistingOnly {
		if _, err := os.Stat(opts.Path); err != nil {
			return nil, fmt.Errorf("outbox: %w", err)
		}
	}
	o := &Outbox{
		opts:    opts,
		failing: rate.Sometimes{First: failingFirst, Interval: failingEvery},
		writes:  make(chan *write, maxBatch),
		closing: make(chan struct{}),
		written: make(chan struct{}),
		wake:    make(chan struct{}, 1),
	}
	if err := o.open(); err != nil {
		if o.db != nil {
			_ = o.db.Close()
		}
		return nil, err
	}
	go o.writeAll()
	return o, nil
}

// open reads the file. bbolt trusts its pages and panics, or faults, on those that were changed;
// both become ErrCorrupt here.
func (o *Outbox) open() (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if defect := recover(); defect != nil {
			err = fmt.Errorf("%w: %s: %v", ErrCorrupt, o.opts.Path, defect)
		}
	}()
	o.db, err = bbolt.Open(
		o.opts.Path,
		0o600,
		&bbolt.Options{Timeout: lockWait, FreelistType: bbolt.FreelistMapType, MaxSize: int(2*o.opts.MaxBytes + fileSlack)},
	)
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return fmt.Errorf("%w: %s", ErrLocked, o.opts.Path)
	case errors.Is(err, bolterrors.ErrInvalid),
		errors.Is(err, bolterrors.ErrChecksum),
		errors.Is(err, bolterrors.ErrVersionMismatch),
		errors.Is(err, bolterrors.ErrInvalidMapping):
		return fmt.Errorf("%w: %s: %w", ErrCorrupt, o.opts.Path, err)
	case err != nil:
		if info, e := os.Stat(o.opts.Path); e == nil && info.Size() > 0 && !errors.Is(err, os.ErrPermission) {
			return fmt.Errorf("%w: %s: %w", ErrCorrupt, o.opts.Path, err)
		}
		return fmt.Errorf("outbox: open %s: %w", o.opts.Path, err)
	}
	if err := o.prepare(); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrDisk, o.opts.Path, err)
	}
	return o.db.View(func(tx *bbolt.Tx) error {
		info, err := os.Stat(o.opts.Path)
		if err != nil {
			return fmt.Errorf("outbox: %s: %w", o.opts.Path, err)
		}
		if tx.Size() > info.Size() {
			return fmt.Errorf("%w: %s: it has %d bytes and should have %d", ErrCorrupt, o.opts.Path, info.Size(), tx.Size())
		}
		return o.load(tx)
	})
}

// prepare makes the buckets of a new file. One that has them is not written to: it has not been
// looked at yet.
func (o *Outbox) prepare() error {
	whole := false
	if err := o.db.View(func(tx *bbolt.Tx) error { whole = tx.Bucket(seenAtBucket) != nil; return nil }); err != nil ||
		whole {
		return err
	}
	return o.db.Update(makeBuckets)
}

// load counts what is in the file and queues what waits, in its order.
func (o *Outbox) load(tx *bbolt.Tx) error {
	for _, bucket := range []struct {
		name []byte
		dead bool
	}{{queueBucket, false}, {deadBucket, true}} {
		err := tx.Bucket(bucket.name).ForEach(func(k, v []byte) error {
			item, err := decode(k, v)
			if err != nil {
				return fmt.Errorf("%w: %s: entry %x: %w", ErrCorrupt, o.opts.Path, k, err)
			}
			o.taken += int64(len(v))
			if bucket.dead {
				o.dead += int64(len(v))
				o.stats.Dead++
				return nil
			}
			o.stats.Waiting++
			o.fresh = append(o.fresh, queuedOf(item))
			return nil
		})
		if err != nil {
			return err
		}
	}
	return tx.Bucket(seenAtBucket).ForEach(func([]byte, []byte) error { o.seen++; return nil })
}

func queuedOf(item Item) queued {
	return queued{id: item.ID, lane: laneName{item.Target, item.Lane}, at: item.At, attempts: item.Attempts}
}

// Add puts entries on disk, all or none. When it returns without an error they are there, whatever
// happens next. dedupe names what they come from: where the same name was added within DedupeFor,
// nothing is added and added is false; empty names nothing. Errors are ErrFull, ErrDisk,
// ErrTooLarge and ErrClosed, and that of ctx: then the entries may or may not have been added, and
// adding them again under the same name is right.
func (o *Outbox) Add(ctx context.Context, dedupe string, entries ...Entry) (added bool, err error) {
	now := time.Now()
	a := &addition{dedupe: dedupe, now: now}
	for _, e := range entries {
		size := len(e.Body) + len(e.Target) + len(e.Lane)
		for name, value := range e.Header {
			size += len(name) + len(value)
		}
		if size > maxEntry || len(e.Lane) > maxName || len(e.Target) > maxName {
			return false, ErrTooLarge
		}
		a.items = append(a.items, Item{Entry: e, At: now})
	}
	if len(dedupe) > maxName {
		return false, ErrTooLarge
	}
	if err := o.write(ctx, &write{apply: func(tx *bbolt.Tx) error { return o.add(tx, a) },
		settle: func(err error) { o.settleAdded(a, err) }}); err != nil {
		return false, err
	}
	if a.full {
		return false, ErrFull
	}
	return !a.known, nil
}

// Rouse has a target that was away tried at once, by one who has learnt otherwise that it is back.
// Elsewhere it does nothing.
func (o *Outbox) Rouse(target string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !slices.Contains(o.back, target) {
		o.back = append(o.back, target)
	}
	o.signal()
}

// Stats tells how full the box is.
func (o *Outbox) Stats() Stats {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.stats
	s.Bytes = o.taken
	return s
}

// maxLooked bounds the entries that Oldest looks at.
const maxLooked = 256

// Oldest gives the entry that waits longest; ok is false where none waits. A dead letter that was
// put back keeps its place in the file, so a few entries from the front are looked at.
func (o *Outbox) Oldest() (oldest Item, ok bool) {
	items, err := o.List(false, 0, maxLooked)
	if err != nil || len(items) == 0 {
		return Item{}, false
	}
	return slices.MinFunc(items, func(a, b Item) int { return a.At.Compare(b.At) }), true
}

// Close ends the writing goroutine, after what was given to it, and closes the file. Run must have
// returned.
func (o *Outbox) Close() error {
	var err error
	o.closed.Do(func() {
		close(o.closing)
		<-o.written
		if err = o.db.Close(); err != nil {
			err = fmt.Errorf("outbox: close %s: %w", o.opts.Path, err)
		}
	})
	return err
}
