// Package migration writes the SQL that has a database broadcast the changes of an application's
// tables, so that they arrive within milliseconds instead of at the next poll of postgres_changes,
// and deletes with their whole row.
//
//	err := migration.Write(os.Stdout, migration.Options{Schema: "public", Tables: []migration.Table{{Name: "messages", Key: "id", Updated: "updated_at"}}})
//
// It starts no goroutine and connects to nothing: whoever runs the database reads the SQL and
// applies it.
package migration

import (
	_ "embed" // the templates
	"errors"
	"fmt"
	"io"
	"strings"
	"text/template"
)

// Topic begins the name of the private channel that the triggers broadcast on, without "realtime:".
// In a database that the migration was applied to, the rest of the name is random and stays there;
// see Lane. It is one channel for all tables, so that changes of different tables keep the order of
// their commits.
const Topic = "supabridge:lane"

// Table is a table that gets a trigger.
type Table struct {
	Name string
	// Key is the column of the primary key, Updated that of the time of the last change. With both, an
	// index on (Updated, Key) is added, by which missed rows are read.
	Key, Updated string
}

// Options say what the migration is for.
type Options struct {
	// Schema is that of the tables.
	Schema string
	// Tables may not be empty, nor have a table twice.
	Tables []Table
}

//go:embed apply.sql.tmpl
var applyText string

//go:embed undo.sql.tmpl
var undoText string

var functions = template.FuncMap{
	"facts":   factsText,
	"name":    quoteName,
	"text":    quoteText,
	"comment": func(s string) string { return strings.Map(printable, s) },
	"index": func(t Table) string {
		return quoteName(cut("supabridge_" + t.Name + "_cursor"))
	},
}

var (
	apply = template.Must(template.New("apply").Funcs(functions).Parse(applyText))
	undo  = template.Must(template.New("undo").Funcs(functions).Parse(undoText))
)

// Write writes the migration. It can be applied again, also after tables were added to it.
func Write(w io.Writer, o Options) error { return write(w, apply, o) }

// WriteUndo writes what takes the migration back, and leaves no trace of it.
func WriteUndo(w io.Writer, o Options) error { return write(w, undo, o) }

var errNoTable = errors.New("migration: no table is named")

func write(w io.Writer, t *template.Template, o Options) error {
	if o.Schema == "" || len(o.Tables) == 0 {
		return errNoTable
	}
	names := []string{o.Schema}
	for i, table := range o.Tables {
		if table.Name == "" || table.Key == "" {
			return errNoTable
		}
		for _, other := range o.Tables[:i] {
			if other.Name == table.Name {
				return fmt.Errorf("migration: table %q is named twice", table.Name)
			}
		}
		names = append(names, table.Name, table.Key, table.Updated)
	}
	for _, name := range names {
		if strings.ContainsRune(name, 0) {
			return fmt.Errorf("migration: %q can't be a name in PostgreSQL", name)
		}
	}
	if err := t.Execute(w, struct {
		Options
		Topic string
	}{o, Topic}); err != nil {
		return fmt.Errorf("migration: %w", err)
	}
	return nil
}

// quoteName quotes an identifier.
func quoteName(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// quoteText quotes a string, whatever standard_conforming_strings says.
func quoteText(text string) string {
	quoted := "'" + strings.ReplaceAll(text, "'", "''") + "'"
	if strings.Contains(text, `\`) {
		return "E" + strings.ReplaceAll(quoted, `\`, `\\`)
	}
	return quoted
}

// printable keeps a name on its line of a comment.
func printable(r rune) rune {
	if r < ' ' {
		return ' '
	}
	return r
}

// maxName is the longest identifier in PostgreSQL, in bytes; it cuts what is longer.
const maxName = 63

func cut(name string) string {
	if len(name) > maxName {
		name = strings.ToValidUTF8(name[:maxName], "")
	}
	return name
}
