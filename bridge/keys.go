package bridge

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/supabridge/supabridge/bridge/migration"
	"github.com/supabridge/supabridge/bridge/supabase"
)

// What the bridge remembers of a row, and whom it tells of a change, goes by tables.*.id. Where
// that is not unique, as seq is not in a table whose primary key is (conversation_id, seq), rows of
// different conversations are taken for one another, and tenants receive each other's rows. So the
// bridge asks, when it starts and when its configuration is reloaded, whether the database holds
// each to be unique, and stops where it does not.
//
// The catalog tells, where the function of the migration is there to ask it; else PostgREST's
// description, which knows primary keys alone. Where neither answers the bridge goes on and says
// so. It stops then at the first evidence: two rows with the same key in one answer.

// keyWait bounds how long a start waits for that answer. One that comes later counts as well.
const keyWait = time.Second

// How long after a failure it is asked again.
const (
	keyRetryMin = 5 * time.Second
	keyRetryMax = 5 * time.Minute
)

// keyError is that a key which is configured is not unique.
type keyError struct{ table, column, config, why string }

func (e *keyError) Error() string {
	return fmt.Sprintf(
		"%s: %s, and %s is not unique in the table %s: rows would be taken for one another, and shown to those who may not see them. Name a column that is unique, or make it so: "+
			"create unique index on %s (%s); supabridge sql installs the function by which that can be seen",
		e.config,
		e.why,
		e.column,
		e.table,
		e.table,
		e.column,
	)
}

// keyColumn is a column that is taken for a row's identity.
type keyColumn struct{ config, table, column string }

func (b *Bridge) keyColumns() []keyColumn {
	t := b.cfg().Tables
	keys := []keyColumn{
		{"tables.messages.id", t.Messages.Name, t.Messages.ID},
		{"tables.conversations.id", t.Conversations.Name, t.Conversations.ID},
	}
	if t.Notifications.Name != "" {
		keys = append(keys, keyColumn{"tables.notifications.id", t.Notifications.Name, t.Notifications.ID})
	}
	return keys
}

// keys asks whether keys are unique, and stops the bridge where one is not. Its goroutine is run's.
type keys struct {
	b     *Bridge
	ask   chan struct{} // holds one
	first chan struct{} // closed once the first answer is there, or there is none
	once  sync.Once     // closes it

	refused chan error // holds one: why the bridge stops
}

func newKeys(b *Bridge) *keys {
	return &keys{b: b, ask: make(chan struct{}, 1), first: make(chan struct{}), refused: make(chan error, 1)}
}

// again has it asked anew.
func (k *keys) again() {
	select {
	case k.ask <- struct{}{}:
	default:
	}
}

// refuse stops the bridge.
func (k *keys) refuse(err error) {
	select {
	case k.refused <- err:
	default: // it stops already
	}
}

// evidence takes that two rows with the same key were seen.
func (k *keys) evidence(table string) {
	for _, c := range k.b.keyColumns() {
		if c.table == table {
			k.refuse(&keyError{c.table, c.column, c.config, "two rows have the same value there"})
		}
	}
}

// run asks until ctx ends.
func (k *keys) run(ctx context.Context) {
	wait := keyRetryMin
	for {
		unknown, err := k.b.checkKeys(ctx)
		var later <-chan time.Time
		switch e, failed := supabase.AsError(err); {
		case ctx.Err() != nil:
		case failed && (e.Class == supabase.ClassRetry || e.Class == supabase.ClassSlow):
			later, wait = time.After(max(wait, e.RetryAfter)), min(2*wait, keyRetryMax)
			k.b.log.Warn().Err(err).Msg("whether the configured keys are unique could not be asked; it is asked again")
		case failed:
			k.b.log.Warn().
				Err(err).
				Msg("whether the configured keys are unique can't be asked; supabridge doctor --db says whether they are")
		case err != nil:
			k.refuse(err)
		}
		for _, c := range unknown {
			k.b.log.Warn().Str("table", c.table).Str("column", c.column).Str("key", c.config).
				Msg("whether this column is unique is not known: it is not the primary key; supabridge doctor --db says whether it is")
		}
		k.once.Do(func() { close(k.first) })
		select {
		case <-ctx.Done():
			return
		case <-later:
		case <-k.ask:
			wait = keyRetryMin
		}
	}
}

// await waits for the first answer, for keyWait at most, and gives the error with which the bridge
// has to stop.
func (k *keys) await(ctx context.Context) error {
	timer := time.NewTimer(keyWait)
	defer timer.Stop()
	select {
	case <-k.first:
	case <-timer.C:
	case <-ctx.Done():
	}
	select {
	case err := <-k.refused:
		return err
	default:
		return nil
	}
}

// checkKeys asks whether the keys are unique: an error that is a *keyError where one is not, an
// *supabase.Error where it can't be asked. unknown are those of which the answer does not tell.
func (b *Bridge) checkKeys(ctx context.Context) (unknown []keyColumn, err error) {
	columns := b.keyColumns()
	if facts, err := b.facts(ctx, columns); err == nil {
		for _, c := range columns {
			t, there := facts.Tables[c.table]
			switch {
			case !there:
				unknown = append(unknown, c)
			case !t.Identifies(c.column):
				return nil, &keyError{c.table, c.column, c.config, "no unique index is on " + c.column + " alone"}
			}
		}
		return unknown, nil
	}
	primary, err := b.rows.PrimaryKeys(ctx)
	if err != nil {
		return nil, err
	}
	for _, c := range columns {
		switch key := primary[c.table]; {
		case len(key) > 1 && slices.Contains(key, c.column):
			slices.Sort(key)
			return nil, &keyError{c.table, c.column, c.config, "the primary key is (" + strings.Join(key, ", ") + ")"}
		case !slices.Equal(key, []string{c.column}):
			unknown = append(unknown, c)
		}
	}
	return unknown, nil
}

// facts asks what the catalog says of the tables.
func (b *Bridge) facts(ctx context.Context, columns []keyColumn) (*migration.Facts, error) {
	var names []string
	for _, c := range columns {
		names = append(names, c.table)
	}
	text, err := b.rows.Call(
		ctx,
		migration.FactsFunction,
		map[string]any{"schema": b.cfg().Supabase.Schema, "tables": names},
	)
	if err != nil {
		return nil, err
	}
	facts := new(migration.Facts)
	if err := json.Unmarshal(text, facts); err != nil {
		return nil, fmt.Errorf("bridge: what the catalog says: %w", err)
	}
	return facts, nil
}
