package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/supabridge/supabridge/bridge/migration"
	"github.com/supabridge/supabridge/phoenix"
)

const applyMigration = `supabridge sql | psql "$DATABASE_URL"`

// errNoFunction: the database lacks the function that was called.
var errNoFunction = errors.New("the function is not installed")

// guard finds out whether anybody but the bridge may hear the fast lane, or broadcast on it.
func (p *patient) guard(ctx context.Context) {
	if p.opts.Database != "" && p.facts == nil {
		return // the database can't be asked, which was said
	}
	on := p.cfg.Supabase.FastLane == "on"
	add := func(level Level, about, fix, format string, args ...any) {
		p.add(Finding{Check: "fast_lane", About: about, Level: level, Text: fmt.Sprintf(format, args...), Fix: fix})
	}
	lane, err := p.askLane(ctx)
	switch {
	case errors.Is(err, errNoFunction) && p.broadcasts():
		add(
			Fail,
			"",
			applyMigration,
			"its triggers are of an older version: they broadcast on a channel whose name everybody knows, and the bridge does not use it",
		)
		return
	case errors.Is(err, errNoFunction):
		if on && p.facts == nil { // else the catalog has said which tables lack the trigger
			add(
				Fail,
				"",
				applyMigration+"\n# or\n"+yaml("supabase.fast_lane", "auto"),
				"supabase.fast_lane is on, and the database has none",
			)
		}
		return
	case err != nil:
		p.add(
			Finding{
				Check: "fast_lane",
				Level: Unknown,
				Text:  "the database can't be asked whether it is guarded: " + err.Error(),
				Look:  "select * from pg_policies where policyname = 'supabridge_service_role_only';",
			},
		)
		return
	}
	if reason := lane.Unguarded(); reason != "" {
		add(Fail, "", applyMigration, "%s: the bridge does not use it, and changes come later", reason)
		return
	}
	p.lane = &lane
	whole := true
	for _, m := range p.mappedTables() {
		if !m.live || slices.Contains(lane.Tables, m.name) {
			continue
		}
		whole = false
		switch {
		case !on:
			add(
				Warn,
				m.name,
				applyMigration,
				"its changes come later than those of other tables: the trigger supabridge_broadcast is missing, disabled or altered",
			)
		case p.facts == nil || p.facts.Tables[m.name].Broadcasts: // else the catalog has said so
			add(
				Fail,
				m.name,
				applyMigration,
				"supabase.fast_lane is on, and the trigger supabridge_broadcast is missing, disabled or altered: the bridge does not use it",
			)
		}
	}
	if whole {
		p.good("fast_lane", "", "it is guarded, and each table has its trigger")
	}
}

// broadcasts reports whether some table has a trigger that broadcasts, as far as that is known.
func (p *patient) broadcasts() bool {
	if p.facts == nil {
		return false
	}
	for _, t := range p.facts.Tables {
		if t.Broadcasts {
			return true
		}
	}
	return false
}

// askLane asks as the bridge does, or the database itself where its address is given.
func (p *patient) askLane(ctx context.Context) (lane migration.Lane, err error) {
	names := []string{}
	for _, m := range p.mappedTables() {
		if m.live {
			names = append(names, m.name)
		}
	}
	var text []byte
	if p.opts.Database != "" {
		call := "select " + quote(p.cfg.Supabase.Schema) + "." + migration.LaneFunction + "($1, $2)"
		text, err = p.query(ctx, call, names)
		if failed := (*pgconn.PgError)(nil); errors.As(err, &failed) && (failed.Code == "42883" || failed.Code == "3F000") {
			err = errNoFunction
		}
	} else {
		text, err = p.call(ctx, migration.LaneFunction, names)
	}
	if err == nil && json.Unmarshal(text, &lane) != nil {
		lane = migration.Lane{} // which says that it can't be read
	}
	return lane, err
}

// joinLane finds out whether the broadcasts of the database would come, where they are counted on.
func (p *patient) joinLane(ctx context.Context, client *phoenix.Client) {
	if p.cfg.Supabase.FastLane != "on" || p.lane == nil {
		return
	}
	channel, err := client.Channel(
		p.lane.Topic,
		phoenix.ChannelOptions{Private: true, Broadcast: phoenix.BroadcastOptions{ReplicationReady: true}, Queue: 16},
	)
	if err == nil {
		err = p.live(ctx, channel)
	}
	if err != nil { // which names the channel, and its name is a secret
		text := "supabase.fast_lane is on, and its channel can't be joined"
		var told *phoenix.Error
		if errors.As(err, &told) {
			text += fmt.Sprintf(": realtime %s: %s (%s)", told.Op, told.Code, told.Class)
		}
		p.add(
			Finding{
				Check: "fast_lane",
				Level: Fail,
				Text:  text,
				Fix:   applyMigration + "\n# or\n" + yaml("supabase.fast_lane", "auto"),
			},
		)
		return
	}
	p.good("fast_lane", "", "its channel can be joined")
}
