package twilio

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/supabridge/supabridge/bridge/row"
	"github.com/supabridge/supabridge/bridge/supabase"
)

// StoreOptions say how events become rows.
type StoreOptions struct {
	// Messages and Conversations are tables; Sid is the messages' column with the MessageSid, which
	// must be unique, StatusColumn that of their status.
	Messages, Sid, StatusColumn string
	// Conversation is the messages' column with the conversation's id.
	Conversation                    string
	Conversations, ConversationsKey string
	// Columns is a message's row, Failure what is written of a failed one beside its status.
	Columns, Failure Columns
	// Statuses are the application's words for Twilio's statuses. One without a word leaves the status
	// column alone.
	Statuses map[string]string
	// Lookups are made in their order; a later one may use what an earlier one found.
	Lookups []Lookup
	// Find are the columns of a conversation that must equal, Create those that a new one has besides;
	// without Create none is made. Function, where it is named, is called with Create as its arguments
	// instead of both and answers with the conversation's id.
	Find, Create Columns
	Function     string
}

var (
	// ErrNoRow means that a lookup or the search for a conversation found nothing, or its function
	// gave null. What is missing may come.
	ErrNoRow = errors.New("no such row")
	// ErrUnmapped means that the mapping doesn't say what becomes of an event. It is wrapped with what
	// is missing.
	ErrUnmapped = errors.New("not mapped")
	// ErrNotYet means that a status came before its message was stored.
	ErrNotYet = errors.New("the message is not stored yet")
)

// Store writes events into the application's tables. It is safe for concurrent use.
type Store struct {
	opts  StoreOptions
	words map[string]string
	db    *supabase.Client
}

// NewStore makes a store that writes to a project. It connects to nothing yet.
func NewStore(db *supabase.Client, opts StoreOptions) *Store {
	s := &Store{opts: opts, words: make(map[string]string, len(opts.Statuses)), db: db}
	for status, word := range opts.Statuses {
		s.words[strings.ToLower(status)] = word
	}
	return s
}

// Apply stores an event: a message once, whatever the repetitions, a status where it is news. It
// gives the row as it is now, nil where nothing changed. Errors are *supabase.Error, ErrNoRow,
// ErrNotYet and ErrUnmapped, wrapped.
func (s *Store) Apply(ctx context.Context, e Event) (json.RawMessage, error) {
	if err := s.Unmapped(e); err != nil {
		return nil, err
	}
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
	stored, err := s.db.Insert(ctx, s.opts.Messages, record, s.opts.Sid)
	if err != nil || stored != nil {
		return stored, err
	}
	// It is there: stored by an attempt whose answer was lost, or by the application.
	stored, _, err = s.db.Row(ctx, s.opts.Messages, s.opts.Sid, e.Sid)
	return stored, err
}

// Preview gives the row that a message will be, without storing anything: it has no column that the
// database fills in. ErrNoRow where its conversation is not there.
func (s *Store) Preview(ctx context.Context, e Event) (json.RawMessage, error) {
	if err := s.Unmapped(e); err != nil {
		return nil, err
	}
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

// Unmapped says what the mapping lacks for an event, nil where it lacks nothing. A message of
// Twilio Conversations needs more than one between two addresses: which conversation it is in, who
// wrote it, and on which side. With less the messages of several people would all look like one
// customer's. It is ErrUnmapped, wrapped.
func (s *Store) Unmapped(e Event) error {
	switch {
	case e.Kind == Status && !Known(e.Status):
		return fmt.Errorf("%w: status %q is not one of Twilio's that this version knows", ErrUnmapped, shortened(e.Status))
	case e.Kind == Other && e.Type != "":
		return fmt.Errorf(
			"%w: %s is not stored; of Twilio Conversations, onMessageAdded and onDeliveryUpdated are",
			ErrUnmapped,
			shortened(e.Type),
		)
	case e.Kind == Other:
		return fmt.Errorf("%w: neither a message nor a status of one", ErrUnmapped)
	case e.Kind != Message || e.Type == "":
		return nil
	case e.Params.Get("ConversationSid") == "":
		return fmt.Errorf("%w: %s has no ConversationSid", ErrUnmapped, shortened(e.Type))
	}
	where := "conversation_find"
	if s.opts.Function != "" {
		where = "conversation_create"
	}
	for _, need := range []struct {
		there bool
		what  string
	}{
		{s.conversationBy("ConversationSid"), "which conversation it is in: use {ConversationSid} in " + where},
		{s.opts.Columns.names("Author", "ParticipantSid", "FromNumber", "From"), "who wrote it: use {Author} or {ParticipantSid} in columns"},
		{s.opts.Columns.names("from_customer", "Source"), "whether a customer wrote it: use {from_customer} or {Source} in columns"},
	} {
		if !need.there {
			return fmt.Errorf(
				"%w: a message of a Twilio Conversation, and webhooks.twilio.store doesn't say %s",
				ErrUnmapped,
				need.what,
			)
		}
	}
	return nil
}

// conversationBy reports whether a message's conversation depends on a parameter: its column is
// filled in from it, or from what was found by it. Where the mapping leaves that column out, any
// other may tell the database.
func (s *Store) conversationBy(parameter string) bool {
	columns := s.opts.Columns
	if i := slices.IndexFunc(columns, func(c column) bool { return c.name == s.opts.Conversation }); i >= 0 {
		columns = columns[i : i+1]
	}
	found := s.opts.Find
	if s.opts.Function != "" {
		found = s.opts.Create
	}
	return s.by(columns, parameter, s.opts.Lookups) ||
		columns.names("conversation") && s.by(found, parameter, s.opts.Lookups)
}

// by reports whether templates depend on a parameter, by themselves or by a lookup. A lookup may
// use those before it.
func (s *Store) by(columns Columns, parameter string, lookups []Lookup) bool {
	return columns.names(parameter) || slices.ContainsFunc(lookups, func(l Lookup) bool {
		before := lookups[:slices.IndexFunc(lookups, func(other Lookup) bool { return other.Name == l.Name })]
		return columns.names(l.Name) && s.by(l.where, parameter, before)
	})
}

// shortened bounds what an error quotes of an event.
func shortened(text string) string { return text[:min(len(text), 40)] }

// Writes reports whether an event has anything to be written or to be put aside: not a status that
// the configuration has neither a word nor columns for.
func (s *Store) Writes(e Event) bool {
	if e.Kind != Status || !Known(e.Status) {
		return true
	}
	return s.opts.StatusColumn != "" && s.words[strings.ToLower(e.Status)] != "" ||
		Failed(e.Status) && len(s.opts.Failure) > 0
}

// values makes the lookups and finds the conversation.
func (s *Store) values(ctx context.Context, e Event, create bool) (Values, error) {
	values := Values{}
	begins := "received"
	if !e.FromCustomer() {
		begins = "sent"
	}
	if word := s.words[strings.ToLower(cmp.Or(e.Status, begins))]; word != "" {
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
		return s.called(ctx, arguments)
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
	made, err := s.db.Insert(ctx, s.opts.Conversations, record, "")
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

// called asks the function for the conversation's id.
func (s *Store) called(ctx context.Context, arguments map[string]json.RawMessage) (json.RawMessage, error) {
	id, err := s.db.Call(ctx, s.opts.Function, arguments)
	if err != nil {
		return nil, err
	}
	switch id[0] {
	case 'n':
		return nil, fmt.Errorf("%s: %w", s.opts.Function, ErrNoRow)
	case '{', '[':
		return nil, fmt.Errorf(
			"%s: %w",
			s.opts.Function,
			&supabase.Error{
				Status:  http.StatusOK,
				Message: "the function answers with rows; it is to return one id",
				Class:   supabase.ClassPermanent,
			},
		)
	}
	return id, nil
}

// find gives one column of the first row, by the key, that has the values.
func (s *Store) find(
	ctx context.Context,
	table, want string,
	where Columns,
	e Event,
	values Values,
) (json.RawMessage, error) {
	equal := make(map[string]string, len(where))
	for _, c := range where {
		equal[c.name] = c.text(e, values)
	}
	value, found, err := s.db.First(ctx, table, want, equal)
	if err == nil && !found {
		err = fmt.Errorf("%s: %w", table, ErrNoRow)
	}
	return value, err
}

// status writes a message's status where it is news: the condition is part of the statement, so
// that of two at once the higher one stays.
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
	var above string
	if s.opts.StatusColumn != "" {
		above = supabase.NullOrNotIn(s.opts.StatusColumn, s.notBelow(e.Status))
	}
	rows, err := s.db.Update(ctx, s.opts.Messages, map[string]string{s.opts.Sid: e.Sid}, above, change)
	if err != nil {
		return nil, err
	}
	if len(rows) > 0 {
		return rows[0], nil
	}
	_, found, err := s.db.First(ctx, s.opts.Messages, s.opts.Sid, map[string]string{s.opts.Sid: e.Sid})
	if err == nil && !found {
		err = ErrNotYet
	}
	return nil, err
}

// notBelow are the words that a row's status may have and now may not follow. Of a word that stands
// for several statuses the highest counts, so that nothing goes down.
func (s *Store) notBelow(now string) []string {
	kept := make(map[string]bool)
	for status := range ranks {
		if !Supersedes(now, status) {
			kept[status], kept[strings.ToUpper(status)] = true, true
			if word := s.words[status]; word != "" {
				kept[word] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(kept))
}
