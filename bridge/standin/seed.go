package standin

import (
	"bytes"
	_ "embed" // the default seed
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// maxSeedBytes bounds a seed's text.
const maxSeedBytes = 64 << 20

//go:embed seed/inbox.yaml
var inboxSeed []byte

// Seed says which tables there are, what they hold at first, and who can sign in. It is immutable and can serve any number
// of servers.
type Seed struct {
	schemas []string
	tables  []seedTable
	users   []seedUser
	tenant  seedTenant
}

type seedTable struct {
	line      int
	name      tableName
	columns   []seedColumn
	key       []string
	unique    [][]string
	indexes   [][]string
	foreign   []seedForeignKey
	full      bool
	published bool
	broadcast string
	granted   map[string][]string
	rls       bool
	rules     []seedRule
	rows      []seedRow
}

type seedColumn struct {
	line     int
	name     string
	typ      *columnType
	notNull  bool
	def      string
	hasDef   bool
	identity bool
	onUpdate bool
}

type seedForeignKey struct {
	line       int
	columns    []string
	references string
	to         []string
	onDelete   deleteAction
}

type seedRule struct {
	line       int
	operations operation
	roles      []string
	everything bool
	through    []string
	column     string
	claim      []string
}

type seedRow struct {
	line   int
	values map[string]any
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

// DefaultSeed is the inbox: distributors, users, conversations with a distributor_id and messages without one,
// row security on, with two distributors and some conversations.
func DefaultSeed() *Seed {
	s, err := ParseSeed(bytes.NewReader(inboxSeed))
	if err != nil {
		panic("standin: the embedded seed: " + err.Error()) // it is part of the program, and tests read it
	}
	return s
}

// ParseSeed reads a seed. It is strict: an unknown key, column or type is an error that names its line. At most 64 MiB.
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
		t := seedTable{line: name.Line, name: tableName{s.schemas[0], name.Value}, published: true}
		for _, schema := range s.schemas {
			if rest, ok := strings.CutPrefix(name.Value, schema+"."); ok {
				t.name = tableName{schema, rest}
			}
		}
		if err := t.read(n, enums); err != nil {
			return fmt.Errorf("table %s: %w", name.Value, err)
		}
		s.tables = append(s.tables, t)
		return nil
	})
}

func (t *seedTable) read(node *yaml.Node, enums map[string][]string) error {
	return eachKey(node, map[string]func(*yaml.Node) error{
		"columns": func(n *yaml.Node) error {
			return eachEntry(n, func(name, n *yaml.Node) error {
				c := seedColumn{line: name.Line, name: name.Value}
				if err := c.read(n, enums); err != nil {
					return err
				}
				t.columns = append(t.columns, c)
				return nil
			})
		},
		"primary_key": func(n *yaml.Node) (err error) { t.key, err = readNames(n); return err },
		"unique":      func(n *yaml.Node) (err error) { t.unique, err = readLists(n); return err },
		"indexes":     func(n *yaml.Node) (err error) { t.indexes, err = readLists(n); return err },
		"foreign_keys": func(n *yaml.Node) error {
			return eachItem(n, func(n *yaml.Node) error {
				f := seedForeignKey{line: n.Line}
				if err := f.read(n); err != nil {
					return err
				}
				t.foreign = append(t.foreign, f)
				return nil
			})
		},
		"replica_identity": func(n *yaml.Node) (err error) {
			t.full, err = readChoice(n, map[string]bool{"full": true, "default": false})
			return err
		},
		"published": func(n *yaml.Node) error { return readScalar(n, &t.published) },
		"broadcast": func(n *yaml.Node) error { return readScalar(n, &t.broadcast) },
		"grants": func(n *yaml.Node) error {
			t.granted = make(map[string][]string)
			return eachEntry(n, func(role, n *yaml.Node) (err error) {
				t.granted[role.Value], err = readNames(n)
				return err
			})
		},
		"row_security": func(n *yaml.Node) error {
			t.rls = true
			return eachItem(n, func(n *yaml.Node) error {
				r := seedRule{line: n.Line, operations: forAll, roles: []string{roleAuthenticated}}
				if err := r.read(n); err != nil {
					return err
				}
				t.rules = append(t.rules, r)
				return nil
			})
		},
		"rows": func(n *yaml.Node) error {
			return eachItem(n, func(n *yaml.Node) error {
				r, err := readRow(n)
				t.rows = append(t.rows, r)
				return err
			})
		},
	})
}

func (c *seedColumn) read(node *yaml.Node, enums map[string][]string) (err error) {
	if node.Kind == yaml.ScalarNode {
		if c.typ, err = parseColumnType(node.Value, enums); err != nil {
			return at(node, err)
		}
		return nil
	}
	err = eachKey(node, map[string]func(*yaml.Node) error{
		"type": func(n *yaml.Node) error {
			if c.typ, err = parseColumnType(n.Value, enums); err != nil {
				return at(n, err)
			}
			return nil
		},
		"not_null": func(n *yaml.Node) error { return readScalar(n, &c.notNull) },
		"default": func(n *yaml.Node) error {
			if n.Kind != yaml.ScalarNode {
				return at(n, errors.New("a default is written as one text, as in SQL"))
			}
			c.def, c.hasDef = n.Value, n.Tag != "!!null"
			return nil
		},
		"on_update": func(n *yaml.Node) (err error) {
			c.onUpdate, err = readChoice(n, map[string]bool{"now()": true, "now": true})
			return err
		},
		"identity": func(n *yaml.Node) error { return readScalar(n, &c.identity) },
	})
	if err == nil && c.typ == nil {
		err = at(node, fmt.Errorf("column %s has no type", c.name))
	}
	return err
}

func (f *seedForeignKey) read(node *yaml.Node) error {
	return eachKey(node, map[string]func(*yaml.Node) error{
		"columns":    func(n *yaml.Node) (err error) { f.columns, err = readNames(n); return err },
		"references": func(n *yaml.Node) error { return readScalar(n, &f.references) },
		"to":         func(n *yaml.Node) (err error) { f.to, err = readNames(n); return err },
		"on_delete": func(n *yaml.Node) (err error) {
			f.onDelete, err = readChoice(n, map[string]deleteAction{"no action": deleteRefused, "restrict": deleteRefused,
				"cascade": deleteCascades, "set null": deleteSetsNull})
			return err
		},
	})
}

func (r *seedRule) read(node *yaml.Node) error {
	err := eachKey(node, map[string]func(*yaml.Node) error{
		"for": func(n *yaml.Node) error {
			r.operations = 0
			return eachItem(n, func(n *yaml.Node) error {
				op, err := readChoice(n, map[string]operation{"select": forSelect, "insert": forInsert, "update": forUpdate, "delete": forDelete})
				r.operations |= op
				return err
			})
		},
		"to":         func(n *yaml.Node) (err error) { r.roles, err = readNames(n); return err },
		"everything": func(n *yaml.Node) error { return readScalar(n, &r.everything) },
		"through":    func(n *yaml.Node) (err error) { r.through, err = readNames(n); return err },
		"column":     func(n *yaml.Node) error { return readScalar(n, &r.column) },
		"claim": func(n *yaml.Node) error {
			r.claim = strings.Split(n.Value, ".")
			return nil
		},
	})
	switch {
	case err != nil:
		return err
	case r.everything && (r.column != "" || r.claim != nil || r.through != nil):
		return at(node, errors.New("a rule for everything takes no column, claim or through"))
	case !r.everything && (r.column == "" || len(r.claim) == 0 || r.claim[0] == ""):
		return at(node, errors.New("a rule needs a column and a claim, or everything: true"))
	}
	for _, role := range r.roles {
		if !knownRole(role) {
			return at(node, fmt.Errorf("unknown role %q", role))
		}
	}
	return nil
}

func readRow(node *yaml.Node) (seedRow, error) {
	r := seedRow{line: node.Line, values: map[string]any{}}
	err := eachEntry(node, func(name, n *yaml.Node) error {
		switch {
		case n.Kind == yaml.ScalarNode && n.Tag == "!!null":
			r.values[name.Value] = nil
		case n.Kind == yaml.ScalarNode:
			r.values[name.Value] = n.Value
		default:
			var v any
			if err := n.Decode(&v); err != nil {
				return at(n, err)
			}
			raw, err := json.Marshal(v)
			if err != nil {
				return at(n, err)
			}
			r.values[name.Value] = json.RawMessage(raw)
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

// literal reads a seed row's value; times may be given as now() or now() - 1h30m.
func (t *columnType) literal(v any, now time.Time) (any, error) {
	text, ok := v.(string)
	if !ok {
		return v, nil
	}
	rest, ok := strings.CutPrefix(text, "now()")
	if !ok || (t.kind != kindTimestamptz && t.kind != kindTimestamp && t.kind != kindDate) {
		return v, nil
	}
	if rest = strings.ReplaceAll(rest, " ", ""); rest != "" {
		d, err := time.ParseDuration(rest)
		if err != nil {
			return nil, fmt.Errorf("%q is no time: %w", text, err)
		}
		now = now.Add(d)
	}
	return now, nil
}
