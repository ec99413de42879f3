package sql_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/supabridge/supabridge/bridge/standin"
	"github.com/supabridge/supabridge/bridge/standin/sql"
)

const familySeed = `
tables:
  parents:
    columns:
      id: {type: int8, identity: true}
      name: {type: text, not_null: true, default: nobody}
      owner: text
      updated_at: {type: timestamptz, default: now(), on_update: now()}
    primary_key: [id]
    unique: [[name]]
    replica_identity: full
    row_security: [{column: owner, claim: app_metadata.team}, {for: [select], column: owner, claim: sub}]
  children:
    columns: {id: int4, parent_id: int8, note: text}
    primary_key: [id]
    foreign_keys: [{columns: [parent_id], references: parents, on_delete: cascade}]
    row_security: [{through: [parent_id], column: owner, claim: app_metadata.team}]
  toys:
    columns: {id: int4, child_id: int4}
    primary_key: [id]
    foreign_keys: [{columns: [child_id], references: children, on_delete: set null}]
    published: false
    row_security: [{through: [child_id, parent_id], column: owner, claim: app_metadata.team}]
  notes:
    columns: {id: int4, parent_id: int8}
    foreign_keys: [{columns: [parent_id], references: parents}]
    replica_identity: full
`

// told collects what a sql.DB tells its listeners.
type told struct {
	mu      sync.Mutex
	batches [][]sql.Change
}

func listen(t testing.TB, db *sql.DB) *told {
	l := &told{}
	t.Cleanup(db.OnChange(func(c []sql.Change) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.batches = append(l.batches, c)
	}))
	return l
}

// lines writes each change as one line: type, table, old and new without their times.
func (l *told) lines() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []string
	for _, batch := range l.batches {
		for _, c := range batch {
			for _, doc := range []map[string]json.RawMessage{c.Old, c.New} {
				delete(doc, "updated_at")
			}
			text, err := json.Marshal([]any{c.Old, c.New})
			if err != nil {
				return []string{err.Error()}
			}
			out = append(out, c.Type+" "+c.Table+" "+string(text))
		}
	}
	return out
}

func codeOf(err error) string {
	if e := (*sql.Error)(nil); errors.As(err, &e) {
		return e.Code
	}
	return fmt.Sprint(err)
}

func mustTx(t testing.TB, db *sql.DB, fn func(tx *sql.Tx) error) {
	t.Helper()
	if err := db.Tx(fn); err != nil {
		t.Fatal(err)
	}
}

func insertRow(t testing.TB, db *sql.DB, table string, row map[string]any) {
	t.Helper()
	mustTx(t, db, func(tx *sql.Tx) error { _, err := tx.Insert(table, row); return err })
}

func count(t testing.TB, db *sql.DB, table string) int {
	t.Helper()
	n := 0
	mustTx(t, db, func(tx *sql.Tx) error {
		rows, err := tx.Select(table, nil)
		n = len(rows)
		return err
	})
	return n
}

func TestCommittedTransactionIsToldWholeAndInOrder(t *testing.T) {
	db := seeded(t, familySeed)
	heard := listen(t, db)
	mustTx(t, db, func(tx *sql.Tx) error {
		row, err := tx.Insert("parents", map[string]any{"name": "ada", "owner": "red"})
		if err != nil {
			return err
		}
		if string(row["id"]) != "1" {
			t.Errorf("the identity column gave %s", row["id"])
		}
		if _, err := tx.Insert("children", map[string]any{"id": 7, "parent_id": row["id"], "note": json.RawMessage(`"x"`)}); err != nil {
			return err
		}
		if _, err := tx.Update("parents", map[string]any{"id": 1}, map[string]any{"name": "bea"}); err != nil {
			return err
		}
		_, err = tx.Delete("parents", map[string]any{"name": "bea"})
		return err
	})
	want := []string{
		`INSERT parents [null,{"id":1,"name":"ada","owner":"red"}]`,
		`INSERT children [null,{"id":7,"note":"x","parent_id":1}]`,
		`UPDATE parents [{"id":1,"name":"ada","owner":"red"},{"id":1,"name":"bea","owner":"red"}]`,
		`DELETE parents [{"id":1,"name":"bea","owner":"red"},null]`,
		`DELETE children [{"id":7,"note":"x","parent_id":1},null]`,
	}
	if got := heard.lines(); !slices.Equal(got, want) {
		t.Errorf("told:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if len(heard.batches) != 1 {
		t.Fatalf("told in %d batches, want one a transaction", len(heard.batches))
	}
	c := heard.batches[0][0]
	if !c.FullIdentity || !c.RLS || !c.Published || !slices.Equal(c.Key, []string{"id"}) || c.Columns[0] != (sql.Column{"id", "int8"}) || c.Commit.IsZero() {
		t.Errorf("the change describes its table as %+v", c)
	}
}

func TestFailedTransactionLeavesNothing(t *testing.T) {
	for _, c := range []struct {
		name string
		code string
		fn   func(tx *sql.Tx) error
	}{
		{"an error of the function", "no", func(tx *sql.Tx) error { return errors.New("no") }},
		{"an error of a call", "23505", func(tx *sql.Tx) error { _, err := tx.Insert("parents", map[string]any{"name": "ada"}); return err }},
		{"an error that the function passes over", "23502", func(tx *sql.Tx) error {
			_, _ = tx.Insert("parents", map[string]any{"name": nil})
			return nil
		}},
		{"more calls after an error", "23503", func(tx *sql.Tx) error {
			_, _ = tx.Insert("children", map[string]any{"id": 5, "parent_id": 99})
			if err := tx.Truncate("children"); codeOf(err) != "25P02" {
				t.Errorf("a call after a failed one: %v", err)
			}
			return nil
		}},
		{"an update of a key in use", "23503", func(tx *sql.Tx) error {
			_, err := tx.Update("parents", map[string]any{"name": "ada"}, map[string]any{"id": 100})
			return err
		}},
		{"a deletion of a row in use", "23503", func(tx *sql.Tx) error {
			if _, err := tx.Insert("notes", map[string]any{"id": 1, "parent_id": 1}); err != nil {
				return err
			}
			_, err := tx.Delete("parents", map[string]any{"name": "ada"})
			return err
		}},
		{"a truncation of a table in use", "0A000", func(tx *sql.Tx) error { return tx.Truncate("parents") }},
		{"a table that isn't", "42P01", func(tx *sql.Tx) error { _, err := tx.Select("nobody", nil); return err }},
		{"a column that isn't", "42703", func(tx *sql.Tx) error { _, err := tx.Delete("parents", map[string]any{"nope": 1}); return err }},
	} {
		t.Run(c.name, func(t *testing.T) {
			db := seeded(t, familySeed)
			insertRow(t, db, "parents", map[string]any{"name": "ada"})
			insertRow(t, db, "children", map[string]any{"id": 1, "parent_id": 1})
			heard, size := listen(t, db), sql.Bytes(db)
			err := db.Tx(func(tx *sql.Tx) error {
				if _, err := tx.Insert("parents", map[string]any{"name": "eve"}); err != nil {
					return err
				}
				if _, err := tx.Update("parents", map[string]any{"name": "ada"}, map[string]any{"owner": "x"}); err != nil {
					return err
				}
				if err := tx.Truncate("notes"); err != nil {
					return err
				}
				if _, err := tx.Delete("children", nil); err != nil {
					return err
				}
				if _, err := tx.Insert("children", map[string]any{"id": 1, "parent_id": 1}); err != nil {
					return err
				}
				return c.fn(tx)
			})
			if codeOf(err) != c.code {
				t.Errorf("error %v, want %s", err, c.code)
			}
			if got := heard.lines(); len(got) > 0 {
				t.Errorf("told %v", got)
			}
			mustTx(t, db, func(tx *sql.Tx) error {
				rows, err := tx.Select("parents", map[string]any{"name": "ada"})
				if err == nil && (len(rows) != 1 || string(rows[0]["owner"]) != "null" || string(rows[0]["id"]) != "1") {
					t.Errorf("parents: %s", rows)
				}
				return err
			})
			if n := count(t, db, "parents"); n != 1 {
				t.Errorf("%d parents remain, want 1", n)
			}
			if n := count(t, db, "children"); n != 1 {
				t.Errorf("%d children remain, want 1", n)
			}
			if sql.Bytes(db) != size {
				t.Errorf("the tables are accounted for %d bytes, were %d", sql.Bytes(db), size)
			}
		})
	}
}

func TestPanicInTransactionTakesItBack(t *testing.T) {
	db := seeded(t, familySeed)
	func() {
		defer func() { _ = recover() }()
		_ = db.Tx(func(tx *sql.Tx) error {
			if _, err := tx.Insert("parents", nil); err != nil {
				t.Error(err)
			}
			panic("in the function")
		})
	}()
	if n := count(t, db, "parents"); n != 0 {
		t.Errorf("%d rows remain", n)
	}
}

func TestListenersHearCommitOrder(t *testing.T) {
	db := seeded(t, familySeed)
	heard := listen(t, db)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				if err := db.Tx(func(tx *sql.Tx) error {
					_, err := tx.Insert("parents", map[string]any{"name": uuid.NewString()})
					return err
				}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	last := time.Time{}
	for i, batch := range heard.batches {
		if got, want := string(batch[0].New["id"]), fmt.Sprint(i+1); got != want {
			t.Fatalf("the commit told as number %d inserted %s", i+1, got)
		}
		if batch[0].Commit.Before(last) {
			t.Fatalf("commit %d at %s came after one at %s", i+1, batch[0].Commit, last)
		}
		last = batch[0].Commit
	}
	if len(heard.batches) != 400 {
		t.Errorf("told of %d commits, want 400", len(heard.batches))
	}
}

func TestListenerMayReadButIsNotCalledOnceCancelled(t *testing.T) {
	db := seeded(t, familySeed)
	calls, seen := 0, false
	cancel := db.OnChange(func(c []sql.Change) {
		calls++
		seen = db.Visible(sql.Claims{Role: sql.RoleService}, "public", "parents", c[0].New)
	})
	insertRow(t, db, "parents", map[string]any{"name": "a"})
	cancel()
	insertRow(t, db, "parents", map[string]any{"name": "b"})
	if calls != 1 || !seen {
		t.Errorf("called %d times, saw the row: %v", calls, seen)
	}
}

func TestUpdateMovesColumnsThatFollowIt(t *testing.T) {
	now := time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	s, err := standin.ParseSeed(strings.NewReader(familySeed))
	if err != nil {
		t.Fatal(err)
	}
	db, err := s.NewDB(sql.Limits{}, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	insertRow(t, db, "parents", map[string]any{"name": "ada"})
	now = now.Add(90 * time.Minute)
	mustTx(t, db, func(tx *sql.Tx) error {
		_, err := tx.Update("parents", nil, map[string]any{"owner": "x", "updated_at": "2000-01-01"})
		return err
	})
	mustTx(t, db, func(tx *sql.Tx) error {
		rows, err := tx.Select("parents", nil)
		if got := string(rows[0]["updated_at"]); got != `"2026-11-23T10:30:00+00:00"` {
			t.Errorf("updated_at is %s", got)
		}
		return err
	})
}

func TestDeletionFollowsForeignKeys(t *testing.T) {
	db := seeded(t, familySeed)
	insertRow(t, db, "parents", map[string]any{"name": "ada"})
	insertRow(t, db, "children", map[string]any{"id": 1, "parent_id": 1})
	insertRow(t, db, "children", map[string]any{"id": 2, "parent_id": nil})
	insertRow(t, db, "toys", map[string]any{"id": 1, "child_id": 1})
	heard := listen(t, db)
	mustTx(t, db, func(tx *sql.Tx) error { _, err := tx.Delete("parents", nil); return err })
	want := []string{
		`DELETE parents [{"id":1,"name":"ada","owner":null},null]`,
		`DELETE children [{"id":1,"note":null,"parent_id":1},null]`,
		`UPDATE toys [{"child_id":1,"id":1},{"child_id":null,"id":1}]`,
	}
	if got := heard.lines(); !slices.Equal(got, want) {
		t.Errorf("told:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestTruncateIsToldWithoutRows(t *testing.T) {
	db := seeded(t, familySeed)
	insertRow(t, db, "notes", map[string]any{"id": 1})
	heard := listen(t, db)
	mustTx(t, db, func(tx *sql.Tx) error { return tx.Truncate("public.notes") })
	if got := heard.lines(); !slices.Equal(got, []string{"TRUNCATE notes [null,null]"}) {
		t.Errorf("told %v", got)
	}
	if n := count(t, db, "notes"); n != 0 || sql.Bytes(db) != 0 {
		t.Errorf("%d rows and %d bytes remain", n, sql.Bytes(db))
	}
}

func TestTablesAreBounded(t *testing.T) {
	s, err := standin.ParseSeed(strings.NewReader(familySeed))
	if err != nil {
		t.Fatal(err)
	}
	db, err := s.NewDB(sql.Limits{MaxBytes: 10_000}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	add := func(name string, size int) error {
		return db.Tx(func(tx *sql.Tx) error {
			_, err := tx.Insert("parents", map[string]any{"name": name, "owner": strings.Repeat("x", size)})
			return err
		})
	}
	if err := add("a", 8000); err != nil {
		t.Fatal(err)
	}
	if code := codeOf(add("b", 8000)); code != "53100" {
		t.Errorf("a row too many gives %s, want 53100", code)
	}
	mustTx(t, db, func(tx *sql.Tx) error { _, err := tx.Delete("parents", nil); return err })
	if err := add("b", 8000); err != nil {
		t.Errorf("after a deletion: %v", err)
	}
}

func TestDeletedRowsLeaveNoGapsBehind(t *testing.T) {
	db := seeded(t, familySeed)
	for i := range 1000 {
		insertRow(t, db, "parents", map[string]any{"name": fmt.Sprint(i)})
		if i >= 10 {
			mustTx(t, db, func(tx *sql.Tx) error {
				_, err := tx.Delete("parents", map[string]any{"name": fmt.Sprint(i - 10)})
				return err
			})
		}
	}
	if places, rows := sql.Places(db, "public", "parents"); places > 200 || rows != 10 {
		t.Errorf("%d places for %d rows", places, rows)
	}
	mustTx(t, db, func(tx *sql.Tx) error {
		rows, err := tx.Select("parents", nil)
		for i, r := range rows {
			if want := fmt.Sprintf(`"%d"`, 990+i); string(r["name"]) != want {
				t.Errorf("row %d is %s, want %s", i, r["name"], want)
			}
		}
		return err
	})
}

func TestRowsAreVisibleByRule(t *testing.T) {
	db := seeded(t, familySeed)
	insertRow(t, db, "parents", map[string]any{"name": "ada", "owner": "red"})
	insertRow(t, db, "children", map[string]any{"id": 1, "parent_id": 1})
	team := func(role, sub, team string) sql.Claims {
		return sql.Claims{Role: role, Subject: sub, Raw: map[string]any{"sub": sub, "app_metadata": map[string]any{"team": team}}}
	}
	raw := func(text string) map[string]json.RawMessage {
		var row map[string]json.RawMessage
		if err := json.Unmarshal([]byte(text), &row); err != nil {
			t.Fatal(err)
		}
		return row
	}
	for _, c := range []struct {
		name   string
		claims sql.Claims
		table  string
		row    string
		want   bool
	}{
		{"own column", team("authenticated", "u", "red"), "parents", `{"owner":"red"}`, true},
		{"another's column", team("authenticated", "u", "blue"), "parents", `{"owner":"red"}`, false},
		{"by the second rule", team("authenticated", "red", "blue"), "parents", `{"owner":"red"}`, true},
		{"null in the row", team("authenticated", "u", "red"), "parents", `{"owner":null}`, false},
		{"column missing from the row", team("authenticated", "u", "red"), "parents", `{}`, false},
		{"no claim", sql.Claims{Role: "authenticated", Raw: map[string]any{}}, "parents", `{"owner":"red"}`, false},
		{"a role without rules", team("anon", "u", "red"), "parents", `{"owner":"red"}`, false},
		{"an unknown role", team("root", "u", "red"), "parents", `{"owner":"red"}`, false},
		{"service_role", sql.Claims{Role: "service_role"}, "parents", `{"owner":"red"}`, true},
		{"through the parent", team("authenticated", "u", "red"), "children", `{"id":9,"parent_id":1}`, true},
		{"through another's parent", team("authenticated", "u", "blue"), "children", `{"id":9,"parent_id":1}`, false},
		{"through a parent that isn't", team("authenticated", "u", "red"), "children", `{"id":9,"parent_id":2}`, false},
		{"through two parents", team("authenticated", "u", "red"), "toys", `{"id":9,"child_id":1}`, true},
		{"a table without row security", team("anon", "", ""), "notes", `{"id":9}`, true},
		{"a table that isn't", sql.Claims{Role: "service_role"}, "nobody", `{}`, false},
	} {
		if got := db.Visible(c.claims, "public", c.table, raw(c.row)); got != c.want {
			t.Errorf("%s: visible is %v", c.name, got)
		}
	}
}

// seeded makes the tables of a seed.
func seeded(t testing.TB, seed string) *sql.DB {
	t.Helper()
	s, err := standin.ParseSeed(strings.NewReader(seed))
	if err != nil {
		t.Fatal(err)
	}
	db, err := s.NewDB(sql.Limits{}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func TestFilterOnAKeyReadsOnlyItsRows(t *testing.T) {
	db := seeded(t, familySeed)
	mustTx(t, db, func(tx *sql.Tx) error {
		for i := range 1000 {
			if _, err := tx.Insert("parents", map[string]any{"name": fmt.Sprint(i)}); err != nil {
				return err
			}
			if _, err := tx.Insert("children", map[string]any{"id": i, "parent_id": 1 + i/10}); err != nil {
				return err
			}
		}
		return nil
	})
	is := func(column, op string, values ...string) sql.Condition {
		return sql.Condition{Field: sql.Field{Column: column}, Op: op, Values: values}
	}
	not := is("id", "eq", "500")
	not.Not = true
	for _, c := range []struct {
		name, table string
		filter      sql.Condition
		rows        int
	}{
		{"by the key", "parents", is("id", "eq", "500"), 1},
		{"by some of another key", "parents", is("name", "in", "1", "2", "3"), 3},
		{"by a foreign key", "children", is("parent_id", "eq", "7"), 10},
		{"and something else", "children",
			sql.Condition{Tree: "and", Children: []sql.Condition{is("id", "gt", "1"), is("parent_id", "eq", "7")}}, 10},
		{"not by the key", "parents", not, 1000},
		{"by either of two", "parents", sql.Condition{Tree: "or", Children: []sql.Condition{is("id", "eq", "1"), is("id", "eq", "2")}}, 1000},
	} {
		relation, ok := db.Relation(sql.Claims{Role: sql.RoleService}, "public", c.table)
		if !ok {
			t.Fatalf("there is no table %s", c.table)
		}
		bound, err := relation.Filter(c.filter)
		if err != nil {
			t.Fatal(err)
		}
		got := sql.Looks(db, "public", c.table, bound)
		if len(got) != c.rows {
			t.Errorf("%s: looks at %d rows of %s, want %d", c.name, len(got), c.table, c.rows)
		}
		if !slices.IsSorted(got) {
			t.Errorf("%s: the rows of %s aren't in the order of the table", c.name, c.table)
		}
	}
}

func TestReadersPassWhileListenersAreTold(t *testing.T) {
	db := seeded(t, familySeed)
	insertRow(t, db, "notes", map[string]any{"id": 1})
	entered, leave := make(chan struct{}), make(chan struct{})
	defer db.OnChange(func([]sql.Change) {
		close(entered)
		<-leave
	})()
	done := make(chan error)
	go func() {
		done <- db.Tx(func(tx *sql.Tx) error { _, err := tx.Insert("notes", map[string]any{"id": 2}); return err })
	}()
	<-entered
	if body, want := readNotes(t, db), `[{"id":1,"parent_id":null},{"id":2,"parent_id":null}]`; body != want {
		t.Errorf("read %s while a listener is told; want %s", body, want)
	}
	close(leave)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestReadersSeeWholeTransactions(t *testing.T) {
	db := seeded(t, familySeed)
	insertRow(t, db, "notes", map[string]any{"id": 50})
	insertRow(t, db, "notes", map[string]any{"id": -50})
	stop := make(chan struct{})
	var writer, readers sync.WaitGroup
	writer.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if err := db.Tx(func(tx *sql.Tx) error {
				if _, err := tx.Delete("notes", nil); err != nil {
					return err
				}
				if _, err := tx.Insert("notes", map[string]any{"id": i}); err != nil {
					return err
				}
				_, err := tx.Insert("notes", map[string]any{"id": -i})
				return err
			}); err != nil {
				t.Error(err)
			}
		}
	})
	for range 4 {
		readers.Go(func() {
			for range 200 {
				body := readNotes(t, db)
				var rows []struct{ ID int }
				err := json.Unmarshal([]byte(body), &rows)
				if err != nil || len(rows) != 2 || rows[0].ID+rows[1].ID != 0 {
					t.Errorf("a reader saw %s, %v", body, err)
					return
				}
			}
		})
	}
	readers.Wait()
	close(stop)
	writer.Wait()
}

// readNotes reads the table notes outside of any transaction.
func readNotes(t *testing.T, db *sql.DB) string {
	relation, ok := db.Relation(sql.Claims{Role: sql.RoleService}, "public", "notes")
	if !ok {
		t.Error("there is no table notes")
		return ""
	}
	out := []byte{'['}
	for i, r := range relation.Select(sql.All(nil)) {
		if i > 0 {
			out = append(out, ',')
		}
		out = relation.Everything().Append(out, r, false)
	}
	return string(append(out, ']'))
}
