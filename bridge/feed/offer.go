package feed

import (
	"context"
	"encoding/json"
	"errors"
)

// ErrNoTable means that the feed does not follow this table.
var ErrNoTable = errors.New("feed: no such table")

// Offer brings a row as another source has it: one that was just stored, or what a webhook of the
// database tells. It is passed on where it is news, and Realtime's copy is then dropped, by the
// rules for a row that a read found; but a row that is known is changed by a younger version alone,
// since nobody knows at which moment of the stream an offer was true. A Delete (record is the old
// row) is passed on only while Realtime is away, for it carries no version of its own. passed tells
// whether it was. Any goroutine may call it while Run runs; it returns ctx's error where the feed
// does not come to it in time.
func (f *Feed) Offer(
	ctx context.Context,
	table string,
	action Action,
	record json.RawMessage,
) (passed bool, err error) {
	t := f.table(table)
	if t == nil {
		return false, ErrNoTable
	}
	c := Change{Table: table, Action: action, Row: parse(record)}
	err = f.Do(
		ctx,
		func() { passed = !f.blocked(t, c) && f.offer(ctx, t, c) },
	) // what would have to wait Realtime brings as well
	return passed, err
}

func (f *Feed) offer(ctx context.Context, t *tableFeed, c Change) bool {
	news, passed := f.offered(t, c)
	if passed {
		news.Place = c.Place
		f.expect(t, news, byNone)
		f.opts.Sink.Change(ctx, news)
	}
	return passed
}

func (f *Feed) offered(t *tableFeed, c Change) (Change, bool) {
	key, v := c.Row.Text(t.Key), t.version(c.Row)
	if key == "" || !t.primed() {
		return c, false // before the first read ends nothing was told yet: it finds the row
	}
	e := t.merger.entry(key)
	if c.Action == Delete {
		if f.live || e == nil || e.deleted || e.version.at.After(v.at) {
			return c, false
		}
		e.deleted = true
		return Change{Table: c.Table, Action: Delete, Old: c.Row, Found: true}, true
	}
	if e != nil && (e.deleted || !v.at.After(e.version.at)) {
		return c, false
	}
	t.look(c.Row)
	return t.merger.read(c.Row, t.merger.begin())
}
