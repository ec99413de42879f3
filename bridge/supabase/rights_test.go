package supabase_test

import (
	"fmt"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/supabridge/supabridge/bridge/standin"
	"github.com/supabridge/supabridge/bridge/supabase"
)

// An answer about many rooms that a project's max rows cuts off is not taken for a no.
func TestEveryRoomIsAnsweredForWhateverTheProjectsMaxRows(t *testing.T) {
	t.Parallel()
	for _, maxRows := range []int{1, 2, 1000} {
		t.Run(fmt.Sprint(maxRows), func(t *testing.T) {
			t.Parallel()
			project, err := standin.New(standin.Options{MaxRows: maxRows})
			if err != nil {
				t.Fatal(err)
			}
			defer project.Close(t.Context())
			server := httptest.NewServer(project.Handler())
			defer server.Close()
			client, err := supabase.New(server.URL, project.ServiceKey(), supabase.Options{AnonKey: project.AnonKey()})
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			const ana = "a1000000-0000-4000-8000-000000000001"
			token, err := project.UserToken(ana)
			if err != nil {
				t.Fatal(err)
			}
			own := []string{"c1000000-0000-4000-8000-000000000001", "c1000000-0000-4000-8000-000000000002",
				"c1000000-0000-4000-8000-000000000003"}
			asked := append(slices.Clone(own), "c2000000-0000-4000-8000-000000000001", "c9000000-0000-4000-8000-000000000009")
			got, err := client.VisibleTo(t.Context(), token, "conversations", "id", asked)
			slices.Sort(got)
			if err != nil || !slices.Equal(got, own) {
				t.Errorf("max rows %d: visible %v (%v), want %v", maxRows, got, err, own)
			}
			// The stand-in's conversations stand for a table that joins users with rooms.
			got, err = client.RoomsOf(t.Context(), supabase.Member{Table: "conversations", User: "distributor_id", Room: "id"},
				"d1000000-0000-4000-8000-000000000001", asked)
			slices.Sort(got)
			if err != nil || !slices.Equal(got, own) {
				t.Errorf("max rows %d: member of %v (%v), want %v", maxRows, got, err, own)
			}
			rows, err := client.RowsByKey(t.Context(), "conversations", "id", append(asked, "temp-1", "17", "", "\x00"))
			if err != nil || len(rows) != 4 {
				t.Errorf("max rows %d: %d rows (%v), want the 4 that there are", maxRows, len(rows), err)
			}
		})
	}
}
