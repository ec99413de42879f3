// Package sql is the database of the stand-in, in memory: tables with their types, keys and
// defaults, transactions that tell listeners what they changed, and the row security and grants
// that hold for the bearer of a token.
//
//	text, err := sql.ParseType("text", nil)
//	if err != nil {
//		return err
//	}
//	db, err := sql.New([]sql.TableDef{{
//		Schema: "public", Name: "notes", Columns: []sql.ColumnDef{{Name: "line", Type: text}},
//	}}, sql.Options{})
//	if err != nil {
//		return err
//	}
//	err = db.Tx(func(tx *sql.Tx) error {
//		_, err := tx.Insert("notes", map[string]any{"line": "hello"})
//		return err
//	})
//
// There are two ways to the rows. [DB.Tx] is the owner of the tables: row security doesn't hold for
// it. [DB.Relation] is a table as one bearer uses it: each statement on it is a transaction of its
// own, under row security, and it is how package rest reads and writes. The package knows nothing
// of HTTP: callers turn texts into a [Condition], a [Projection] and [OrderTerm]s, and the package
// binds them to columns.
//
// A DB owns its tables. One mutex guards rows and indexes: transactions take it alone, readers
// share it. A second one orders transactions together with the calls to listeners, so that those
// see commit order. Nobody outside of the package holds either, but functions that are handed to
// Tx, and to Insert, Update and Delete of a Relation, run while the first is held, and listeners
// while the second is. The package starts no goroutine.
package sql
