package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/supabridge/supabridge/bridge/migration"
	"github.com/supabridge/supabridge/bridge/supabase"
)

// uniqueKey finds out, by the catalog, whether the column that is taken for a row's identity is
// unique.
func (p *patient) uniqueKey(m mapped, t migration.TableFacts) {
	if t.Identifies(m.id) {
		p.good("unique_key", m.name, "%s is unique", m.id)
		return
	}
	p.add(p.notUnique(m, "no unique index is on "+m.id+" alone"))
}

// primaryKey finds it out by what PostgREST says of primary keys.
func (p *patient) primaryKey(ctx context.Context, m mapped) {
	key, err := p.describedKey(ctx, m.name)
	switch {
	case err == nil && slices.Equal(key, []string{m.id}):
		p.good("unique_key", m.name, "%s is the primary key", m.id)
	case err == nil && len(key) > 1 && slices.Contains(key, m.id):
		p.add(p.notUnique(m, "the primary key is ("+strings.Join(key, ", ")+")"))
	default:
		text := m.id + " is not the primary key, and only the catalog tells whether it is unique"
		if err != nil {
			text = "whether " + m.id + " is unique: " + err.Error()
		}
		p.add(Finding{Check: "unique_key", About: m.name, Level: Unknown, Text: text,
			Look: "select indexdef from pg_indexes where tablename = '" + strings.ReplaceAll(
				m.name,
				"'",
				"''",
			) + "'; -- one must be unique on " + m.id + " alone"})
	}
}

func (p *patient) notUnique(m mapped, why string) Finding {
	return Finding{Check: "unique_key", About: m.name, Level: Fail,
		Text: fmt.Sprintf(
			"%s, so %s.id, which is %s, does not tell rows apart: changes of one would be shown to those who may read another. The bridge refuses to run",
			why,
			m.key,
			m.id,
		),
		Fix: yaml(
			m.key+".id",
			"# a column that is unique",
		) + "\n-- or, where its values are unique:\ncreate unique index concurrently " +
			quote(
				m.name+"_"+m.id+"_key",
			) + " on " + p.sql(
			m.name,
		) + " (" + quote(
			m.id,
		) + ");\n-- and, so that the bridge can see it: supabridge doctor --sql"}
}

// describedKey gives the columns of a table's primary key, in the order of their names.
func (p *patient) describedKey(ctx context.Context, table string) ([]string, error) {
	if p.described == nil {
		c := p.cfg.Supabase
		db, err := supabase.New(c.URL, c.ServiceRoleKey.Reveal(), supabase.Options{Schema: c.Schema, Timeout: p.opts.Timeout})
		if err != nil {
			return nil, err
		}
		defer db.Close()
		if p.described, err = db.PrimaryKeys(ctx); err != nil {
			return nil, err
		}
	}
	key, there := p.described[table]
	if !there {
		return nil, fmt.Errorf("the REST API does not describe the table")
	}
	slices.Sort(key)
	return key, nil
}
