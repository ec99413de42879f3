package phoenix_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/supabridge/supabridge/phoenix"
)

// Follow a table and keep track of where rows may be missing.
func ExampleClient() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	client, err := phoenix.NewClient("http://127.0.0.1:54321", phoenix.Options{APIKey: "service role key"})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close(ctx)

	inbox, err := client.Channel("inbox", phoenix.ChannelOptions{
		Changes: []phoenix.Binding{{
			Event: phoenix.Insert, Schema: "public", Table: "messages",
			Filter: phoenix.In("status", "queued", "sent"),
		}},
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := inbox.Subscribe(ctx); err != nil {
		log.Fatal(err)
	}

	var since time.Time // rows before it are known
	for ev := range inbox.Events() {
		switch ev := ev.(type) {
		case *phoenix.Gap:
			since = ev.Since
		case *phoenix.Live:
			fmt.Println("re-read rows from", since, "on")
		case *phoenix.Change:
			row, err := phoenix.DecodeRow[struct {
				ID   int64  `json:"id"`
				Body string `json:"body"`
			}](ev.Record)
			if err != nil {
				log.Print(err)
				continue
			}
			fmt.Println(ev.Type, row.ID, row.Body)
		case *phoenix.Retrying:
			log.Printf("not connected: %v (again in %s)", ev.Err, ev.Delay)
		case *phoenix.Closed:
			return
		}
	}
}
