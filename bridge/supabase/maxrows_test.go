package supabase_test

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"testing"

	"github.com/supabridge/supabridge/bridge/row"
	"github.com/supabridge/supabridge/bridge/standin"
	"github.com/supabridge/supabridge/bridge/supabase"
)

// A project whose max rows is lower than the pages asked for answers with short pages.
func TestEveryRowIsOnAPageWhateverTheProjectsMaxRows(t *testing.T) {
	t.Parallel()
	for _, maxRows := range []int{1, 7, 100, 150, 1000} {
		t.Run(fmt.Sprint(maxRows), func(t *testing.T) {
			t.Parallel()
			project, err := standin.New(standin.Options{MaxRows: maxRows})
			if err != nil {
				t.Fatal(err)
			}
			defer project.Close(t.Context())
			if err := project.DB().Tx(func(tx *standin.Tx) error {
				for i := range 300 {
					if _, err := tx.Insert("messages", map[string]any{
						"conversation_id": "c1000000-0000-4000-8000-000000000001", "content": fmt.Sprint(i),
					}); err != nil {
						return err
					}
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			server := httptest.NewServer(project.Handler())
			defer server.Close()
			client, err := supabase.New(server.URL, project.ServiceKey(), supabase.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			page := supabase.Page{Table: "messages", Column: "created_at", Key: "id", From: "2000-01-01T00:00:00+00:00"}
			seen, pages := map[string]bool{}, 0
			for more := true; more; pages++ {
				var records []json.RawMessage
				if records, more, err = client.Rows(t.Context(), page); err != nil {
					t.Fatal(err)
				}
				for _, record := range records {
					r, err := row.Parse(record)
					if err != nil {
						t.Fatal(err)
					}
					if key := r.Text("id"); seen[key] {
						t.Errorf("row %s came twice", key)
					} else {
						seen[key] = true
					}
					page.AfterValue, page.AfterKey = r.Text("created_at"), r.Text("id")
				}
			}
			var total int
			if err := project.DB().Tx(func(tx *standin.Tx) error {
				rows, err := tx.Select("messages", nil)
				total = len(rows)
				return err
			}); err != nil {
				t.Fatal(err)
			}
			if len(seen) != total || total < 300 {
				t.Errorf("max rows %d: %d rows of %d came", maxRows, len(seen), total)
			}
			if maxRows >= total && pages != 1 {
				t.Errorf("max rows %d: %d requests for %d rows, want 1: the count says that there are no more", maxRows, pages, total)
			}
		})
	}
}
