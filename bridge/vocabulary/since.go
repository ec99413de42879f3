package vocabulary

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/supabridge/supabridge/bridge/row"
)

// Since is one thing that a client which joins has seen: a time, a message, or both. The zero Since
// is what could not be understood.
type Since struct {
	// ID is the message's; empty where it names none.
	ID string
	// At is the time; zero where it names none. With an ID it is that of the message's version.
	At time.Time
	// Alone is set where it is a text or a number by itself. With both fields it may be either, the
	// id or the time.
	Alone bool
}

// SinceColumns are the columns that a message as it was received has its key and its times in,
// beside the usual names.
type SinceColumns struct{ ID, Updated, Created string }

// SinceOf finds `since` in the first or second argument: a time, a message's id, a message as it
// was received, with its id and times, or a list of such. A time is a text as JavaScript or
// PostgreSQL write it, or a number of seconds or milliseconds since 1970. null, and a list that is
// empty, are a list of nothing. Members that are none of this are zero.
func SinceOf(args []json.RawMessage, columns SinceColumns) (all []Since, asked bool) {
	for i := range min(2, len(args)) {
		raw, ok := Field(args[i:], "since")
		if !ok {
			continue
		}
		if raw = bytes.TrimSpace(raw); string(raw) == "null" {
			return nil, true
		}
		var list []json.RawMessage
		if raw[0] != '[' || json.Unmarshal(raw, &list) != nil {
			list = []json.RawMessage{raw}
		}
		all = make([]Since, 0, len(list))
		for _, one := range list {
			all = append(all, columns.sinceOf(bytes.TrimSpace(one)))
		}
		return all, true
	}
	return nil, false
}

func (c SinceColumns) sinceOf(raw json.RawMessage) Since {
	if id, ok := scalarID(raw); ok {
		s := Since{At: sinceTime(id.Text), Alone: true}
		if _, err := strconv.ParseFloat(id.Text, 64); s.At.IsZero() || err == nil {
			s.ID = id.Text // a number may be an id as well; a time as text is none
		}
		return s
	}
	s := Since{}
	s.ID, _ = sinceField(raw, c.ID, "id", "messageId", "message_id")
	for _, name := range []string{c.Updated, camel(c.Updated), "updated_at", "updatedAt",
		c.Created, camel(c.Created), "created_at", "createdAt", "timestamp"} {
		if text, ok := sinceField(raw, name); ok {
			if s.At = sinceTime(text); !s.At.IsZero() {
				break
			}
		}
	}
	return s
}

func sinceField(message json.RawMessage, names ...string) (string, bool) {
	for _, name := range names {
		if name == "" {
			continue
		}
		for _, raw := range fieldsAlike([]json.RawMessage{message}, name) {
			if id, ok := scalarID(raw); ok {
				return id.Text, true
			}
		}
	}
	return "", false
}

// Numbers that are taken for times: seconds and milliseconds between 2001 and 2286.
const (
	leastSeconds = 1e9
	mostSeconds  = 1e10
)

// sinceLayouts are the times that PostgreSQL doesn't write in JSON, but JavaScript and people do.
// Without a zone it is UTC.
var sinceLayouts = []string{
	"2006-01-02T15:04Z07:00", "2006-01-02T15:04", "2006-01-02 15:04", time.DateOnly, "2006-01-02T15:04:05Z0700",
	"2006-01-02 15:04:05Z0700", time.RFC1123, time.RFC1123Z, "Mon Jan 02 2006 15:04:05 GMT-0700",
}

// sinceTime reads a time as a client may write it; the zero time where it is none.
func sinceTime(text string) time.Time {
	if n, err := strconv.ParseFloat(text, 64); err == nil {
		switch {
		case n >= leastSeconds && n < mostSeconds:
			return time.UnixMicro(int64(n * 1e6)).UTC()
		case n >= leastSeconds*1e3 && n < mostSeconds*1e3:
			return time.UnixMicro(int64(n * 1e3)).UTC()
		}
		return time.Time{}
	}
	if at := row.Time(text); !at.IsZero() {
		return sane(at)
	}
	text, _, _ = strings.Cut(text, " (") // the zone's name, in JavaScript's texts
	for _, layout := range sinceLayouts {
		if at, err := time.Parse(layout, text); err == nil {
			return sane(at)
		}
	}
	return time.Time{}
}

// sane leaves out times that PostgreSQL can't be asked with.
func sane(at time.Time) time.Time {
	if year := at.UTC().Year(); year < 1 || year > 9999 {
		return time.Time{}
	}
	return at
}
