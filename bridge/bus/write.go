package bus

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// cutKind is the kind of an entry that tells that the leader dropped some: its body is since when.
const cutKind = "cut"

// Bounds of what is written at once.
const (
	maxBatch      = 200
	maxBatchBytes = 1 << 20 // but for one entry that is larger
)

// Times of the writer.
const (
	firstWait   = 20 * time.Millisecond // after a failure
	longestWait = time.Second
)

// Begin begins a term, in which this node leads: last is the entry before it, up to which the
// listener has been given everything. Terms ascend.
func (b *Bus) Begin(term uint64, last string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.term, b.n, b.after, b.cut = term, 0, last, time.Time{}
	b.drop()
}

// End ends the term. What waits is dropped.
func (b *Bus) End() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.term, b.cut = 0, time.Time{}
	b.drop()
}

// drop drops what waits. The caller holds mu.
func (b *Bus) drop() {
	b.dropped.Add(uint64(len(b.queue)))
	b.queue, b.size = nil, 0
	b.rest()
}

// rest tells those who wait for it that nothing is to be written. The caller holds mu.
func (b *Bus) rest() {
	if len(b.queue) == 0 && !b.writing && b.idle != nil {
		close(b.idle)
		b.idle = nil
	}
}

// Put queues an entry for the others; it never waits. While another node leads it does nothing.
func (b *Bus) Put(kind string, body []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.term == 0:
		return
	case b.size+len(body) > b.opts.MaxQueue:
		if b.cut.IsZero() {
			b.cut = time.Now()
		}
		b.dropped.Add(1)
		b.drop()
		return
	}
	b.queue = append(b.queue, queued{kind, body})
	b.size += len(body)
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// Flush waits until nothing waits to be written any more, or ctx ends.
func (b *Bus) Flush(ctx context.Context) {
	b.mu.Lock()
	if len(b.queue) == 0 && !b.writing {
		b.mu.Unlock()
		return
	}
	if b.idle == nil {
		b.idle = make(chan struct{})
	}
	idle := b.idle
	b.mu.Unlock()
	select {
	case <-idle:
	case <-ctx.Done():
	}
}

// batch is what is written at once.
type batch struct {
	term, first uint64
	after       string
	entries     []queued
}

// take takes what is to be written next; nil where there is nothing.
func (b *Bus) take() *batch {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.queue) == 0 {
		return nil
	}
	w := &batch{term: b.term, first: b.n + 1, after: b.after}
	if !b.cut.IsZero() {
		since, _ := json.Marshal(b.cut) // a time can be marshalled
		w.entries, b.cut = append(w.entries, queued{cutKind, since}), time.Time{}
	}
	size := 0
	for len(b.queue) > 0 && len(w.entries) < maxBatch && (size == 0 || size+len(b.queue[0].body) <= maxBatchBytes) {
		size += len(b.queue[0].body)
		w.entries = append(w.entries, b.queue[0])
		b.queue = b.queue[1:]
	}
	b.size -= size
	b.n += uint64(len(w.entries))
	b.writing = true
	return w
}

// done ends the writing of a batch.
func (b *Bus) done() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.writing = false
	b.rest()
}

// current tells whether the term of a batch goes on.
func (b *Bus) current(w *batch) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.term == w.term
}

// write writes what is queued until ctx ends.
func (b *Bus) write(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.wake:
		}
		for w := b.take(); w != nil; w = b.take() {
			b.deliver(ctx, w)
			b.done()
		}
	}
}

// deliver writes a batch, again and again until it is there, or the term is over.
func (b *Bus) deliver(ctx context.Context, w *batch) {
	for wait := firstWait; ; wait = min(2*wait, longestWait) {
		err := b.add(ctx, w)
		switch {
		case err == nil:
			b.written.Add(uint64(len(w.entries)))
			return
		case redis.HasErrorPrefix(err, deposed), !b.current(w):
			b.dropped.Add(uint64(len(w.entries)))
			return
		}
		b.failures.Add(1)
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// deposed begins the error of a node that writes without the lease.
const deposed = "DEPOSED"

// append adds entries to a stream. KEYS: the lease, the stream. ARGV: the node, the term, about how
// many entries are kept, the number of the first, the entry before the term, then a kind and a body
// each. What is there already, since an answer was lost, is not added again.
var appendEntries = redis.NewScript(`
if redis.call('get', KEYS[1]) ~= ARGV[1] then return redis.error_reply('` + deposed + ` the lease is another\'s') end
local there = 0
for _, entry in ipairs(redis.call('xrevrange', KEYS[2], '+', '-', 'COUNT', 1)) do
  local f = {}
  for i = 1, #entry[2], 2 do f[entry[2][i]] = entry[2][i + 1] end
  if f.node == ARGV[1] and f.term == ARGV[2] then there = tonumber(f.n) end
end
local n = tonumber(ARGV[4])
for i = 6, #ARGV, 2 do
  if n > there then
    redis.call('xadd', KEYS[2], 'MAXLEN', '~', ARGV[3], '*', 'node', ARGV[1], 'term', ARGV[2], 'n', n,
      'after', ARGV[5], 'kind', ARGV[i], 'body', ARGV[i + 1])
  end
  n = n + 1
end
return 1`)

func (b *Bus) add(ctx context.Context, w *batch) error {
	ctx, cancel := context.WithTimeout(ctx, b.opts.Timeout)
	defer cancel()
	args := []any{b.opts.Node, w.term, kept, w.first, w.after}
	for _, q := range w.entries {
		args = append(args, q.kind, q.body)
	}
	if err := appendEntries.Run(ctx, b.client, []string{b.opts.Lease, b.opts.Stream}, args...).Err(); err != nil {
		return fmt.Errorf("bus: write: %w", err)
	}
	return nil
}
