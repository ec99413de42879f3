package phoenix_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/http/httptest"
	"sync"
	"time"

	"github.com/supabridge/supabridge/phoenix"
	"github.com/supabridge/supabridge/phoenix/phxserver"
)

type note struct {
	ID   int64     `json:"id"`
	Body string    `json:"body"`
	At   time.Time `json:"at"`
}

// Follow a table through outages: every row once, whatever becomes of the connection.
func Example_follow() {
	db := openDatabase() // stands for a Supabase project
	defer db.close()
	db.insert("written before")

	client, err := phoenix.NewClient("", phoenix.Options{APIKey: "service role key", Endpoint: db.url})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close(context.Background())
	ch, err := client.Channel("notes", phoenix.ChannelOptions{
		Changes: []phoenix.Binding{{Event: phoenix.Insert, Table: "notes"}},
	})
	if err != nil {
		log.Fatal(err)
	}

	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	seen := make(map[int64]bool)
	handle := func(n note) {
		if seen[n.ID] {
			return
		}
		seen[n.ID] = true
		fmt.Println(n.Body)
		switch n.Body { // the story goes on
		case "written before":
			db.insert("live")
		case "live":
			db.cut()
			db.insert("written during the outage")
		case "written during the outage":
			stop()
		}
	}
	for ev := range ch.Follow(ctx) {
		switch ev := ev.(type) {
		case *phoenix.Live:
			for _, n := range db.since(ev.Since.Add(-time.Minute)) { // by REST; a minute for late commits
				handle(n)
			}
		case *phoenix.Change:
			n, err := phoenix.DecodeRow[note](ev.Record)
			if err != nil {
				log.Fatal(err)
			}
			handle(n)
		}
	}
	// Output:
	// written before
	// live
	// written during the outage
}

// database is a project with one table, on this package's own server.
type database struct {
	url  string
	http *httptest.Server
	rt   *phxserver.Server

	mu    sync.Mutex // guards the rest
	rows  []note
	watch func([]phxserver.Change)
}

func openDatabase() *database {
	db := &database{}
	db.rt = phxserver.NewServer(db, phxserver.Options{})
	db.http = httptest.NewServer(db.rt)
	db.url = db.http.URL
	return db
}

func (db *database) close() {
	db.rt.Close(context.Background())
	db.http.Close()
}

// cut ends every connection without a word.
func (db *database) cut() { db.rt.Inject(phxserver.Fault{Action: phxserver.Cut}) }

func (db *database) insert(body string) {
	db.mu.Lock()
	defer db.mu.Unlock()
	n := note{ID: int64(len(db.rows) + 1), Body: body, At: time.Now()}
	db.rows = append(db.rows, n)
	var row map[string]json.RawMessage
	text, _ := json.Marshal(n)
	json.Unmarshal(text, &row)
	if db.watch != nil {
		db.watch([]phxserver.Change{{Type: "INSERT", Table: notesTable, Commit: n.At, New: row}})
	}
}

func (db *database) since(at time.Time) (found []note) {
	db.mu.Lock()
	defer db.mu.Unlock()
	for _, n := range db.rows {
		if n.At.After(at) {
			found = append(found, n)
		}
	}
	return found
}

var notesTable = phxserver.Table{Schema: "public", Name: "notes", Key: []string{"id"},
	Columns: []phxserver.Column{{Name: "id", Type: "int8"}, {Name: "body", Type: "text"}, {Name: "at", Type: "timestamptz"}}}

func (db *database) Connect(ctx context.Context, h phxserver.Handshake) (phxserver.Claims, error) {
	return db.Verify(ctx, h.APIKey)
}

func (db *database) Verify(context.Context, string) (phxserver.Claims, error) {
	return phxserver.Claims{Role: "service_role", Expires: time.Now().Add(time.Hour)}, nil
}

func (db *database) Authorize(context.Context, phxserver.Claims, string) (phxserver.Access, error) {
	return phxserver.Access{}, nil
}

func (db *database) Tables(context.Context, phxserver.Claims, string, string) ([]phxserver.Table, error) {
	return []phxserver.Table{notesTable}, nil
}

func (db *database) Watch(fn func([]phxserver.Change)) func() {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.watch = fn
	return func() {
		db.mu.Lock()
		defer db.mu.Unlock()
		db.watch = nil
	}
}

func (db *database) Visible(phxserver.Claims, string, string, map[string]json.RawMessage) bool {
	return true
}
