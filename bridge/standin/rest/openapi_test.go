package rest_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/supabridge/supabridge/bridge/standin"
)

func TestTheDescriptionMarksPrimaryKeys(t *testing.T) {
	t.Parallel()
	seed, err := standin.ParseSeed(strings.NewReader(`
tables:
  rooms:
    columns: {id: uuid, name: text}
    primary_key: [id]
  lines:
    columns: {room: uuid, seq: int8, text: text}
    primary_key: [room, seq]
    foreign_keys:
      - {columns: [room], references: rooms}
  notes:
    columns: {id: int4}
`))
	if err != nil {
		t.Fatal(err)
	}
	s, err := standin.New(standin.Options{Seed: seed})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(t.Context())
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, "/rest/v1/", http.NoBody)
	r.Header.Set("apikey", s.ServiceKey())
	r.Header.Set("Accept", "application/openapi+json")
	s.Handler().ServeHTTP(w, r)
	var got struct {
		Definitions map[string]struct {
			Properties map[string]struct{ Description, Format string }
		}
	}
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusOK {
		t.Fatalf("status %d, %v: %s", w.Code, err, w.Body)
	}
	for table, want := range map[string][]string{"rooms": {"id"}, "lines": {"room", "seq"}, "notes": nil} {
		var keys []string
		for column, p := range got.Definitions[table].Properties {
			if strings.Contains(p.Description, "<pk/>") {
				keys = append(keys, column)
			}
		}
		slices.Sort(keys)
		if !slices.Equal(keys, want) {
			t.Errorf("%s has the key %q, want %q", table, keys, want)
		}
	}
	room := got.Definitions["lines"].Properties["room"]
	if want := "Note:\nThis is a Primary Key.<pk/>\nThis is a Foreign Key to `rooms.id`.<fk table='rooms' column='id'/>"; room.Description != want || room.Format != "uuid" {
		t.Errorf("room is %q of %q, want %q", room.Description, room.Format, want)
	}
}
