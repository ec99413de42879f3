package standin_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/supabridge/supabridge/bridge/standin"
)

// A Supabase for a test: one table, one row written from Go, read over REST.
func Example() {
	seed, err := standin.ParseSeed(strings.NewReader(`
tables:
  greetings:
    columns:
      id: {type: int8, identity: true}
      words: {type: text, not_null: true}
    primary_key: [id]
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	supabase, err := standin.New(standin.Options{Seed: seed})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer supabase.Close(context.Background())
	server := httptest.NewServer(supabase.Handler())
	defer server.Close()

	cancel := supabase.DB().OnChange(func(changes []standin.Change) {
		fmt.Printf("%s %s %s\n", changes[0].Type, changes[0].Table, changes[0].New["words"])
	})
	defer cancel()
	err = supabase.DB().Tx(func(tx *standin.Tx) error {
		_, err := tx.Insert("greetings", map[string]any{"words": "hello"})
		return err
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	answer, err := http.Get(server.URL + "/rest/v1/greetings?apikey=" + supabase.ServiceKey())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(answer.Status, string(body))
	// Output:
	// INSERT greetings "hello"
	// 200 OK [{"id":1,"words":"hello"}]
}
