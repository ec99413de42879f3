package bridge

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/supabridge/supabridge/bridge/row"
	"github.com/supabridge/supabridge/bridge/supabase"
	"github.com/supabridge/supabridge/bridge/vocabulary"
)

// sincePoint is what a client's since comes to.
type sincePoint struct {
	// from is where a read has to begin; zero where since names nothing that tells.
	from time.Time
	// seen are the messages that the client named with the version it has, by key.
	seen map[string]time.Time
	// sure is set where a time was named, or a message that is in the conversation. Else one of
	// seen has to turn up.
	sure bool
	// lost is set where a message was named by its id alone and is not there: how old it was nobody
	// can say.
	lost bool
	// failed is set where Supabase could not be asked about a message.
	failed bool
}

// missing says what is missing of an answer to since, as far as since itself is the reason. found
// is set where the read went well, or none is needed.
func (p sincePoint) missing(found bool) string {
	switch {
	case p.failed:
		return missingAnswer
	case p.from.IsZero() || p.lost || !found:
		return missingPoint
	}
	return nothingMissing
}

// pointOf gives the point that since names: the oldest of all its times. Of a message that is named
// by its id alone it is the creation, since nobody knows when the client saw it last.
//
// Frontends name what they have: messages of their own that were not stored yet, with an id they
// made up, and messages that were deleted meanwhile. One with a time counts as a time from which a
// read begins, and as nothing that the client knows. One without a time, that isn't in the
// conversation, is passed over beside others.
func (b *Bridge) pointOf(ctx context.Context, conversation string, since []vocabulary.Since) sincePoint {
	p := sincePoint{seen: make(map[string]time.Time)}
	latest := b.router.holds.now().Add(sinceSkew)
	var named []vocabulary.Since // to be looked up
	for _, s := range since {
		switch {
		case s.ID != "" && (s.Alone || s.At.IsZero()):
			named = append(named, s)
		case s.At.IsZero():
		default:
			if s.ID != "" {
				p.seen[s.ID] = s.At
			}
			p.begin(s.At, latest, s.ID == "")
		}
	}
	found, err := b.namedMessages(ctx, conversation, named)
	p.failed = err != nil
	for _, s := range named {
		at, there := found[s.ID]
		switch {
		case there:
			p.begin(at, latest, true)
		case !s.At.IsZero():
			p.begin(s.At, latest, true)
		default:
			p.lost = p.lost || s.Alone
		}
	}
	return p
}

// begin has the read begin no later than a time. One that is ahead of the clock tells nothing.
func (p *sincePoint) begin(at, latest time.Time, sure bool) {
	if at.IsZero() || at.After(latest) {
		return
	}
	p.sure = p.sure || sure
	if p.from.IsZero() || at.Before(p.from) {
		p.from = at
	}
}

// namedMessages gives the time of creation of those messages that are in a conversation, by the id
// as the client wrote it.
func (b *Bridge) namedMessages(
	ctx context.Context, conversation string, named []vocabulary.Since,
) (map[string]time.Time, error) {
	if len(named) == 0 {
		return nil, nil
	}
	t := b.cfg().Tables.Messages
	ids := make([]string, 0, min(len(named), maxAsked))
	for _, s := range named[:min(len(named), maxAsked)] {
		ids = append(ids, s.ID)
	}
	slices.Sort(ids)
	records, err := b.rows.RowsByKey(ctx, t.Name, t.ID, slices.Compact(ids))
	if e, ok := supabase.AsError(err); ok && e.Class == supabase.ClassPermanent {
		return nil, nil // it is about what was named, and will not be answered another time
	}
	if err != nil {
		return nil, err
	}
	born := make(map[string]time.Time, len(records))
	for _, record := range records {
		if r, err := row.Parse(record); err == nil && r.Text(t.Conversation) == conversation {
			for _, id := range ids {
				if strings.EqualFold(id, r.Text(t.ID)) {
					born[id] = b.router.holds.table.Born(r)
				}
			}
		}
	}
	return born, nil
}

// missedRow is a row that was read for a client, ready to be sent.
type missedRow struct {
	key     string
	seen    bool      // the client named it: it is not sent, now or when it comes through the feed
	at      time.Time // of its version
	message message
	row     row.Row // of one that is not seen
	told    outgoing
}

// missedSince reads the messages of a conversation that changed after the oldest of those that a
// client names, in order. One that it names is told as an update, or not at all where it is the
// same; one created before the oldest as an update too. Where it can't read all, or more than a
// client's queue takes at once, it gives the oldest, and says what is missing.
//
// One message is enough where the client has seen all that came before it. That need not be so:
// while Supabase is in trouble newer rows come live before older ones are found by a read, and a
// bridge that is killed between the two does not know of it afterwards. A client that names all it
// has seen of late gets those too, and none twice.
func (b *Bridge) missedSince(
	ctx context.Context, c *client, conversation, tenant string, p sincePoint,
) (missed []missedRow, missing string) {
	ctx, cancel := context.WithTimeout(ctx, b.cfg().Supabase.RequestTimeout)
	defer cancel()
	read := sinceRead{b: b, conversation: conversation, seen: p.seen, budget: int(b.cfg().SocketIO.MaxQueue) / 2}
	if err := read.all(ctx, p.from); err != nil {
		b.log.Warn().Err(err).Str("socket", c.socket.ID()).Msg("what a browser missed could not be read")
		return nil, missingAnswer
	}
	t := b.cfg().Tables.Messages
	style := vocabulary.Style(c.style.Load())
	sure, left := p.sure, read.budget
	for i := range read.rows {
		m := &read.rows[i]
		_, known := p.seen[m.key]
		sure = sure || known
		if m.seen {
			continue
		}
		event := vocabulary.MessageCreated
		if created := b.router.holds.table.Born(m.row); known || !created.IsZero() && created.Before(p.from) {
			event = vocabulary.MessageUpdated
		}
		in := place{idOf(conversation, t.Conversation, m.row), idOf(tenant, t.Tenant, m.row)}
		m.told = rowEvent(b.words(), event, m.row, "message", in)
		for _, u := range b.words().Say(style, m.told) {
			left -= frameSize(u)
		}
		if left < 0 || i == maxSince {
			read.rows, read.cut = read.rows[:i], true
			break
		}
	}
	switch {
	case read.cut:
		missing = missingRows
	case !read.edits:
		missing = missingEdits
	default:
		missing = p.missing(sure)
	}
	return read.rows, missing
}

// frameSize is about how many bytes something said takes on its way.
func frameSize(u vocabulary.Utterance) int {
	size := len(u.Name) + 64
	for _, arg := range u.Args {
		size += len(arg)
	}
	return size
}

// sinceRead reads the messages of a conversation from a time on.
type sinceRead struct {
	b            *Bridge
	conversation string
	seen         map[string]time.Time
	budget       int // bytes of the rows that are not seen

	rows  []missedRow // in order, each once
	cut   bool        // there are more, and rows holds the oldest
	edits bool        // rows that have changed are among them
}

// sinceStream is one of the orders in which rows are read.
type sinceStream struct {
	column, null string // null: the column that must have no value
	rows         []missedRow
	cut          bool
	err          error
}

// lacksColumn reports whether the table has no such column.
func (s *sinceStream) lacksColumn() bool {
	e, ok := supabase.AsError(s.err)
	return ok && e.Code == codeNoColumn
}

// codeNoColumn is SQLSTATE undefined_column.
const codeNoColumn = "42703"

// all reads the rows by the time of change, and beside it, by their creation, those that never had
// one. A column that the table lacks is done without.
func (r *sinceRead) all(ctx context.Context, from time.Time) error {
	t := r.b.cfg().Tables.Messages
	var changed, unchanged *sinceStream
	var both sync.WaitGroup
	if t.Updated != "" {
		changed = &sinceStream{column: t.Updated}
		both.Go(func() { r.read(ctx, changed, from) })
	}
	if t.Created != "" {
		unchanged = &sinceStream{column: t.Created, null: t.Updated}
		both.Go(func() { r.read(ctx, unchanged, from) })
	}
	both.Wait()
	if changed != nil && changed.lacksColumn() {
		changed = nil
		if unchanged != nil {
			unchanged = &sinceStream{column: t.Created}
			r.read(ctx, unchanged, from)
		}
	}
	if unchanged != nil && unchanged.lacksColumn() {
		unchanged = nil
	}
	r.edits = changed != nil
	for _, s := range []*sinceStream{changed, unchanged} {
		if s != nil && s.err != nil {
			return s.err
		}
	}
	r.merge(changed, unchanged)
	return nil
}

// merge puts the rows of all streams together: in order, each once, by its latest version. Of what
// comes after the last row of a stream that was cut nothing is known.
func (r *sinceRead) merge(streams ...*sinceStream) {
	var end time.Time // of what is known, where a stream was cut
	for _, s := range streams {
		if s == nil {
			continue
		}
		r.rows = append(r.rows, s.rows...)
		if s.cut {
			last := time.Time{}
			if len(s.rows) > 0 {
				last = s.rows[len(s.rows)-1].at
			}
			if !r.cut || last.Before(end) {
				end = last
			}
			r.cut = true
		}
	}
	slices.SortStableFunc(r.rows, func(a, b missedRow) int { return a.at.Compare(b.at) })
	latest := make(map[string]time.Time, len(r.rows))
	for _, m := range r.rows {
		latest[m.key] = m.at
	}
	r.rows = slices.DeleteFunc(r.rows, func(m missedRow) bool {
		return m.at.Before(latest[m.key]) || r.cut && m.at.After(end)
	})
}

// read reads the pages of a stream, until there are no more or it is too much. The time is
// included, since other rows of one transaction share it. What was read when the time is over
// counts: a project whose max rows is 1 has a page for each row.
func (r *sinceRead) read(ctx context.Context, s *sinceStream, from time.Time) {
	t := r.b.cfg().Tables.Messages
	page := supabase.Page{Table: t.Name, Column: s.column, Key: t.ID, Where: t.Conversation, Equals: r.conversation,
		WhereNull: s.null, From: row.Timestamp(from), Limit: supabase.MaxRows}
	size := 0
	for {
		records, more, err := r.b.rows.Rows(ctx, page)
		if errors.Is(err, supabase.ErrTooLong) && page.Limit > 1 {
			page.Limit = max(1, page.Limit/4)
			continue
		}
		if err != nil {
			if s.cut = ctx.Err() != nil && len(s.rows) > 0 || errors.Is(err, supabase.ErrTooLong); !s.cut {
				s.err = err
			}
			return
		}
		for _, record := range records {
			one, err := row.Parse(record)
			if err != nil {
				s.err = err
				return
			}
			m := r.missed(one)
			if !m.seen {
				size += len(record)
			}
			if s.cut = len(s.rows) == maxSince || size > r.budget; s.cut {
				return
			}
			s.rows = append(s.rows, m)
			page.AfterValue, page.AfterKey = one.Text(s.column), one.Text(t.ID)
		}
		if !more {
			return
		}
	}
}

// missed is a row as it was read. Of one that the client has there is nothing to keep but which it
// is.
func (r *sinceRead) missed(one row.Row) missedRow {
	key, at := r.b.router.holds.table.State(one)
	t := r.b.cfg().Tables.Messages
	m := missedRow{key: key, at: at, message: message{r.conversation, one.Text(t.Status), one.Text(t.Tenant)}}
	before, known := r.seen[key]
	if m.seen = known && at.Equal(before); !m.seen {
		m.row = one
	}
	return m
}
