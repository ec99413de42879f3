package standin

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
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

// told collects what a DB tells its listeners.
type told struct {
	mu      sync.Mutex
	batches [][]Change
}

func listen(t testing.TB, db *DB) *told {
	l := &told{}
	t.Cleanup(db.OnChange(func(c []Change) {
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
	if e := (*Error)(nil); errors.As(err, &e) {
		return e.Code
	}
	return fmt.Sprint(err)
}

func mustTx(t testing.TB, db *DB, fn func(tx *Tx) error) {
	t.Helper()
	if err := db.Tx(fn); err != nil {
		t.Fatal(err)
	}
}

func insertRow(t testing.TB, db *DB, table string, row map[string]any) {
	t.Helper()
	mustTx(t, db, func(tx *Tx) error { _, err := tx.Insert(table, row); return err })
}

func count(t testing.TB, db *DB, table string) int {
	t.Helper()
	n := 0
	mustTx(t, db, func(tx *Tx) error {
		rows, err := tx.Select(table, nil)
		n = len(rows)
		return err
	})
	return n
}

func TestCommittedTransactionIsToldWholeAndInOrder(t *testing.T) {
	db := seeded(t, familySeed)
	heard := listen(t, db)
	mustTx(t, db, func(tx *Tx) error {
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
	if !c.FullIdentity || !c.RLS || !c.Published || !slices.Equal(c.Key, []string{"id"}) || c.Columns[0] != (Column{"id", "int8"}) || c.Commit.IsZero() {
		t.Errorf("the change describes its table as %+v", c)
	}
}

func TestFailedTransactionLeavesNothing(t *testing.T) {
	for _, c := range []struct {
		name string
		code string
		fn   func(tx *Tx) error
	}{
		{"an error of the function", "no", func(tx *Tx) error { return errors.New("no") }},
		{"an error of a call", "23505", func(tx *Tx) error { _, err := tx.Insert("parents", map[string]any{"name": "ada"}); return err }},
		{"an error that the function passes over", "23502", func(tx *Tx) error {
			_, _ = tx.Insert("parents", map[string]any{"name": nil})
			return nil
		}},
		{"more calls after an error", "23503", func(tx *Tx) error {
			_, _ = tx.Insert("children", map[string]any{"id": 5, "parent_id": 99})
			if err := tx.Truncate("children"); codeOf(err) != "25P02" {
				t.Errorf("a call after a failed one: %v", err)
			}
			return nil
		}},
		{"an update of a key in use", "23503", func(tx *Tx) error {
			_, err := tx.Update("parents", map[string]any{"name": "ada"}, map[string]any{"id": 100})
			return err
		}},
		{"a deletion of a row in use", "23503", func(tx *Tx) error {
			if _, err := tx.Insert("notes", map[string]any{"id": 1, "parent_id": 1}); err != nil {
				return err
			}
			_, err := tx.Delete("parents", map[string]any{"name": "ada"})
			return err
		}},
		{"a truncation of a table in use", "0A000", func(tx *Tx) error { return tx.Truncate("parents") }},
		{"a table that isn't", "42P01", func(tx *Tx) error { _, err := tx.Select("nobody", nil); return err }},
		{"a column that isn't", "42703", func(tx *Tx) error { _, err := tx.Delete("parents", map[string]any{"nope": 1}); return err }},
	} {
		t.Run(c.name, func(t *testing.T) {
			db := seeded(t, familySeed)
			insertRow(t, db, "parents", map[string]any{"name": "ada"})
			insertRow(t, db, "children", map[string]any{"id": 1, "parent_id": 1})
			heard, size := listen(t, db), db.bytes
			err := db.Tx(func(tx *Tx) error {
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
			mustTx(t, db, func(tx *Tx) error {
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
			if db.bytes != size {
				t.Errorf("the tables are accounted for %d bytes, were %d", db.bytes, size)
			}
		})
	}
}

func TestPanicInTransactionTakesItBack(t *testing.T) {
	db := seeded(t, familySeed)
	func() {
		defer func() { _ = recover() }()
		_ = db.Tx(func(tx *Tx) error {
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
				if err := db.Tx(func(tx *Tx) error {
					_, err := tx.Insert("parents", map[string]any{"name": newUUID()})
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
	cancel := db.OnChange(func(c []Change) {
		calls++
		seen = db.Visible(Claims{Role: roleService}, "public", "parents", c[0].New)
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
	s, err := ParseSeed(strings.NewReader(familySeed))
	if err != nil {
		t.Fatal(err)
	}
	db, err := newDB(s, Limits{}, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	insertRow(t, db, "parents", map[string]any{"name": "ada"})
	now = now.Add(90 * time.Minute)
	mustTx(t, db, func(tx *Tx) error {
		_, err := tx.Update("parents", nil, map[string]any{"owner": "x", "updated_at": "2000-01-01"})
		return err
	})
	mustTx(t, db, func(tx *Tx) error {
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
	mustTx(t, db, func(tx *Tx) error { _, err := tx.Delete("parents", nil); return err })
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
	mustTx(t, db, func(tx *Tx) error { return tx.Truncate("public.notes") })
	if got := heard.lines(); !slices.Equal(got, []string{"TRUNCATE notes [null,null]"}) {
		t.Errorf("told %v", got)
	}
	if n := count(t, db, "notes"); n != 0 || db.bytes != 0 {
		t.Errorf("%d rows and %d bytes remain", n, db.bytes)
	}
}

func TestTablesAreBounded(t *testing.T) {
	s, err := ParseSeed(strings.NewReader(familySeed))
	if err != nil {
		t.Fatal(err)
	}
	db, err := newDB(s, Limits{MaxBytes: 10_000}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	add := func(name string, size int) error {
		return db.Tx(func(tx *Tx) error {
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
	mustTx(t, db, func(tx *Tx) error { _, err := tx.Delete("parents", nil); return err })
	if err := add("b", 8000); err != nil {
		t.Errorf("after a deletion: %v", err)
	}
}

func TestDeletedRowsLeaveNoGapsBehind(t *testing.T) {
	db := seeded(t, familySeed)
	for i := range 1000 {
		insertRow(t, db, "parents", map[string]any{"name": fmt.Sprint(i)})
		if i >= 10 {
			mustTx(t, db, func(tx *Tx) error {
				_, err := tx.Delete("parents", map[string]any{"name": fmt.Sprint(i - 10)})
				return err
			})
		}
	}
	parents := db.tables[tableName{"public", "parents"}]
	if len(parents.heap) > 200 || parents.live != 10 {
		t.Errorf("%d places for %d rows", len(parents.heap), parents.live)
	}
	mustTx(t, db, func(tx *Tx) error {
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
	team := func(role, sub, team string) Claims {
		return Claims{Role: role, Subject: sub, Raw: map[string]any{"sub": sub, "app_metadata": map[string]any{"team": team}}}
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
		claims Claims
		table  string
		row    string
		want   bool
	}{
		{"own column", team("authenticated", "u", "red"), "parents", `{"owner":"red"}`, true},
		{"another's column", team("authenticated", "u", "blue"), "parents", `{"owner":"red"}`, false},
		{"by the second rule", team("authenticated", "red", "blue"), "parents", `{"owner":"red"}`, true},
		{"null in the row", team("authenticated", "u", "red"), "parents", `{"owner":null}`, false},
		{"column missing from the row", team("authenticated", "u", "red"), "parents", `{}`, false},
		{"no claim", Claims{Role: "authenticated", Raw: map[string]any{}}, "parents", `{"owner":"red"}`, false},
		{"a role without rules", team("anon", "u", "red"), "parents", `{"owner":"red"}`, false},
		{"an unknown role", team("root", "u", "red"), "parents", `{"owner":"red"}`, false},
		{"service_role", Claims{Role: "service_role"}, "parents", `{"owner":"red"}`, true},
		{"through the parent", team("authenticated", "u", "red"), "children", `{"id":9,"parent_id":1}`, true},
		{"through another's parent", team("authenticated", "u", "blue"), "children", `{"id":9,"parent_id":1}`, false},
		{"through a parent that isn't", team("authenticated", "u", "red"), "children", `{"id":9,"parent_id":2}`, false},
		{"through two parents", team("authenticated", "u", "red"), "toys", `{"id":9,"child_id":1}`, true},
		{"a table without row security", team("anon", "", ""), "notes", `{"id":9}`, true},
		{"a table that isn't", Claims{Role: "service_role"}, "nobody", `{}`, false},
	} {
		if got := db.Visible(c.claims, "public", c.table, raw(c.row)); got != c.want {
			t.Errorf("%s: visible is %v", c.name, got)
		}
	}
}

func TestFilterOnAKeyReadsOnlyItsRows(t *testing.T) {
	db := seeded(t, familySeed)
	mustTx(t, db, func(tx *Tx) error {
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
	for _, c := range []struct {
		table, filter string
		rows          int
	}{
		{"parents", "id=eq.500", 1}, {"parents", "name=in.(1,2,3)", 3}, {"children", "parent_id=eq.7", 10}, {"children", "and=(id.gt.1,parent_id.eq.7)", 10},
		{"parents", "id=not.eq.500", 1000}, {"parents", "or=(id.eq.1,id.eq.2)", 1000},
	} {
		table := db.tables[tableName{"public", c.table}]
		name, text, _ := strings.Cut(c.filter, "=")
		cond, err := parseParameter(name, text)
		if err != nil {
			t.Fatal(err)
		}
		bound, err := table.bind(cond)
		if err != nil {
			t.Fatal(err)
		}
		got := table.rowsWith(func(column int) ([]value, bool) { vs, ok := bound.known[column]; return vs, ok })
		if len(got) != c.rows {
			t.Errorf("%s?%s looks at %d rows, want %d", c.table, c.filter, len(got), c.rows)
		}
		if !slices.IsSortedFunc(got, byPosition) {
			t.Errorf("%s?%s: the rows aren't in the order of the table", c.table, c.filter)
		}
	}
}

func TestReadersPassWhileListenersAreTold(t *testing.T) {
	db := seeded(t, familySeed)
	insertRow(t, db, "notes", map[string]any{"id": 1})
	entered, leave := make(chan struct{}), make(chan struct{})
	defer db.OnChange(func([]Change) {
		close(entered)
		<-leave
	})()
	done := make(chan error)
	go func() {
		done <- db.Tx(func(tx *Tx) error { _, err := tx.Insert("notes", map[string]any{"id": 2}); return err })
	}()
	<-entered
	call := restCall{db: db, table: db.tables[tableName{"public", "notes"}], claims: Claims{Role: roleService}, maxRows: 10, header: map[string][]string{}}
	status, body, err := call.read(nil)
	if want := "[{\"id\":1,\"parent_id\":null}, \n {\"id\":2,\"parent_id\":null}]"; err != nil || status != 200 || string(body) != want {
		t.Errorf("read %d %s, %v while a listener is told; want %s", status, body, err, want)
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
			if err := db.Tx(func(tx *Tx) error {
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
				call := restCall{db: db, table: db.tables[tableName{"public", "notes"}], claims: Claims{Role: roleService}, maxRows: 10, header: map[string][]string{}}
				_, body, err := call.read(nil)
				var rows []struct{ ID int }
				if err == nil {
					err = json.Unmarshal(body, &rows)
				}
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
