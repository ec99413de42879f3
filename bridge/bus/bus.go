// Package bus is a stream in Redis by which the node that leads tells all others something in an
// order, without loss as long as they are not away for too long.
//
//	b := bus.New(client, bus.Options{Stream: stream, Lease: lease, Node: node})
//	go b.Listen(ctx, listener)      // at every node
//	b.Begin(term, last)             // at the one that leads
//	b.Put("change", body)
//
// Whoever holds the lease leads: a key of Redis that holds the node's id. Redis looks at it with
// each entry that is added, so that one whose lease has ended adds nothing any more, however late
// it notices. Entries are numbered within a term, the time that one node leads, and the first of a
// term names the entry before it: who listens knows when something is missing, because it was away
// for longer than Redis keeps entries, or since Redis has lost them.
//
// Begin, Put, End and Flush may be called by any goroutine; Listen runs one beside the caller's,
// which writes.
package bus

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// Defaults of Options.
const (
	DefaultMaxQueue = 16 << 20
	DefaultTimeout  = 3 * time.Second
)

// kept is about how many entries Redis keeps.
const kept = 10_000

// Options of a Bus. Stream, Lease and Node are required; zero values of the others mean the
// defaults.
type Options struct {
	// Stream is the key of the stream, Lease that of the lease. In a Redis Cluster both must be of one
	// slot.
	Stream, Lease string
	// Node is this node's id.
	Node string
	// MaxQueue bounds the bytes that wait to be written. What finds no place is dropped, with all that
	// waits, and the others are told that something is missing.
	MaxQueue int
	// Timeout is how long Redis may take for an answer.
	Timeout time.Duration
}

// Listener is told what others put on the bus, in order. Its methods are called by one goroutine;
// while one takes its time nothing more is read.
type Listener interface {
	// Entry is one entry.
	Entry(Entry)
	// Missing tells that entries before the next are missing, since about an instant.
	Missing(since time.Time)
	// Heard tells that the stream can be read (nil), or can't, and why. It is called when that
	// changes, and at first.
	Heard(error)
}

// Entry is what one node told all others.
type Entry struct {
	From string
	Term uint64
	Kind string
	Body json.RawMessage
	At   time.Time // when Redis took it, by its clock, to the millisecond
}

// Bus is a node's hold on the stream.
type Bus struct {
	client redis.UniversalClient // immutable, like the next
	opts   Options

	wake chan struct{}          // holds one where there is something to write
	read atomic.Pointer[string] // id of the last entry read; empty before

	written, heard, missing, dropped, failures atomic.Uint64

	mu      sync.Mutex // guards everything below
	term    uint64     // 0 while another leads
	n       uint64     // of the last entry that was taken to be written
	after   string     // the entry before the term's first
	queue   []queued
	size    int           // bytes of queue
	cut     time.Time     // since when something is missing before the queue's first; zero: nothing
	writing bool          // entries are taken and not written yet
	idle    chan struct{} // closed when nothing waits; nil where nobody asks
}

// queued is an entry that waits to be written.
type queued struct {
	kind string
	body []byte
}

// New makes a Bus. It connects to nothing yet.
func New(client redis.UniversalClient, opts Options) *Bus {
	opts.MaxQueue, opts.Timeout = cmp.Or(opts.MaxQueue, DefaultMaxQueue), cmp.Or(opts.Timeout, DefaultTimeout)
	b := &Bus{client: client, opts: opts, wake: make(chan struct{}, 1)}
	none := ""
	b.read.Store(&none)
	return b
}

// Stats says what a Bus has done.
type Stats struct {
	Written, Heard uint64 // entries
	Missing        uint64 // times that entries were found to be missing
	Dropped        uint64 // entries that found no place, or were still waiting when another node took the lead
	Failures       uint64 // attempts to write that came to nothing
	Queued         int    // bytes that wait
}

// Stats returns what was done so far.
func (b *Bus) Stats() Stats {
	b.mu.Lock()
	defer b.mu.Unlock()
	return Stats{b.written.Load(), b.heard.Load(), b.missing.Load(), b.dropped.Load(), b.failures.Load(), b.size}
}

// beginning is the id before that of every entry.
const beginning = "0-0"

// Last gives the id of the stream's last entry, and when Redis took it; the zero time where there
// is none.
func (b *Bus) Last(ctx context.Context) (string, time.Time, error) {
	last, err := b.last(ctx)
	if err != nil || last == nil {
		return beginning, time.Time{}, err
	}
	return last.ID, takenAt(last.ID), nil
}

// takenAt is when Redis took an entry, by its clock.
func takenAt(id string) time.Time {
	ms, _ := split(id)
	return time.UnixMilli(int64(ms))
}

func (b *Bus) last(ctx context.Context) (*redis.XMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, b.opts.Timeout)
	defer cancel()
	list, err := b.client.XRevRangeN(ctx, b.opts.Stream, "+", "-", 1).Result()
	if err != nil {
		return nil, fmt.Errorf("bus: read the end: %w", err)
	}
	if len(list) == 0 {
		return nil, nil
	}
	return &list[0], nil
}

// Past tells whether Listen has come to an entry: all up to it have been given to the listener.
func (b *Bus) Past(id string) bool {
	read := *b.read.Load()
	return read != "" && !before(read, id)
}

// before tells whether an id is that of an earlier entry.
func before(a, b string) bool {
	at, an := split(a)
	bt, bn := split(b)
	return at < bt || at == bt && an < bn
}

// split takes an id of a stream apart: milliseconds since 1970, and a number. What is none is
// before all.
func split(id string) (ms, n uint64) {
	for i := range len(id) {
		if id[i] == '-' {
			ms, _ = strconv.ParseUint(id[:i], 10, 64)
			n, _ = strconv.ParseUint(id[i+1:], 10, 64)
			break
		}
	}
	return ms, n
}
