package outbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"
)

// ErrUnknown means that there is no such entry, or not any more.
var ErrUnknown = errors.New("outbox: no such entry")

// change rewrites an entry, or takes it away where next gives nil; Dead says which bucket it is in
// then. It does nothing where the entry is gone.
func (o *Outbox) change(ctx context.Context, id uint64, next func(Item) *Item) error {
	_, err := o.changeAll(ctx, []uint64{id}, next)
	return err
}

// changeAll does so with several in one commit and tells how many there were.
func (o *Outbox) changeAll(ctx context.Context, ids []uint64, next func(Item) *Item) (int, error) {
	var found int
	var waiting, dead int
	var bytes, deadBytes int64
	var fresh []queued
	w := &write{
		apply: func(tx *bbolt.Tx) error {
			for _, id := range ids {
				key := number(id)
				from := queueBucket
				record := tx.Bucket(from).Get(key)
				if record == nil {
					from = deadBucket
					if record = tx.Bucket(from).Get(key); record == nil {
						continue
					}
				}
				before, err := decode(key, record)
				if err != nil {
					return fmt.Errorf("%w: entry %d: %w", ErrCorrupt, id, err)
				}
				found++
				bytes -= int64(len(record))
				if before.Dead {
					dead--
					deadBytes -= int64(len(record))
				} else {
					waiting--
				}
				after := next(before)
				if after == nil {
					if err := tx.Bucket(from).Delete(key); err != nil {
						return err
					}
					continue
				}
				to := queueBucket
				if after.Dead {
					to = deadBucket
					dead++
				} else {
					waiting++
				}
				if after.Dead != before.Dead {
					if err := tx.Bucket(from).Delete(key); err != nil {
						return err
					}
					if before.Dead {
						fresh = append(fresh, queuedOf(*after))
					}
				}
				if record, err = encode(*after); err != nil {
					return err
				}
				if err := tx.Bucket(to).Put(key, record); err != nil {
					return err
				}
				bytes += int64(len(record))
				if after.Dead {
					deadBytes += int64(len(record))
				}
			}
			return nil
		},
		settle: func(err error) {
			if err != nil {
				return
			}
			o.mu.Lock()
			defer o.mu.Unlock()
			o.taken += bytes
			o.dead += deadBytes
			o.stats.Waiting += waiting
			o.stats.Dead += dead
			if len(fresh) > 0 {
				o.fresh = append(o.fresh, fresh...)
				o.signal()
			}
		},
	}
	err := o.write(ctx, w)
	if err != nil {
		return 0, err
	}
	return found, nil
}

// maxListed bounds what List gives.
const maxListed = 10_000

// List gives the entries that wait (dead false) or the dead letters, the oldest first, from an id
// on; at most limit, or 10,000.
func (o *Outbox) List(dead bool, from uint64, limit int) ([]Item, error) {
	if limit <= 0 || limit > maxListed {
		limit = maxListed
	}
	bucket := queueBucket
	if dead {
		bucket = deadBucket
	}
	var items []Item
	err := o.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucket).Cursor()
		for k, v := c.Seek(number(from)); k != nil && len(items) < limit; k, v = c.Next() {
			item, err := decode(k, v)
			if err != nil {
				return fmt.Errorf("%w: %s: entry %x: %w", ErrCorrupt, o.opts.Path, k, err)
			}
			items = append(items, item)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("outbox: list: %w", err)
	}
	return items, nil
}

// Retry puts a dead letter back at the end of its lane, as if it were new. ErrUnknown where there
// is none of that id.
func (o *Outbox) Retry(ctx context.Context, id uint64) error {
	item, err := o.read(deadBucket, id)
	if err != nil {
		return err
	}
	if item.ID == 0 {
		return fmt.Errorf("%w: dead letter %d", ErrUnknown, id)
	}
	return o.change(ctx, id, func(item Item) *Item {
		item.Dead, item.Attempts, item.Reason, item.Since, item.At = false, 0, "", time.Time{}, time.Now()
		return &item
	})
}

// Drop takes an entry away for good, dead or waiting. One that is being delivered just then may
// still arrive.
func (o *Outbox) Drop(ctx context.Context, id uint64) error {
	found, err := o.changeAll(ctx, []uint64{id}, func(Item) *Item { return nil })
	if err == nil && found == 0 {
		return fmt.Errorf("%w: %d", ErrUnknown, id)
	}
	return err
}

// expire drops the dead letters that were kept for KeepDead.
func (o *Outbox) expire(ctx context.Context, now time.Time) {
	items, err := o.List(true, 0, maxListed)
	var old []uint64
	for _, item := range items {
		if now.Sub(item.At) > o.opts.KeepDead {
			old = append(old, item.ID)
		}
	}
	if err == nil && len(old) > 0 {
		_, err = o.changeAll(ctx, old, func(Item) *Item { return nil })
	}
	switch {
	case err != nil && ctx.Err() == nil:
		o.opts.Log.Error().Err(err).Msg("outbox: old dead letters could not be dropped")
	case len(old) > 0:
		o.count(func(s *Stats) { s.Expired += uint64(len(old)) })
		o.opts.Log.Warn().
			Int("count", len(old)).
			Dur("kept", o.opts.KeepDead).
			Msg("outbox: dead letters were dropped for their age")
	}
}

// trimDead drops the oldest dead letters where they take more than half of MaxBytes; one always
// stays.
func (o *Outbox) trimDead(ctx context.Context) {
	o.trimming.Lock()
	defer o.trimming.Unlock()
	dropped := 0
	for o.tooManyDead() && ctx.Err() == nil {
		items, err := o.List(true, 0, trimAtOnce)
		if err == nil && len(items) < 2 {
			break
		}
		var ids []uint64
		for _, item := range items[:len(items)/2] {
			ids = append(ids, item.ID)
		}
		var n int
		if err == nil {
			n, err = o.changeAll(ctx, ids, func(Item) *Item { return nil })
		}
		if err != nil {
			o.opts.Log.Error().Err(err).Msg("outbox: dead letters could not be dropped to make room")
			return
		}
		dropped += n
	}
	if dropped > 0 {
		o.count(func(s *Stats) { s.Expired += uint64(dropped) })
		o.opts.Log.Warn().
			Int("count", dropped).
			Msg("outbox: the oldest dead letters were dropped: they took more than half of the outbox")
	}
}

// trimAtOnce is how many dead letters are looked at in one turn; the older half of them is dropped.
const trimAtOnce = 64

func (o *Outbox) tooManyDead() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.dead > o.opts.MaxBytes/2
}
