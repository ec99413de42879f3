package phxserver_test

import (
	"context"
	"fmt"
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/supabridge/supabridge/phoenix/phxserver"
)

func TestOneChannelTooManyIsRefused(t *testing.T) {
	inBed(t, phxserver.Options{Limits: phxserver.Limits{Channels: 2}}, func(b *bed) {
		c := b.connect(token("anon", ""))
		c.join("a", "")
		c.join("b", "")
		c.send(`["3","3","realtime:c","phx_join",{"config":{}}]`)
		c.expect(`["3","3","realtime:c","phx_reply",{"status":"error","response":{"reason":"ChannelRateLimitReached: Too many channels"}}]`)
		c.send(`["1","4","realtime:a","phx_leave",{}]`)
		c.next()
		c.next()
		c.join("c", "")
	})
}

func TestOneUserTooManyIsRefused(t *testing.T) {
	inBed(t, phxserver.Options{Limits: phxserver.Limits{Users: 1}}, func(b *bed) {
		idle := b.connect(token("anon", "")) // joined nothing: doesn't count
		c := b.connect(token("anon", ""))
		c.join("room", "")
		_, resp, err := b.handshake("2.0.0", token("anon", ""))
		if err == nil || resp.StatusCode != 429 {
			b.t.Fatalf("a second user: %v", err)
		}
		if body, _ := io.ReadAll(resp.Body); string(body) != `{"error":"Too many connected users"}` {
			b.t.Errorf("body %s", body)
		}
		idle.silent(time.Second)
	})
}

func TestJoinRateClosesSocket(t *testing.T) {
	inBed(t, phxserver.Options{Limits: phxserver.Limits{JoinsPerSecond: 3}}, func(b *bed) {
		c := b.connect(token("anon", ""))
		for i := range 50 {
			c.join(fmt.Sprint("r", i), "")
		}
		c.silent(5 * time.Second)
		c.send(`["9","9","realtime:late","phx_join",{"config":{}}]`)
		c.expect(`["9","9","realtime:late","phx_reply",{"status":"error","response":{"reason":"ClientJoinRateLimitReached: Too many joins per second"}}]`)
		if code := c.closed(); code != websocket.CloseGoingAway {
			b.t.Errorf("closed with %d, want 1001", code)
		}
		if _, resp, err := b.handshake("2.0.0", token("anon", "")); err == nil || resp.StatusCode != 429 {
			b.t.Errorf("a new socket: %v, want status 429", err)
		}
		<-time.After(time.Minute)
		b.connect(token("anon", "")).join("room", "")
	})
}

func TestChangeRateDropsWithoutAWord(t *testing.T) {
	inBed(t, phxserver.Options{Limits: phxserver.Limits{EventsPerSecond: 10}}, func(b *bed) {
		c := b.connect(token("service_role", ""))
		c.watch(`{"schema":"public","table":"notes"}`)
		for i := range 100 {
			b.project.commit(inserted(notes, i, "u1", "x"))
			c.change()
		}
		c.silent(5 * time.Second)
		b.project.commit(inserted(notes, 100, "u1", "lost"))
		c.silent(time.Minute)
		b.project.commit(inserted(notes, 101, "u1", "told"))
		if got := c.change(); !strings.Contains(string(got.Data.Record), "told") {
			b.t.Errorf("got %s", got.Data.Record)
		}
	})
}

// TestSlowClientIsCut uses real sockets, whose buffers are what a slow client fills.
func TestSlowClientIsCut(t *testing.T) {
	project := newProject()
	server := phxserver.NewServer(project, phxserver.Options{})
	web := httptest.NewServer(server)
	defer web.Close()
	defer func() {
		if err := server.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	ws, _, err := websocket.DefaultDialer.Dial(strings.Replace(web.URL, "http", "ws", 1)+"/?vsn=2.0.0&apikey="+token("service_role", ""), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.Close()
	if err := ws.WriteMessage(websocket.TextMessage, []byte(`["1","1","realtime:room","phx_join",{"config":{"postgres_changes":[{"schema":"public","table":"notes"}]}}]`)); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the answer and the subscription
		if _, _, err := ws.ReadMessage(); err != nil {
			t.Fatal(err)
		}
	}
	body := strings.Repeat("x", 1<<20)
	for i := range 100 { // far more than a socket's buffers and the queue hold
		project.commit(inserted(notes, i, "u1", body))
	}
	received := 0
	for {
		_, data, err := ws.ReadMessage()
		if err != nil {
			break
		}
		received += len(data)
	}
	if received >= 100<<20 {
		t.Errorf("the slow client got all %d bytes", received)
	}
}

func TestCloseSays1012AndLeavesNothing(t *testing.T) {
	server := phxserver.NewServer(newProject(), phxserver.Options{})
	web := httptest.NewServer(server)
	defer web.Close()
	dial := func() *client {
		ws, _, err := websocket.DefaultDialer.Dial(strings.Replace(web.URL, "http", "ws", 1)+"/?vsn=2.0.0&apikey="+token("anon", ""), nil)
		if err != nil {
			t.Fatal(err)
		}
		return newClient(t, ws)
	}
	joined, idle := dial(), dial()
	joined.join("room", "")
	idle.send(`[null,"1","phoenix","heartbeat",{}]`)
	idle.next()
	for range 2 { // the second has nothing left to do
		if err := server.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	if code := joined.closed(); code != websocket.CloseServiceRestart {
		t.Errorf("the joined socket was closed with %d, want 1012", code)
	}
	if code := idle.closed(); code != websocket.CloseAbnormalClosure {
		t.Errorf("the other socket was closed with %d, want none", code)
	}
}

func TestChurnLeavesNothingBehind(t *testing.T) {
	inBed(t, phxserver.Options{Timing: phxserver.Timing{Resubscribe: time.Second}}, func(b *bed) {
		for round := range 20 {
			c := b.connect(token("service_role", ""))
			for range 50 {
				c.join("room", `"presence":{"enabled":true},"postgres_changes":[{"schema":"public","table":"notes"}]`)
				c.send(`["1","2","realtime:room","presence",{"event":"track","payload":{}}]`)
				c.send(`["1","3","realtime:room","access_token",{"access_token":"` + token("service_role", "again") + `"}]`)
				c.settle()
				c.send(`["1","4","realtime:room","phx_leave",{}]`)
				c.settle()
			}
			if sockets, rooms, subscribed := b.server.Leftovers(); sockets != 1 || rooms != 0 || subscribed != 0 {
				b.t.Fatalf("round %d: %d sockets, %d rooms, %d subscriptions, want one socket and nothing else", round, sockets, rooms, subscribed)
			}
			c.join("room", `"postgres_changes":[{"schema":"public"}]`)
			c.ws.NetConn().Close()
			synctest.Wait()
			if sockets, rooms, subscribed := b.server.Leftovers(); sockets+rooms+subscribed != 0 {
				b.t.Fatalf("round %d, cut: %d sockets, %d rooms, %d subscriptions", round, sockets, rooms, subscribed)
			}
		}
	})
}
