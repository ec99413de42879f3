package twilio

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/supabridge/supabridge/bridge/row"
	"github.com/supabridge/supabridge/bridge/supabase"
)

// StoreOptions say how events become rows.
type StoreOptions struct {
	Project Project
	// Messages and Conversations are tables; Sid is the messages' column with the MessageSid, which must be unique, StatusColumn that of their status.
	Messages, Sid, StatusColumn     string
	Conversations, ConversationsKey string
	// Columns is a message's row, Failure what is written of a failed one beside its status.
	Columns, Failure Columns
	// Statuses are the application's words for Twilio's statuses. One without a word leaves the status column alone.
	Statuses map[string]string
	// Lookups are made in their order; a later one may use what an earlier one found.
	Lookups []Lookup
	// Find are the columns of a conversation that must equal, Create those that a new one has besides; without Create none is made. Function, where it is
	// named, is called with Create as its arguments instead of both and answers with the conversation's id.
	Find, Create Columns
	Function     string
}

var (
	// ErrNoRow: a lookup or the search for a conversation found nothing. What is missing may come.
	ErrNoRow = errors.New("no such row")
	// ErrNotYet: a status came before its message was stored.
	ErrNotYet = errors.New("the message is not stored yet")
)

// Store writes events into the application's tables. It is safe for concurrent use.
type Store struct {
	opts  StoreOptions
	words map[string]string
	rest  *writer
}

// NewStore makes a store. It connects to nothing yet.
func NewStore(opts StoreOptions) *Store {
	s := &Store{opts: opts, words: make(map[string]string, len(opts.Statuses)), rest: newWriter(opts.Project)}
	for status, word := range opts.Statuses {
		s.words[strings.ToLower(status)] = word
	}
	return s
}

// Close gives up idle connections.
func (s *Store) Close() { s.rest.http.CloseIdleConnections() }

// Apply stores an event: a message once, whatever the repetitions, a status where it is news. It gives the row as it is now, nil where nothing changed.
// Errors are *supabase.Error, ErrNoRow and ErrNotYet, wrapped.
func (s *Store) Apply(ctx context.Context, e Event) (json.RawMessage, error) {
	switch e.Kind {
	case Message:
		return s.message(ctx, e)
	case Status:
		return s.status(ctx, e)
	}
	return nil, nil
}

func (s *Store) message(ctx context.Context, e Event) (json.RawMessage, error) {
	values, err := s.values(ctx, e, true)
	if err != nil {
		return nil, err
	}
	record, err := s.opts.Columns.Row(e, values)
	if err != nil {
		return nil, err
	}
	record[s.opts.Sid] = quote(e.Sid)
	stored, err := s.rest.insert(ctx, s.opts.Messages, record, s.opts.Sid)
	if err != nil || stored != nil {
		return stored, err
	}
	// It is there: stored by an attempt whose answer was lost, or by the application.
	rows, err := s.rest.read(ctx, s.opts.Messages, url.Values{"select": {"*"}, quoteName(s.opts.Sid): {"eq." + e.Sid}, "limit": {"1"}})
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	return rows[0], nil
}

// Preview gives the row that a message will be, without storing anything: it has no column that the database fills in. ErrNoRow where its conversation is not there.
func (s *Store) Preview(ctx context.Context, e Event) (json.RawMessage, error) {
	values, err := s.values(ctx, e, false)
	if err != nil {
		return nil, err
	}
	record, err := s.opts.Columns.Row(e, values)
	if err != nil {
		return nil, err
	}
	record[s.opts.Sid] = quote(e.Sid)
	return marshal(record), nil
}

// values makes the lookups and finds the conversation.
func (s *Store) values(ctx context.Context, e Event, create bool) (Values, error) {
	values := Values{}
	if word := s.words[strings.ToLower(cmp.Or(e.Status, "received"))]; word != "" {
		values["status"] = quote(word)
	}
	for _, l := range s.opts.Lookups {
		value, err := s.find(ctx, l.table, l.column, l.where, e, values)
		if err != nil {
			return nil, fmt.Errorf("lookup %s: %w", l.Name, err)
		}
		values[l.Name] = value
	}
	id, err := s.conversation(ctx, e, values, create)
	if err != nil {
		return nil, fmt.Errorf("conversation: %w", err)
	}
	if id != nil {
		values["conversation"] = id
	}
	return values, nil
}

// conversation finds a message's conversation, or makes it.
func (s *Store) conversation(ctx context.Context, e Event, values Values, create bool) (json.RawMessage, error) {
	if s.opts.Function != "" {
		arguments, err := s.opts.Create.Row(e, values)
		if err != nil {
			return nil, err
		}
		return s.rest.call(ctx, s.opts.Function, arguments)
	}
	if len(s.opts.Find) == 0 {
		return nil, nil
	}
	id, err := s.find(ctx, s.opts.Conversations, s.opts.ConversationsKey, s.opts.Find, e, values)
	if !errors.Is(err, ErrNoRow) || len(s.opts.Create) == 0 || !create {
		return id, err
	}
	record, err := slices.Concat(s.opts.Find, s.opts.Create).Row(e, values)
	if err != nil {
		return nil, err
	}
	made, err := s.rest.insert(ctx, s.opts.Conversations, record, "")
	if refusal, ok := supabase.AsError(err); ok && refusal.Code == "23505" { // somebody was quicker
		return s.find(ctx, s.opts.Conversations, s.opts.ConversationsKey, s.opts.Find, e, values)
	}
	if err != nil {
		return nil, err
	}
	r, err := row.Parse(made)
	if err != nil {
		return nil, err
	}
	return r.Get(s.opts.ConversationsKey), nil
}

// find gives one column of the first row, by the key, that has the values.
func (s *Store) find(ctx context.Context, table, want string, where Columns, e Event, values Values) (json.RawMessage, error) {
	query := url.Values{"select": {quoteName(want)}, "limit": {"1"}, "order": {quoteName(want) + ".asc"}}
	for _, c := range where {
		query.Set(quoteName(c.name), "eq."+c.text(e, values))
	}
	rows, err := s.rest.read(ctx, table, query)
	if err != nil {
		return nil, err
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("%s: %w", table, ErrNoRow)
	}
	r, err := row.Parse(rows[0])
	if err != nil {
		return nil, err
	}
	return r.Get(want), nil
}

// status writes a message's status where it is news: the condition is part of the statement, so that of two at once the higher one stays.
func (s *Store) status(ctx context.Context, e Event) (json.RawMessage, error) {
	change := make(map[string]json.RawMessage)
	word := s.words[strings.ToLower(e.Status)]
	if word != "" && s.opts.StatusColumn != "" {
		change[s.opts.StatusColumn] = quote(word)
	}
	if Failed(e.Status) {
		values := Values{}
		if word != "" {
			values["status"] = quote(word)
		}
		failure, err := s.opts.Failure.Row(e, values)
		if err != nil {
			return nil, err
		}
		for name, value := range failure {
			change[name] = value
		}
	}
	if len(change) == 0 {
		return nil, nil
	}
	query := url.Values{quoteName(s.opts.Sid): {"eq." + e.Sid}}
	if s.opts.StatusColumn != "" {
		query.Set("or", "("+s.above(e.Status)+")")
	}
	rows, err := s.rest.update(ctx, s.opts.Messages, query, change)
	if err != nil {
		return nil, err
	}
	if len(rows) > 0 {
		return rows[0], nil
	}
	rows, err = s.rest.read(ctx, s.opts.Messages, url.Values{"select": {quoteName(s.opts.Sid)}, quoteName(s.opts.Sid): {"eq." + e.Sid}, "limit": {"1"}})
	if err == nil && len(rows) == 0 {
		return nil, ErrNotYet
	}
	return nil, err
}

// above is the condition that a row's status is one that now may follow: none, or not among those that it may not. Of a word that stands for several statuses the
// highest counts, so that nothing goes down.
func (s *Store) above(now string) string {
	column := quoteName(s.opts.StatusColumn)
	kept := make(map[string]bool)
	for status := range ranks {
		if !Supersedes(now, status) {
			kept[status], kept[strings.ToUpper(status)] = true, true
			if word := s.words[status]; word != "" {
				kept[word] = true
			}
		}
	}
	var quoted []string
	for word := range kept {
		quoted = append(quoted, `"`+strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(word)+`"`)
	}
	slices.Sort(quoted)
	return column + ".is.null," + column + ".not.in.(" + strings.Join(quoted, ",") + ")"
}

// quoteName quotes a column's name where PostgREST's grammar needs it.
func quoteName(name string) string {
	plain := func(r rune) bool {
		return r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
	}
	if strings.IndexFunc(name, func(r rune) bool { return !plain(r) }) < 0 {
		return name
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name) + `"`
}
