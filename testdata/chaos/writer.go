package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/supabridge/supabridge/bridge/standin"
)

// Bounds of what the writer keeps in the tables.
const (
	roomSize  = 250 // rows of a conversation, from which on more are deleted than inserted
	burstSize = 300 // most rows of one burst
	lateShare = 20  // one insert in so many carries an older time, as of a transaction that took long to commit, and one a time ahead
)

// longestTransaction is how much older than its commit a row may be: within the overlap of the
// bridge's reads (see bridgeEnv).
const longestTransaction = feedOverlap - time.Second

// version is one committed state of a row. n counts all states in the order of their commits, and
// is in the row's content: "n=17 …".
type version struct {
	n            int64
	room, before string // the conversation, and the one before where the row moved
	at           time.Time
}

// record is what was committed of one row.
type record struct {
	room    string
	n       int64
	deleted bool
}

// writer commits to the tables and keeps the record of it. The mutex guards what it keeps;
// transactions are made while it is held, so that the record has their order.
type writer struct {
	db     *standin.DB
	rooms  []string
	random *rand.Rand // owned by whoever holds mu
	filler string

	mu       sync.Mutex
	n        int64
	rows     map[string]*record
	alive    []string       // ids, for picking
	size     map[string]int // of each room
	versions []version
	inserts, updates, moves,
	deletes, bursts int
}

func newWriter(p *project, seed uint64) *writer {
	return &writer{
		db:     p.server.DB(),
		rooms:  p.conversations,
		random: rand.New(rand.NewPCG(seed, 2)),
		filler: strings.Repeat("lorem ipsum ", 20),
		rows:   make(map[string]*record),
		size:   make(map[string]int),
	}
}

// run commits about rate transactions a second until ctx ends.
func (w *writer) run(ctx context.Context, rate int) error {
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := w.commit(); err != nil {
				return err
			}
		}
	}
}

// commit makes one transaction: an insert, an update, a delete, a move to another conversation, or
// several of these at once.
func (w *writer) commit() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	operations := 1
	if w.random.IntN(30) == 0 {
		operations = 2 + w.random.IntN(10)
	}
	return w.transact(operations, func(tx *standin.Tx) error {
		pick := w.random.IntN(100)
		switch {
		case len(w.alive) < 20 || pick < 45:
			return w.insert(tx, w.rooms[w.random.IntN(len(w.rooms))])
		case pick < 85:
			return w.update(tx)
		case pick < 88:
			return w.move(tx)
		}
		return w.remove(tx, w.random.IntN(len(w.alive)))
	})
}

// burst inserts up to burstSize rows in one transaction.
func (w *writer) burst(share float64) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.bursts++
	return w.transact(
		1+int(share*burstSize),
		func(tx *standin.Tx) error { return w.insert(tx, w.rooms[w.random.IntN(len(w.rooms))]) },
	)
}

// mark inserts a row in each conversation and gives their ids.
func (w *writer) mark() (ids []string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	err = w.transact(1, func(tx *standin.Tx) error {
		for _, room := range w.rooms {
			if err := w.insert(tx, room); err != nil {
				return err
			}
			ids = append(ids, w.alive[len(w.alive)-1])
		}
		return nil
	})
	return ids, err
}

// transact does one thing several times in one transaction. The writer is of no use after an error.
func (w *writer) transact(times int, do func(tx *standin.Tx) error) error {
	return w.db.Tx(func(tx *standin.Tx) error {
		for range times {
			if err := do(tx); err != nil {
				return fmt.Errorf("write: %w", err)
			}
		}
		return nil
	})
}

// next gives the content of the next version.
func (w *writer) next(room, before string) string {
	w.n++
	w.versions = append(w.versions, version{w.n, room, before, time.Now()})
	return fmt.Sprintf("n=%d %s", w.n, w.filler)
}

func (w *writer) insert(tx *standin.Tx, room string) error {
	for w.size[room] >= roomSize { // make room
		at := w.random.IntN(len(w.alive))
		for w.rows[w.alive[at]].room != room {
			at = (at + 1) % len(w.alive)
		}
		if err := w.remove(tx, at); err != nil {
			return err
		}
	}
	id := fmt.Sprintf("%08x-0000-4000-8000-%012x", w.random.Uint32(), w.n+1)
	row := map[string]any{"id": id, "conversation_id": room, "content": w.next(room, "")}
	switch w.random.IntN(lateShare) {
	case 0: // by a clock that is ahead, in local time, or by mistake
		ahead := []time.Duration{2 * time.Minute, 2 * time.Hour, 73 * 365 * 24 * time.Hour}[w.random.IntN(3)]
		at := time.Now().Add(ahead).UTC().Format(time.RFC3339Nano)
		row["created_at"], row["updated_at"] = at, at
	case 1:
		began := time.Now().Add(-time.Duration(w.random.Int64N(int64(longestTransaction)))).UTC().Format(time.RFC3339Nano)
		row["created_at"], row["updated_at"] = began, began
	}
	if _, err := tx.Insert("messages", row); err != nil {
		return err
	}
	w.inserts++
	w.rows[id] = &record{room: room, n: w.n}
	w.alive = append(w.alive, id)
	w.size[room]++
	return nil
}

func (w *writer) update(tx *standin.Tx) error {
	id := w.alive[w.random.IntN(len(w.alive))]
	r := w.rows[id]
	set := map[string]any{"content": w.next(r.room, "")}
	if w.random.IntN(4) == 0 {
		set["status"] = []string{"SENT", "DELIVERED", "READ"}[w.random.IntN(3)]
	}
	if err := w.set(tx, id, set); err != nil {
		return err
	}
	w.updates++
	r.n = w.n
	return nil
}

func (w *writer) move(tx *standin.Tx) error {
	id := w.alive[w.random.IntN(len(w.alive))]
	r := w.rows[id]
	to := w.rooms[w.random.IntN(len(w.rooms))]
	if to == r.room || w.size[to] >= roomSize {
		return w.update(tx)
	}
	if err := w.set(tx, id, map[string]any{"content": w.next(to, r.room), "conversation_id": to}); err != nil {
		return err
	}
	w.moves++
	w.size[r.room]--
	w.size[to]++
	r.room, r.n = to, w.n
	return nil
}

func (w *writer) set(tx *standin.Tx, id string, columns map[string]any) error {
	n, err := tx.Update("messages", map[string]any{"id": id}, columns)
	if err == nil && n != 1 {
		return fmt.Errorf("update of %s met %d rows", id, n)
	}
	return err
}

// remove deletes the row at a place of alive.
func (w *writer) remove(tx *standin.Tx, at int) error {
	id := w.alive[at]
	n, err := tx.Delete("messages", map[string]any{"id": id})
	if err != nil {
		return err
	}
	if n != 1 {
		return fmt.Errorf("delete of %s met %d rows", id, n)
	}
	w.deletes++
	w.alive[at] = w.alive[len(w.alive)-1]
	w.alive = w.alive[:len(w.alive)-1]
	w.rows[id].deleted = true
	w.size[w.rows[id].room]--
	return nil
}

// database reads what is in the conversations now: the n of each row, by conversation and id.
func (w *writer) database() (map[string]map[string]int64, error) {
	rooms := make(map[string]map[string]int64)
	err := w.db.Tx(func(tx *standin.Tx) error {
		for _, room := range w.rooms {
			rooms[room] = make(map[string]int64)
			rows, err := tx.Select("messages", map[string]any{"conversation_id": room})
			if err != nil {
				return err
			}
			for _, row := range rows {
				var id, content string
				if err := json.Unmarshal(row["id"], &id); err != nil {
					return err
				}
				if err := json.Unmarshal(row["content"], &content); err != nil {
					return err
				}
				if rooms[room][id], err = counterOf(content); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return rooms, err
}

// counterOf reads n out of a row's content.
func counterOf(content string) (int64, error) {
	digits, _, _ := strings.Cut(strings.TrimPrefix(content, "n="), " ")
	return strconv.ParseInt(digits, 10, 64)
}
