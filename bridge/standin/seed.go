package standin

import (
	"bytes"
	_ "embed" // the default seed
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/supabridge/supabridge/bridge/standin/sql"
)

// maxSeedBytes bounds a seed's text.
const maxSeedBytes = 64 << 20

//go:embed seed/inbox.yaml
var inboxSeed []byte

// Seed says which tables there are, what they hold at first, and who can sign in. It is immutable
// and can serve any number of servers.
type Seed struct {
	schemas []string
	tables  []sql.TableDef
	users   []seedUser
	tenant  seedTenant
}

// seedUser is someone who can sign in.
type seedUser struct {
	id, email, password, name string
	app, user                 map[string]any
}

// seedTenant says where a user's tenant is found: by a claim, and its name in a table.
type seedTenant struct {
	claim        []string
	table, label string
}

// DefaultSeed is the inbox: distributors, users, conversations with a distributor_id and messages
// without one, row security on, with two distributors and some conversations.
func DefaultSeed() *Seed {
	s, err := ParseSeed(bytes.NewReader(inboxSeed))
	if err != nil {
		panic("standin: the embedded seed: " + err.Error()) // it is part of the program, and tests read it
	}
	return s
}

// ParseSeed reads a seed. It is strict: an unknown key, column or type is an error that names its
// line. At most 64 MiB.
//
//	schemas: [public]                   # those REST serves; the first is the default
//	enums: {mood: [sad, ok]}
//	tables:
//	  messages:                         # "schema.name" for another schema than the first
//	    columns:                        # name: type, or name: {type, not_null, default, on_update, identity}
//	      id: {type: uuid, default: gen_random_uuid()}
//	      conversation_id: uuid
//	      updated_at: {type: timestamptz, default: now(), on_update: now()}
//	    primary_key: [id]
//	    unique: [[external_message_id]]
//	    indexes: [[conversation_id]]
//	    foreign_keys: [{columns: [conversation_id], references: conversations, on_delete: cascade}]
//	    replica_identity: full          # or default
//	    published: true                 # in the publication supabase_realtime; the default
//	    grants: {anon: [id, body]}      # the columns a role may read; who isn't named reads all
//	    broadcast: app:rows             # a trigger calls realtime.broadcast_changes on this private topic for each row
//	    row_security:                   # the key alone enables it; a row that no rule lets through isn't there
//	      - {through: [conversation_id], column: distributor_id, claim: app_metadata.distributor_id}
//	      - {for: [select], to: [anon], everything: true}
//	    rows:                           # values as Postgres literals; now() - 5m for times
//	      - {id: …, conversation_id: …}
//	auth:
//	  tenant: {claim: app_metadata.distributor_id, table: distributors, label: name}
//	  users: [{id: …, email: …, password: …, name: …, app_metadata: {…}, user_metadata: {…}}]
func ParseSeed(r io.Reader) (*Seed, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxSeedBytes+1))
	if err != nil {
		return nil, fmt.Errorf("standin: read the seed: %w", err)
	}
	if len(text) > maxSeedBytes {
		return nil, fmt.Errorf("standin: the seed is larger than %d bytes", maxSeedBytes)
	}
	var root yaml.Node
	if err := yaml.Unmarshal(text, &root); err != nil {
		return nil, fmt.Errorf("standin: the seed: %w", err)
	}
	s := &Seed{schemas: []string{"public"}}
	if len(root.Content) == 0 {
		return s, nil
	}
	if err := s.read(root.Content[0]); err != nil {
		return nil, fmt.Errorf("standin: the seed: %w", err)
	}
	return s, nil
}

func (s *Seed) read(node *yaml.Node) error {
	enums := map[string][]string{}
	var tables *yaml.Node
	err := eachKey(node, map[string]func(*yaml.Node) error{
		"schemas": func(n *yaml.Node) (err error) { s.schemas, err = readNames(n); return err },
		"enums": func(n *yaml.Node) error {
			return eachEntry(n, func(name, labels *yaml.Node) (err error) {
				enums[name.Value], err = readNames(labels)
				return err
			})
		},
		"tables": func(n *yaml.Node) error { tables = n; return nil },
		"auth":   s.readAuth,
	})
	if err != nil || tables == nil {
		return err
	}
	if len(s.schemas) == 0 {
		return at(node, errors.New("schemas is empty"))
	}
	return eachEntry(tables, func(name, n *yaml.Node) error {
		t := sql.TableDef{Line: name.Line, Schema: s.schemas[0], Name: name.Value, Published: true}
		for _, schema := range s.schemas {
			if rest, ok := strings.CutPrefix(name.Value, schema+"."); ok {
				t.Schema, t.Name = schema, rest
			}
		}
		if err := readTable(&t, n, enums); err != nil {
			return fmt.Errorf("table %s: %w", name.Value, err)
		}
		s.tables = append(s.tables, t)
		return nil
	})
}

func readTable(t *sql.TableDef, node *yaml.Node, enums map[string][]string) error {
	return eachKey(node, map[string]func(*yaml.Node) error{
		"columns": func(n *yaml.Node) error {
			return eachEntry(n, func(name, n *yaml.Node) error {
				c := sql.ColumnDef{Line: name.Line, Name: name.Value}
				if err := readColumn(&c, n, enums); err != nil {
					return err
				}
				t.Columns = append(t.Columns, c)
				return nil
			})
		},
		"primary_key": func(n *yaml.Node) (err error) { t.Key, err = readNames(n); return err },
		"unique":      func(n *yaml.Node) (err error) { t.Unique, err = readLists(n); return err },
		"indexes":     func(n *yaml.Node) (err error) { t.Indexes, err = readLists(n); return err },
		"foreign_keys": func(n *yaml.Node) error {
			return eachItem(n, func(n *yaml.Node) error {
				f := sql.ForeignKeyDef{Line: n.Line}
				if err := readForeignKey(&f, n); err != nil {
					return err
				}
				t.Foreign = append(t.Foreign, f)
				return nil
			})
		},
		"replica_identity": func(n *yaml.Node) (err error) {
			t.FullIdentity, err = readChoice(n, map[string]bool{"full": true, "default": false})
			return err
		},
		"published": func(n *yaml.Node) error { return readScalar(n, &t.Published) },
		"broadcast": func(n *yaml.Node) error { return readScalar(n, &t.Broadcast) },
		"grants": func(n *yaml.Node) error {
			t.Granted = make(map[string][]string)
			return eachEntry(n, func(role, n *yaml.Node) (err error) {
				t.Granted[role.Value], err = readNames(n)
				return err
			})
		},
		"row_security": func(n *yaml.Node) error {
			t.RLS = true
			return eachItem(n, func(n *yaml.Node) error {
				r := sql.RuleDef{Line: n.Line, Operations: sql.ForAll, Roles: []string{sql.RoleAuthenticated}}
				if err := readRule(&r, n); err != nil {
					return err
				}
				t.Rules = append(t.Rules, r)
				return nil
			})
		},
		"rows": func(n *yaml.Node) error {
			return eachItem(n, func(n *yaml.Node) error {
				r, err := readRow(n)
				t.Rows = append(t.Rows, r)
				return err
			})
		},
	})
}

func readColumn(c *sql.ColumnDef, node *yaml.Node, enums map[string][]string) (err error) {
	if node.Kind == yaml.ScalarNode {
		if c.Type, err = sql.ParseType(node.Value, enums); err != nil {
			return at(node, err)
		}
		return nil
	}
	err = eachKey(node, map[string]func(*yaml.Node) error{
		"type": func(n *yaml.Node) error {
			if c.Type, err = sql.ParseType(n.Value, enums); err != nil {
				return at(n, err)
			}
			return nil
		},
		"not_null": func(n *yaml.Node) error { return readScalar(n, &c.NotNull) },
		"default": func(n *yaml.Node) error {
			if n.Kind != yaml.ScalarNode {
				return at(n, errors.New("a default is written as one text, as in SQL"))
			}
			c.Default, c.HasDefault = n.Value, n.Tag != "!!null"
			return nil
		},
		"on_update": func(n *yaml.Node) (err error) {
			c.OnUpdate, err = readChoice(n, map[string]bool{"now()": true, "now": true})
			return err
		},
		"identity": func(n *yaml.Node) error { return readScalar(n, &c.Identity) },
	})
	if err == nil && c.Type == nil {
		err = at(node, fmt.Errorf("column %s has no type", c.Name))
	}
	return err
}

func readForeignKey(f *sql.ForeignKeyDef, node *yaml.Node) error {
	return eachKey(node, map[string]func(*yaml.Node) error{
		"columns":    func(n *yaml.Node) (err error) { f.Columns, err = readNames(n); return err },
		"references": func(n *yaml.Node) error { return readScalar(n, &f.References) },
		"to":         func(n *yaml.Node) (err error) { f.To, err = readNames(n); return err },
		"on_delete": func(n *yaml.Node) (err error) {
			f.OnDelete, err = readChoice(n, map[string]sql.DeleteAction{"no action": sql.NoAction, "restrict": sql.NoAction,
				"cascade": sql.Cascade, "set null": sql.SetNull})
			return err
		},
	})
}

func readRule(r *sql.RuleDef, node *yaml.Node) error {
	err := eachKey(node, map[string]func(*yaml.Node) error{
		"for": func(n *yaml.Node) error {
			r.Operations = 0
			return eachItem(n, func(n *yaml.Node) error {
				op, err := readChoice(n, map[string]sql.Operation{
					"select": sql.ForSelect, "insert": sql.ForInsert, "update": sql.ForUpdate, "delete": sql.ForDelete,
				})
				r.Operations |= op
				return err
			})
		},
		"to":         func(n *yaml.Node) (err error) { r.Roles, err = readNames(n); return err },
		"everything": func(n *yaml.Node) error { return readScalar(n, &r.Everything) },
		"through":    func(n *yaml.Node) (err error) { r.Through, err = readNames(n); return err },
		"column":     func(n *yaml.Node) error { return readScalar(n, &r.Column) },
		"claim": func(n *yaml.Node) error {
			r.Claim = strings.Split(n.Value, ".")
			return nil
		},
	})
	switch {
	case err != nil:
		return err
	case r.Everything && (r.Column != "" || r.Claim != nil || r.Through != nil):
		return at(node, errors.New("a rule for everything takes no column, claim or through"))
	case !r.Everything && (r.Column == "" || len(r.Claim) == 0 || r.Claim[0] == ""):
		return at(node, errors.New("a rule needs a column and a claim, or everything: true"))
	}
	for _, role := range r.Roles {
		if !sql.KnownRole(role) {
			return at(node, fmt.Errorf("unknown role %q", role))
		}
	}
	return nil
}

func readRow(node *yaml.Node) (sql.RowDef, error) {
	r := sql.RowDef{Line: node.Line, Values: map[string]any{}}
	err := eachEntry(node, func(name, n *yaml.Node) error {
		switch {
		case n.Kind == yaml.ScalarNode && n.Tag == "!!null":
			r.Values[name.Value] = nil
		case n.Kind == yaml.ScalarNode:
			r.Values[name.Value] = n.Value
		default:
			var v any
			if err := n.Decode(&v); err != nil {
				return at(n, err)
			}
			raw, err := json.Marshal(v)
			if err != nil {
				return at(n, err)
			}
			r.Values[name.Value] = json.RawMessage(raw)
		}
		return nil
	})
	return r, err
}

func (s *Seed) readAuth(node *yaml.Node) error {
	return eachKey(node, map[string]func(*yaml.Node) error{
		"tenant": func(n *yaml.Node) error {
			return eachKey(n, map[string]func(*yaml.Node) error{
				"claim": func(n *yaml.Node) error { s.tenant.claim = strings.Split(n.Value, "."); return nil },
				"table": func(n *yaml.Node) error { return readScalar(n, &s.tenant.table) },
				"label": func(n *yaml.Node) error { return readScalar(n, &s.tenant.label) },
			})
		},
		"users": func(n *yaml.Node) error {
			return eachItem(n, func(n *yaml.Node) error {
				u := seedUser{}
				err := eachKey(n, map[string]func(*yaml.Node) error{
					"id":            func(n *yaml.Node) error { return readScalar(n, &u.id) },
					"email":         func(n *yaml.Node) error { return readScalar(n, &u.email) },
					"password":      func(n *yaml.Node) error { return readScalar(n, &u.password) },
					"name":          func(n *yaml.Node) error { return readScalar(n, &u.name) },
					"app_metadata":  func(n *yaml.Node) error { return readObject(n, &u.app) },
					"user_metadata": func(n *yaml.Node) error { return readObject(n, &u.user) },
				})
				if err == nil && u.id == "" {
					err = at(n, errors.New("a user needs an id"))
				}
				s.users = append(s.users, u)
				return err
			})
		},
	})
}

// at says where in the seed an error is.
func at(node *yaml.Node, err error) error { return fmt.Errorf("line %d: %w", node.Line, err) }

// eachEntry goes through a mapping in order. A key twice is an error.
func eachEntry(node *yaml.Node, fn func(key, value *yaml.Node) error) error {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if node.Kind != yaml.MappingNode {
		return at(node, errors.New("expected a mapping of keys to values"))
	}
	seen := map[string]bool{}
	for i := 0; i < len(node.Content); i += 2 {
		key := node.Content[i]
		if seen[key.Value] {
			return at(key, fmt.Errorf("the key %q is there twice", key.Value))
		}
		seen[key.Value] = true
		if err := fn(key, node.Content[i+1]); err != nil {
			return err
		}
	}
	return nil
}

// eachKey goes through a mapping whose keys are known.
func eachKey(node *yaml.Node, known map[string]func(*yaml.Node) error) error {
	return eachEntry(node, func(key, value *yaml.Node) error {
		read, ok := known[key.Value]
		if !ok {
			return at(key, fmt.Errorf("unknown key %q", key.Value))
		}
		return read(value)
	})
}

func eachItem(node *yaml.Node, fn func(*yaml.Node) error) error {
	if node.Kind == yaml.ScalarNode && node.Tag == "!!null" {
		return nil
	}
	if node.Kind != yaml.SequenceNode {
		return at(node, errors.New("expected a list"))
	}
	for _, item := range node.Content {
		if err := fn(item); err != nil {
			return err
		}
	}
	return nil
}

func readScalar(node *yaml.Node, into any) error {
	if node.Kind != yaml.ScalarNode || node.Decode(into) != nil {
		return at(node, fmt.Errorf("%q is no %s", node.Value, strings.TrimPrefix(fmt.Sprintf("%T", into), "*")))
	}
	return nil
}

func readObject(node *yaml.Node, into *map[string]any) error {
	if node.Kind != yaml.MappingNode || node.Decode(into) != nil {
		return at(node, errors.New("expected a mapping of keys to values"))
	}
	return nil
}

func readChoice[T any](node *yaml.Node, choices map[string]T) (T, error) {
	v, ok := choices[node.Value]
	if !ok {
		return v, at(node, fmt.Errorf("%q isn't one of what may stand here", node.Value))
	}
	return v, nil
}

func readNames(node *yaml.Node) ([]string, error) {
	var names []string
	err := eachItem(node, func(n *yaml.Node) error {
		if n.Kind != yaml.ScalarNode {
			return at(n, errors.New("expected a name"))
		}
		names = append(names, n.Value)
		return nil
	})
	return names, err
}

func readLists(node *yaml.Node) ([][]string, error) {
	var lists [][]string
	err := eachItem(node, func(n *yaml.Node) error {
		names, err := readNames(n)
		lists = append(lists, names)
		return err
	})
	return lists, err
}

// NewDB makes the tables of the seed and fills them. The error names the line of the seed that is
// at fault.
func (s *Seed) NewDB(limits Limits, now func() time.Time) (*DB, error) {
	db, err := sql.New(s.tables, sql.Options{Schemas: s.schemas, Limits: limits, Now: now})
	if err != nil {
		return nil, fmt.Errorf("standin: the seed: %w", err)
	}
	return db, nil
}

// broadcasting is the seed with other topics for the triggers of some tables of its first schema.
func (s *Seed) broadcasting(topics map[string]string) *Seed {
	if len(topics) == 0 {
		return s
	}
	changed := *s
	changed.tables = slices.Clone(s.tables)
	for i := range changed.tables {
		t := &changed.tables[i]
		if topic, ok := topics[t.Name]; ok && t.Schema == s.schemas[0] {
			t.Broadcast = topic
		}
	}
	return &changed
}
