package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// blockFor is how long Redis may hold a read back until there is something to tell.
const blockFor = 500 * time.Millisecond

// maxRead is how many entries are read at once.
const maxRead = 200

// place is how far a node has listened.
type place struct {
	id      string // of the last entry; empty before the first contact
	term, n uint64
	at      time.Time // of the last contact
}

// Listen gives l what others put on the bus from now on, and writes what is put here, until ctx
// ends. Run it once.
func (b *Bus) Listen(ctx context.Context, l Listener) {
	var writer sync.WaitGroup
	defer writer.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	writer.Go(func() { b.write(ctx) })
	p := place{at: time.Now()}
	var well, told bool
	for wait := firstWait; ctx.Err() == nil; {
		err := b.listen(ctx, &p, l)
		if ctx.Err() != nil {
			return
		}
		if is := err == nil; is != well || !told {
			well, told = is, true
			l.Heard(err)
		}
		if err == nil {
			wait = firstWait
			continue
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		wait = min(2*wait, longestWait)
	}
}

// listen reads once, or finds out where the stream ends.
func (b *Bus) listen(ctx context.Context, p *place, l Listener) error {
	if p.id == "" {
		last, err := b.last(ctx)
		if err != nil {
			return err
		}
		p.id, p.at = beginning, time.Now()
		if last != nil {
			p.id, p.term, p.n = last.ID, number(last, "term"), number(last, "n")
		}
		b.read.Store(&p.id)
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, blockFor+b.opts.Timeout)
	defer cancel()
	streams, err := b.client.XRead(ctx, &redis.XReadArgs{Streams: []string{b.opts.Stream, p.id}, Count: maxRead,
		Block: blockFor}).
		Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return fmt.Errorf("bus: read: %w", err)
	}
	for _, s := range streams {
		for i := range s.Messages {
			b.hear(p, &s.Messages[i], l)
		}
	}
	p.at = time.Now()
	return nil
}

// number reads a field; 0 where there is none.
func number(m *redis.XMessage, name string) uint64 {
	text, _ := m.Values[name].(string)
	n, _ := strconv.ParseUint(text, 10, 64) // 0 is no number of an entry
	return n
}

// hear gives one entry to the listener, after having told whether some are missing before.
func (b *Bus) hear(p *place, m *redis.XMessage, l Listener) {
	text := func(name string) string {
		s, _ := m.Values[name].(string)
		return s
	}
	term, n, after := number(m, "term"), number(m, "n"), text("after")
	before := *p
	p.id = m.ID
	defer func() { id := m.ID; b.read.Store(&id) }()
	if n == 0 || term == 0 {
		return // somebody else's
	}
	follows := term == p.term && n == p.n+1 || term != p.term && n == 1 && after == before.id
	p.term, p.n = term, n
	from := text("node")
	if from == b.opts.Node {
		return
	}
	b.heard.Add(1)
	if !follows {
		b.missing.Add(1)
		l.Missing(before.at)
	}
	e := Entry{From: from, Term: term, Kind: text("kind"), Body: json.RawMessage(text("body")), At: takenAt(m.ID)}
	if e.Kind == cutKind {
		since := e.At
		_ = json.Unmarshal(e.Body, &since) // else when it was written
		b.missing.Add(1)
		l.Missing(since)
		return
	}
	l.Entry(e)
}
