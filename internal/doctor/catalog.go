package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/supabridge/supabridge/bridge/migration"
)

type facts = migration.Facts

// catalog finds out what only the catalog tells, as far as there is a way to ask it.
func (p *patient) catalog(ctx context.Context) {
	p.facts = p.ask(ctx)
	for _, m := range p.mappedTables() {
		if p.facts == nil {
			p.withoutCatalog(ctx, m)
		} else if t, ok := p.facts.Tables[m.name]; ok {
			p.withCatalog(ctx, m, t)
		}
	}
}

// ask asks the database, or the function in it; nil where there is neither.
func (p *patient) ask(ctx context.Context) *facts {
	names := []string{}
	for _, m := range p.mappedTables() {
		names = append(names, m.name)
	}
	var text []byte
	var err error
	if p.opts.Database != "" {
		if text, err = p.query(ctx, migration.FactsQuery, names); err != nil {
			p.add(
				Finding{
					Check: "database",
					Level: Fail,
					Text:  err.Error(),
					Fix:   "--db # the address that dashboard, Connect, shows; the session pooler's works from everywhere",
				},
			)
			return nil
		}
	} else if text, err = p.call(ctx, migration.FactsFunction, names); err != nil {
		p.add(Finding{Check: "catalog", Level: Unknown, Text: "the database's catalog can't be asked: " + err.Error(),
			Look: "supabridge doctor --db postgres://…, or install the function it asks: supabridge doctor --sql"})
		return nil
	}
	known := new(facts)
	if err := json.Unmarshal(text, known); err != nil || known.Tables == nil {
		p.add(
			Finding{
				Check: "catalog",
				Level: Unknown,
				Text:  "the database's answer can't be read",
				Look:  "supabridge doctor --sql # and install the function anew",
			},
		)
		return nil
	}
	p.good("catalog", "", "it was asked of %d tables", len(known.Tables))
	return known
}

// query has the database itself answer with one value.
func (p *patient) query(ctx context.Context, sql string, names []string) (text []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, p.opts.Timeout)
	defer cancel()
	options, err := pgx.ParseConfig(p.opts.Database)
	if err != nil {
		return nil, fmt.Errorf("the address of the database can't be read") // its error may quote the password
	}
	options.DefaultQueryExecMode = pgx.QueryExecModeExec // poolers know no prepared statements
	conn, err := pgx.ConnectConfig(ctx, options)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	err = conn.QueryRow(ctx, sql, p.cfg.Supabase.Schema, names).Scan(&text)
	return text, err
}

// call has one of its functions answer, over the REST API.
func (p *patient) call(ctx context.Context, function string, names []string) ([]byte, error) {
	body, err := json.Marshal(map[string]any{"schema": p.cfg.Supabase.Schema, "tables": names})
	if err != nil {
		return nil, err
	}
	key := p.cfg.Supabase.ServiceRoleKey.Reveal()
	got, err := p.http.ask(
		ctx,
		http.MethodPost,
		p.cfg.Supabase.URL+"/rest/v1/rpc/"+function,
		string(body),
		"apikey",
		key,
		"Authorization",
		"Bearer "+key,
		"Content-Type",
		"application/json",
		"Content-Profile",
		p.cfg.Supabase.Schema,
	)
	switch {
	case err != nil:
		return nil, err
	case got.status == http.StatusNotFound:
		return nil, fmt.Errorf("%s: %w", function, errNoFunction)
	case got.status != http.StatusOK:
		return nil, fmt.Errorf("%s", got.message())
	}
	return got.body, nil
}

// withCatalog judges a table by what its catalog says.
func (p *patient) withCatalog(ctx context.Context, m mapped, t migration.TableFacts) {
	if m.guards {
		p.rowSecurity(ctx, m, t.RLS)
	}
	if !m.live {
		return
	}
	p.uniqueKey(m, t)
	switch t.Identity {
	case "f":
		p.good("replica_identity", m.name, "full")
	case "n":
		p.add(
			Finding{
				Check: "replica_identity",
				About: m.name,
				Level: Fail,
				Text:  "it is nothing: updates and deletes of a published table fail",
				Fix:   "alter table " + p.sql(m.name) + " replica identity full;",
			},
		)
	default:
		p.add(
			Finding{
				Check: "replica_identity",
				About: m.name,
				Level: Hint,
				Fix:   "alter table " + p.sql(m.name) + " replica identity full;",
				Text:  "a delete brings the key alone, and changes no former values: the bridge remembers what it can, and asks browsers to resync where it can't",
			},
		)
	}
	if cursor := m.cursor(); cursor != "" {
		p.cursor(m, t, cursor)
	}
	if twilio := p.cfg.Webhooks.Twilio; m.key == "tables.messages" && twilio.AuthTokens != "" &&
		slices.Contains(twilio.Modes, "store") {
		sid := twilio.Store.SidColumn
		if !slices.ContainsFunc(
			t.Indexes,
			func(ix migration.IndexFacts) bool { return ix.Unique && slices.Equal(ix.Columns, []string{sid}) },
		) {
			p.add(
				Finding{
					Check: "unique_sid",
					About: m.name,
					Level: Fail,
					Text:  sid + " is not unique: a webhook that comes twice is stored twice, and none can be stored once",
					Fix: "create unique index concurrently " + quote(
						m.name+"_"+sid+"_key",
					) + " on " + p.sql(
						m.name,
					) + " (" + quote(
						sid,
					) + ");",
				},
			)
		}
	}
	if p.cfg.Supabase.FastLane == "on" && m.key != "tables.tenants" && !t.Broadcasts {
		p.add(
			Finding{
				Check: "fast_lane",
				About: m.name,
				Level: Fail,
				Text:  "supabase.fast_lane is on, and the table has no trigger that broadcasts",
				Fix:   "supabridge sql | psql \"$DATABASE_URL\"\n# or\n" + yaml("supabase.fast_lane", "auto"),
			},
		)
	}
}

// cursor is the column that missed rows are read by.
func (m *mapped) cursor() string {
	if m.updated != "" {
		return m.updated
	}
	return m.created
}

func (p *patient) cursor(m mapped, t migration.TableFacts, column string) {
	if kind := t.Columns[column]; !strings.HasPrefix(kind, "timestamp") || strings.Contains(kind, "without") ||
		kind == "timestamp" {
		p.add(
			Finding{
				Check: "cursor_type",
				About: m.name,
				Level: Warn,
				Text:  fmt.Sprintf("%s is of the type %s, not timestamptz: it has no time zone, or is no time", column, kind),
				Fix: "alter table " + p.sql(
					m.name,
				) + " alter column " + quote(
					column,
				) + " type timestamptz using " + quote(
					column,
				) + " at time zone 'UTC';",
			},
		)
	}
	indexed := slices.ContainsFunc(t.Indexes, func(ix migration.IndexFacts) bool {
		return len(ix.Columns) > 0 && ix.Columns[0] == column && (len(ix.Columns) == 1 || ix.Columns[1] == m.id)
	})
	if indexed {
		p.good("index", m.name, "on %s", column)
	} else {
		p.add(Finding{Check: "index", About: m.name, Level: Fail, Text: "no index is on " + column + " and the key: each read of what was missed, once in " +
			p.cfg.Supabase.Feed.Interval.String() + ", goes through the whole table", Fix: p.indexFix(m, column)})
	}
	switch {
	case m.updated == "":
		p.add(
			Finding{
				Check: "updated",
				About: m.name,
				Level: Hint,
				Text:  "no column says when a row changed last: changes that Realtime loses are not found",
				Fix: yaml(
					m.key+".updated",
					"updated_at",
				) + "\n-- with\n" + p.addUpdated(
					mapped{name: m.name, updated: "updated_at"},
				),
			},
		)
	case !t.Kept:
		p.add(
			Finding{
				Check: "updated",
				About: m.name,
				Level: Warn,
				Text:  "no trigger runs before updates, so nothing may keep " + m.updated + ": changes that Realtime loses are then not found",
				Fix:   p.keepUpdated(m),
			},
		)
	default:
		p.good("updated", m.name, "a trigger runs before updates")
	}
}

func (p *patient) indexFix(m mapped, column string) string {
	return "create index concurrently if not exists " + quote(
		m.name+"_cursor",
	) + " on " + p.sql(
		m.name,
	) + " (" + quote(
		column,
	) + ", " + quote(
		m.id,
	) + ");"
}

// rowSecurity judges who may read a table.
func (p *patient) rowSecurity(ctx context.Context, m mapped, on bool) {
	if !on {
		p.add(
			Finding{
				Check: "rls",
				About: m.name,
				Level: Fail,
				Text:  "row level security is off: whoever has the public key reads every row, and any user may enter any room",
				Fix: "alter table " + p.sql(
					m.name,
				) + " enable row level security;\n-- and a policy for those who may read, such as\n" + p.policy(
					m,
				),
			},
		)
		return
	}
	if reads, known := p.anonReads(ctx, m); known && reads {
		p.add(p.openToAll(m))
		return
	}
	p.good("rls", m.name, "on, and nobody reads without a token")
}

func (p *patient) openToAll(m mapped) Finding {
	return Finding{
		Check: "rls",
		About: m.name,
		Level: Fail,
		Text:  "whoever has the public key reads its rows without a token: a policy lets the role anon, or row level security is off",
		Fix: "alter table " + p.sql(
			m.name,
		) + " enable row level security;\n-- and give each policy a role: alter policy \"…\" on " + p.sql(
			m.name,
		) + " to authenticated;",
		Look: "select policyname, roles, qual from pg_policies where tablename = '" + strings.ReplaceAll(
			m.name,
			"'",
			"''",
		) + "';",
	}
}

// policy is an example of who may read a table.
func (p *patient) policy(m mapped) string {
	t := p.cfg.Tables
	claim := "app_metadata.tenant_id"
	if len(p.cfg.Auth.TenantClaims) > 0 {
		claim = p.cfg.Auth.TenantClaims[0]
	}
	mine := "(select auth.jwt()) #>> '{" + strings.ReplaceAll(claim, ".", ",") + "}'"
	using := quote(m.id) + "::text = " + mine
	switch m.key {
	case "tables.conversations":
		using = quote(t.Conversations.Tenant) + "::text = " + mine
	case "tables.messages":
		using = "exists (select from " + p.sql(
			t.Conversations.Name,
		) + " c where c." + quote(
			t.Conversations.ID,
		) + " = " + quote(
			t.Messages.Conversation,
		) + ")"
	case "tables.notifications":
		using = quote(t.Notifications.User) + "::text = (select auth.uid())::text"
	}
	return "create policy own on " + p.sql(m.name) + " for select to authenticated using (" + using + ");"
}

// withoutCatalog judges a table by what can be seen from outside, and says what can't.
func (p *patient) withoutCatalog(ctx context.Context, m mapped) {
	literal := strings.ReplaceAll(p.sql(m.name), "'", "''")
	if m.guards {
		switch reads, known := p.anonReads(ctx, m); {
		case known && reads:
			p.add(p.openToAll(m))
		case known:
			p.good("rls", m.name, "nobody reads without a token")
		default:
			p.add(
				Finding{
					Check: "rls",
					About: m.name,
					Level: Unknown,
					Text:  "whether others may read it: it is empty, or could not be asked",
					Look:  "select relrowsecurity from pg_class where oid = '" + literal + "'::regclass;",
				},
			)
		}
	}
	if !m.live {
		return
	}
	p.primaryKey(ctx, m)
	p.add(
		Finding{
			Check: "replica_identity",
			About: m.name,
			Level: Unknown,
			Text:  "only the catalog tells",
			Look:  "select relreplident from pg_class where oid = '" + literal + "'::regclass; -- f is full",
		},
	)
	if column := m.cursor(); column != "" {
		p.add(
			Finding{
				Check: "index",
				About: m.name,
				Level: Unknown,
				Text:  "only the catalog tells whether " + column + " has one",
				Fix:   p.indexFix(m, column),
				Look:  "select indexdef from pg_indexes where tablename = '" + strings.ReplaceAll(m.name, "'", "''") + "';",
			},
		)
	}
}
