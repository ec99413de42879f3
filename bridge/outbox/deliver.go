package outbox

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"go.etcd.io/bbolt"
)

// awayAfter is how many lanes must fail, with no success between, before a target counts as away.
// Then one delivery at a time is tried. One lane alone proves nothing: its own request may be what
// the target fails at.
const awayAfter = 3

// Bounds of what is logged of entries that fail: the first few lines, then one in a while.
const (
	failingFirst = 5
	failingEvery = 10 * time.Second
)

// purgeEvery is how often dead letters are looked over for their age.
const purgeEvery = time.Hour

type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// Permanent marks an error that trying again can't help.
func Permanent(err error) error { return permanent{err} }

type unavailable struct {
	error
	after time.Duration
}

func (u unavailable) Unwrap() error { return u.error }

// Unavailable marks an error that every delivery to this target would meet now. after is how long
// it asked to be left alone, 0 where it did not say.
func Unavailable(err error, after time.Duration) error { return unavailable{err, after} }

// laneName names a lane of a target.
type laneName struct{ target, lane string }

// lane is one order of delivery. It is running, or in its target's ready list, or delayed, and
// exists while something waits in it.
type lane struct {
	name    laneName
	waiting []queued
	fails   int
	began   time.Time // of the delivery under way
	away    bool      // its last failure was the target's
	due     time.Time
	index   int // in delayed
}

// delayed are the lanes that wait for their time, the earliest first.
type delayed []*lane

func (d delayed) Len() int           { return len(d) }
func (d delayed) Less(i, j int) bool { return d[i].due.Before(d[j].due) }
func (d delayed) Swap(i, j int)      { d[i], d[j] = d[j], d[i]; d[i].index, d[j].index = i, j }
func (d *delayed) Push(x any)        { l := x.(*lane); l.index = len(*d); *d = append(*d, l) }
func (d *delayed) Pop() any {
	last := (*d)[len(*d)-1]
	(*d)[len(*d)-1] = nil
	*d = (*d)[:len(*d)-1]
	return last
}

// destination is what is known of a target.
type destination struct {
	deliver Deliver
	ready   []*lane
	running int
	failing map[laneName]bool // lanes that failed since the last success, at most awayAfter of them
	since   time.Time         // when it came to count as away
	fails   int               // of deliveries that began after that
	due     time.Time
	asked   time.Time // until then the target itself asked to be left alone
	tried   time.Time // when the last delivery began
}

func (d *destination) away() bool { return len(d.failing) >= awayAfter }

func (d *destination) limit(workers int) int {
	if d.away() {
		return 1
	}
	return workers
}

// fresh makes a new lane the next to be tried. While the target is away it is also tried soon: the
// lanes that failed before may fail by their own requests, and others must not wait for them.
func (d *destination) fresh(l *lane, retryMin time.Duration) {
	if !d.away() {
		d.ready = append(d.ready, l)
		return
	}
	d.ready = slices.Insert(d.ready, 0, l)
	if soon := d.tried.Add(retryMin); soon.Before(d.due) {
		d.due = soon
		if d.asked.After(soon) {
			d.due = d.asked
		}
	}
}

// runner is Run's: its goroutine alone uses it.
type runner struct {
	o       *Outbox
	lanes   map[laneName]*lane
	targets map[string]*destination
	delayed delayed
	done    chan outcome
	running int
	timer   *time.Timer
	purge   time.Time
}

type outcome struct {
	lane *lane
	err  error
}

// Run delivers until ctx ends, and returns when the deliveries under way have. What they did not
// finish is delivered the next time. Run a box once.
func (o *Outbox) Run(ctx context.Context) {
	r := &runner{
		o:       o,
		lanes:   make(map[laneName]*lane),
		targets: make(map[string]*destination),
		done:    make(chan outcome),
		timer:   time.NewTimer(0),
	}
	defer r.timer.Stop()
	for name, deliver := range o.opts.Deliver {
		r.targets[name] = &destination{deliver: deliver, failing: make(map[laneName]bool)}
	}
	for {
		select {
		case <-ctx.Done():
			for ; r.running > 0; r.running-- {
				<-r.done
			}
			return
		case <-o.wake:
		case out := <-r.done:
			r.finish(ctx, out)
		case <-r.timer.C:
		}
		r.take()
		now := time.Now()
		if !now.Before(r.purge) {
			r.purge = now.Add(purgeEvery)
			o.expire(ctx, now)
		}
		r.start(ctx, now)
	}
}

// take puts what was added into its lanes.
func (r *runner) take() {
	r.o.mu.Lock()
	fresh, back := r.o.fresh, r.o.back
	r.o.fresh, r.o.back = nil, nil
	r.o.mu.Unlock()
	for _, target := range back {
		if d := r.targets[target]; d != nil {
			d.due = time.Time{}
			r.rouse(target)
		}
	}
	for _, q := range fresh {
		l := r.lanes[q.lane]
		if l == nil {
			l = &lane{name: q.lane, fails: q.attempts}
			r.lanes[q.lane] = l
			if d := r.targets[q.lane.target]; d != nil {
				d.fresh(l, r.o.opts.RetryMin)
			}
		}
		l.waiting = append(l.waiting, q)
	}
}

// start begins what may begin now, and sets the timer for what may not.
func (r *runner) start(ctx context.Context, now time.Time) {
	for len(r.delayed) > 0 && !r.delayed[0].due.After(now) {
		l := heap.Pop(&r.delayed).(*lane)
		d := r.targets[l.name.target]
		d.ready = append(d.ready, l)
	}
	next := r.purge
	if len(r.delayed) > 0 && r.delayed[0].due.Before(next) {
		next = r.delayed[0].due
	}
	for _, d := range r.targets {
		for len(d.ready) > 0 && d.running < d.limit(r.o.opts.Workers) {
			if d.due.After(now) {
				if d.due.Before(next) {
					next = d.due
				}
				break
			}
			l := d.ready[0]
			d.ready[0] = nil
			d.ready = d.ready[1:]
			d.running++
			d.tried, l.began = now, now
			r.running++
			id := l.waiting[0].id
			go func() { r.done <- outcome{l, r.o.attempt(ctx, d.deliver, id)} }()
		}
	}
	r.timer.Reset(max(0, time.Until(next)))
}

// finish takes a delivery's end: on with the lane, or a wait.
func (r *runner) finish(ctx context.Context, out outcome) {
	l := out.lane
	d := r.targets[l.name.target]
	d.running--
	r.running--
	if ctx.Err() != nil {
		return
	}
	var away unavailable
	switch {
	case out.err == nil:
		if d.away() {
			r.o.opts.Log.Info().Str("target", l.name.target).Msg("outbox: the target is back")
			r.rouse(l.name.target)
		}
		clear(d.failing)
		d.fails, d.due, d.asked = 0, time.Time{}, time.Time{}
		l.fails, l.away = 0, false
		l.waiting = l.waiting[1:]
		if len(l.waiting) == 0 {
			delete(r.lanes, l.name)
			return
		}
		d.ready = append(d.ready, l)
		return
	case errors.As(out.err, &away):
		was := d.away()
		if !was {
			d.failing[l.name] = true
		}
		if away.after > 0 {
			d.asked = time.Now().Add(away.after)
		}
		switch {
		case d.away() && !was:
			d.since, d.due = time.Now(), time.Now().Add(max(away.after, r.wait(0)))
			r.o.opts.Log.Warn().Err(out.err).Str("target", l.name.target).
				Msg("outbox: the target is away; what is for it waits")
		case was && l.began.After(d.since): // not one of many that were under way when it went
			d.fails++
			d.due = time.Now().Add(max(away.after, r.wait(d.fails)))
		case d.asked.After(d.due):
			d.due = d.asked
		}
		l.away = true
	default:
		clear(d.failing)
		d.fails, d.due, d.asked, l.away = 0, time.Time{}, time.Time{}, false
	}
	l.due = time.Now().Add(max(away.after, r.wait(l.fails)))
	l.fails++
	heap.Push(&r.delayed, l)
}

// rouse has the lanes of a target tried at once that waited only since it was away.
func (r *runner) rouse(target string) {
	now := time.Now()
	for _, l := range r.delayed {
		if l.name.target == target && l.away {
			l.due = now
		}
	}
	heap.Init(&r.delayed)
}

// wait is how long to wait after so many failures: a random part, at least half, of a bound that
// doubles.
func (r *runner) wait(fails int) time.Duration {
	bound := r.o.opts.RetryMin << min(fails, 20)
	if bound > r.o.opts.RetryMax || bound <= 0 {
		bound = r.o.opts.RetryMax
	}
	return bound/2 + rand.N(bound/2+1)
}

// attempt delivers one entry and notes the result on disk. nil means that the lane goes on to the
// next.
func (o *Outbox) attempt(ctx context.Context, deliver Deliver, id uint64) error {
	item, err := o.read(queueBucket, id)
	if err != nil {
		o.opts.Log.Error().Err(err).Msg("outbox: an entry can't be read; its lane waits")
		return err
	}
	if item.ID == 0 {
		return nil // it was dropped meanwhile
	}
	err = o.call(ctx, deliver, item)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err == nil {
		o.count(func(s *Stats) { s.Delivered++ })
		return o.change(ctx, id, func(Item) *Item { return nil })
	}
	o.count(func(s *Stats) { s.Failed++ })
	reason := err.Error()
	var never permanent
	dead := errors.As(err, &never)
	if old := time.Since(item.At); !dead && old > o.opts.MaxAge {
		dead, reason = true, fmt.Sprintf("tried for %s: %s", old.Round(time.Second), reason)
	}
	reason = reason[:min(len(reason), maxName)]
	if e := o.change(ctx, id, func(item Item) *Item {
		item.Attempts++
		if item.Reason != reason || item.Since.IsZero() {
			item.Since = time.Now()
		}
		item.Reason, item.Dead = reason, dead
		return &item
	}); e != nil {
		return e
	}
	if dead {
		o.trimDead(ctx)
		o.opts.Log.Error().
			Str("reason", reason).
			Str("target", item.Target).
			Uint64("id", id).
			Int("attempts", item.Attempts+1).
			Msg("outbox: a dead letter")
		return nil
	}
	o.failing.Do(func() {
		o.opts.Log.Warn().Str("reason", reason).Str("target", item.Target).Uint64("id", id).
			Int("attempts", item.Attempts+1).
			Dur("waits", time.Since(item.At)).Msg("outbox: a delivery failed and is tried again")
	})
	return err
}

func (o *Outbox) call(ctx context.Context, deliver Deliver, item Item) (err error) {
	ctx, cancel := context.WithTimeout(ctx, o.opts.Timeout)
	defer cancel()
	defer func() {
		if defect := recover(); defect != nil {
			err = Permanent(fmt.Errorf("delivery panicked: %v", defect))
		}
	}()
	return deliver(ctx, item)
}

func (o *Outbox) count(change func(*Stats)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	change(&o.stats)
}

// read gives an entry of a bucket; the zero Item where there is none.
func (o *Outbox) read(bucket []byte, id uint64) (item Item, err error) {
	err = o.db.View(func(tx *bbolt.Tx) error {
		record := tx.Bucket(bucket).Get(number(id))
		if record == nil {
			return nil
		}
		if item, err = decode(number(id), record); err != nil {
			return fmt.Errorf("%w: %s: entry %d: %w", ErrCorrupt, o.opts.Path, id, err)
		}
		return nil
	})
	return item, err
}
