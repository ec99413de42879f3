package phoenix_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/supabridge/supabridge/phoenix"
)

// Follow a table, and notice where rows may be missing.
func ExampleClient() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	project := startProject() // such as https://ref.supabase.co
	defer project.Close()

	client, err := phoenix.NewClient(project.URL, phoenix.Options{APIKey: "service role key"})
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

	for ev := range inbox.Events() {
		switch ev := ev.(type) {
		case *phoenix.Gap:
			fmt.Println("rows may be missing since", ev.Since)
		case *phoenix.Live:
			fmt.Println("live: re-read what came before")
		case *phoenix.Change:
			row, err := phoenix.DecodeRow[struct {
				ID   int64  `json:"id"`
				Body string `json:"body"`
			}](ev.Record)
			if err != nil {
				log.Fatal(err)
			}
			fmt.Println(ev.Type, ev.Table, row.ID, row.Body)
			go inbox.Leave(ctx)
		case *phoenix.Retrying:
			log.Printf("not connected: %v (again in %s)", ev.Err, ev.Delay)
		case *phoenix.Closed:
			fmt.Println("closed:", ev.Err)
		}
	}
	// Output:
	// live: re-read what came before
	// INSERT messages 9007199254740993 hello
	// closed: <nil>
}

// Talk to other clients, with the server's word that it took the message.
func ExampleChannel_SendAck() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	project := startProject()
	defer project.Close()

	client, err := phoenix.NewClient(project.URL, phoenix.Options{APIKey: "publishable key"})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close(ctx)
	room, err := client.Channel("room", phoenix.ChannelOptions{
		Broadcast: phoenix.BroadcastOptions{Ack: true},
		Token:     func(ctx context.Context) (string, error) { return "the user's access token", nil },
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := room.Subscribe(ctx); err != nil {
		log.Fatal(err)
	}
	if err := room.Wait(ctx, phoenix.StageLive); err != nil {
		log.Fatal(err)
	}
	fmt.Println(room.SendAck(ctx, "typing", map[string]bool{"on": true}))
	// Output: <nil>
}

func ExampleAnd() {
	fmt.Println(phoenix.And(
		phoenix.Eq("room_id", 7),
		phoenix.Not(phoenix.In("status", "draft", "read, twice")),
		phoenix.Is("deleted_at", nil),
	))
	// Output: room_id=eq.7,status=not.in.(draft,"read, twice"),deleted_at=is.null
}
