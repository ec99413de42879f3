package migration

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var update = flag.Bool("update", false, "write the golden files anew")

var inbox = Options{Schema: "public", Tables: []Table{
	{Name: "messages", Key: "id", Updated: "updated_at"},
	{Name: "conversations", Key: "id", Updated: "updated_at"},
}}

// awkward has names that must be quoted, and that try to get out of the quotes.
var awkward = Options{Schema: `My "Schema"`, Tables: []Table{
	{Name: "Order\n; drop table x; --", Key: `i"d`, Updated: "when"},
	{Name: "bare", Key: "id"},
}}

func TestTheMigrationIsWhatWasReviewed(t *testing.T) {
	for name, o := range map[string]Options{"inbox": inbox, "awkward": awkward} {
		for kind, write := range map[string]func(*bytes.Buffer) error{
			"apply": func(b *bytes.Buffer) error { return Write(b, o) },
			"undo":  func(b *bytes.Buffer) error { return WriteUndo(b, o) },
		} {
			var got bytes.Buffer
			if err := write(&got); err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", name+"."+kind+".sql")
			if *update {
				if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Bytes(), want) {
				t.Errorf("%s differs:\n%s", golden, got.String())
			}
		}
	}
}

func TestWhatCantBeMigratedIsRefused(t *testing.T) {
	for name, o := range map[string]Options{
		"no table": {Schema: "public"}, "no schema": {Tables: inbox.Tables},
		"no key": {Schema: "public", Tables: []Table{{Name: "a"}}},
		"twice":  {Schema: "public", Tables: []Table{{Name: "a", Key: "id"}, {Name: "a", Key: "id"}}},
		"a zero": {Schema: "public", Tables: []Table{{Name: "a\x00", Key: "id"}}},
	} {
		var b bytes.Buffer
		if err := Write(&b, o); err == nil || b.Len() > 0 {
			t.Errorf("%s: %v, and %d bytes written", name, err, b.Len())
		}
	}
}

func FuzzNamesStayInTheirQuotes(f *testing.F) {
	f.Add("messages")
	f.Add(`a"; drop table b; --`)
	f.Fuzz(func(t *testing.T, name string) {
		quoted := quoteName(name)
		inner := quoted[1 : len(quoted)-1]
		if strings.Contains(strings.ReplaceAll(inner, `""`, ""), `"`) || strings.ReplaceAll(inner, `""`, `"`) != name && !strings.Contains(name, `""`) {
			t.Errorf("%q became %s", name, quoted)
		}
	})
}
