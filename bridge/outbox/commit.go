package outbox

import (
	"context"
	"fmt"
	"time"

	"go.etcd.io/bbolt"
)

// maxBatch is how many writes share a commit at most, and commitEvery how far commits are apart at
// least: with a fast disk and many writers nearly each would otherwise have a commit of its own,
// which costs two syncs and a page of every tree (a third of the CPU at a thousand a second). Who
// comes alone does not wait: neither after a pause, nor where each comes when the one before was
// answered; that is found out by waiting in vain, and tried again after so many commits.
const (
	maxBatch    = 1024
	commitEvery = 5 * time.Millisecond
	inVain      = 64
)

// write is a change of the file.
type write struct {
	// on the writing goroutine; its error fails the whole commit, so what only concerns it is kept in itself
	apply  func(*bbolt.Tx) error
	settle func(error) // after the commit, before the one who waits hears of it; may be nil
	done   chan error  // of capacity 1
}

// write has a change committed and waits for that.
func (o *Outbox) write(ctx context.Context, w *write) error {
	w.done = make(chan error, 1)
	select {
	case <-o.closing:
		return ErrClosed
	default:
	}
	select {
	case o.writes <- w:
	case <-o.closing:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-w.done:
		return err
	case <-o.written:
		select {
		case err := <-w.done:
			return err
		default:
			return ErrClosed
		}
	case <-ctx.Done():
		return ctx.Err()
	}
}

// writeAll is the writing goroutine: it commits what is waiting together, and while the disk works
// on that the next commit's writes gather.
func (o *Outbox) writeAll() {
	defer close(o.written)
	var batch []*write
	var last time.Time // a commit began
	skip := 0          // commits that are not waited for
	for {
		batch = batch[:0]
		select {
		case w := <-o.writes:
			batch = append(batch, w)
		case <-o.closing:
			select { // what came before Close is still written
			case w := <-o.writes:
				batch = append(batch, w)
			default:
				return
			}
		}
		wait := commitEvery - time.Since(last)
		gather := wait > 0 && skip == 0
		if gather {
			o.gather(wait)
		}
		for len(batch) < maxBatch && len(o.writes) > 0 {
			batch = append(batch, <-o.writes)
		}
		switch {
		case len(batch) > 1:
			skip = 0
		case gather:
			skip = inVain
		case skip > 0:
			skip--
		}
		last = time.Now()
		o.commit(batch)
	}
}

// gather lets writes come for a while. Close ends it.
func (o *Outbox) gather(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-o.closing:
	}
}

func (o *Outbox) commit(batch []*write) {
	seen := o.seen
	err := o.opts.commit(o.db, func(tx *bbolt.Tx) error {
		for _, w := range batch {
			if err := w.apply(tx); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		err = fmt.Errorf("%w: %s: %w", ErrDisk, o.opts.Path, err)
		o.seen = seen
	}
	for _, w := range batch {
		if w.settle != nil {
			w.settle(err)
		}
		w.done <- err
	}
}

// addition is an Add on its way.
type addition struct {
	dedupe string
	now    time.Time
	items  []Item
	size   int64
	known  bool // the dedupe key was there
	full   bool
}

// add puts entries into a commit. The bytes are counted before the commit is made, since those
// after it in the same commit count on them.
func (o *Outbox) add(tx *bbolt.Tx, a *addition) error {
	records := make([][]byte, len(a.items))
	var size int64
	for i, item := range a.items {
		record, err := encode(item)
		if err != nil {
			return err
		}
		records[i] = record
		size += int64(len(record))
	}
	seen := tx.Bucket(seenBucket)
	if a.dedupe != "" {
		if at := seen.Get([]byte(a.dedupe)); at != nil && a.now.Sub(timeOf(at)) < o.opts.DedupeFor {
			a.known = true
			return nil
		}
	}
	o.mu.Lock()
	a.full = o.taken+size > o.opts.MaxBytes
	if !a.full {
		o.taken += size
		a.size = size
	}
	o.mu.Unlock()
	if a.full {
		return nil
	}
	queue := tx.Bucket(queueBucket)
	for i := range a.items {
		id, err := queue.NextSequence()
		if err != nil {
			return err
		}
		a.items[i].ID = id
		if err := queue.Put(number(id), records[i]); err != nil {
			return err
		}
	}
	if a.dedupe == "" {
		return nil
	}
	return o.remember(tx, a.dedupe, a.now)
}

// settleAdded makes what was committed known, or takes the count back.
func (o *Outbox) settleAdded(a *addition, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err != nil {
		o.taken -= a.size
		return
	}
	if a.known || a.full {
		return
	}
	for _, item := range a.items {
		o.fresh = append(o.fresh, queuedOf(item))
	}
	o.stats.Waiting += len(a.items)
	o.signal()
}

// signal has Run look at fresh and back.
func (o *Outbox) signal() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// stamp is a dedupe key's place in seen_at.
func stamp(at time.Time, key string) []byte { return append(number(uint64(at.UnixNano())), key...) }

func timeOf(stamp []byte) time.Time {
	var n uint64
	for _, b := range stamp[:min(8, len(stamp))] {
		n = n<<8 | uint64(b)
	}
	return time.Unix(0, int64(n))
}

// remember notes a dedupe key, and forgets the oldest beyond the bounds: a few with each, so that
// no commit is long.
func (o *Outbox) remember(tx *bbolt.Tx, key string, now time.Time) error {
	seen, byTime := tx.Bucket(seenBucket), tx.Bucket(seenAtBucket)
	if before := seen.Get([]byte(key)); before != nil {
		if err := byTime.Delete(stamp(timeOf(before), key)); err != nil {
			return err
		}
		o.seen--
	}
	if err := seen.Put([]byte(key), number(uint64(now.UnixNano()))); err != nil {
		return err
	}
	if err := byTime.Put(stamp(now, key), nil); err != nil {
		return err
	}
	o.seen++
	for range 4 {
		oldest, _ := byTime.Cursor().First()
		if oldest == nil || o.seen <= maxSeen && now.Sub(timeOf(oldest)) < o.opts.DedupeFor {
			return nil
		}
		gone := append([]byte{}, oldest...)
		if err := byTime.Delete(gone); err != nil {
			return err
		}
		if err := seen.Delete(gone[8:]); err != nil {
			return err
		}
		o.seen--
	}
	return nil
}
