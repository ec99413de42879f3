package sample

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/supabridge/supabridge/socketio"
)

// newRoom starts a Socket.IO server that puts down who says what; an empty token is refused.
func newRoom(t *testing.T) (url string, said <-chan string, sockets <-chan *socketio.Socket) {
	t.Helper()
	heard, arrived := make(chan string, 100), make(chan *socketio.Socket, 10)
	server := socketio.NewServer(socketio.Options{})
	server.Use(func(s *socketio.Socket) error {
		if string(s.Handshake().Auth) == `{"token":""}` {
			return errors.New("no token")
		}
		return nil
	})
	server.OnConnection(func(s *socketio.Socket) {
		heard <- "connect " + string(s.Handshake().Auth)
		s.OnAny(func(e *socketio.Event) { heard <- fmt.Sprintf("%s %s", e.Name, e.Args[0]) })
		s.OnDisconnect(func(string) { heard <- "disconnect" })
		arrived <- s
	})
	web := httptest.NewServer(server)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		web.Close()
	})
	return web.URL, heard, arrived
}

func expect(t *testing.T, said <-chan string, want ...string) {
	t.Helper()
	for _, w := range want {
		select {
		case got := <-said:
			if got != w {
				t.Fatalf("the server heard %q, want %q", got, w)
			}
		case <-time.After(5 * time.Second):
			t.Fatalf("the server heard nothing, want %q", w)
		}
	}
}

func TestColleagueArrivesTypesAndLeaves(t *testing.T) {
	url, said, _ := newRoom(t)
	c := newColleague(url, User{ID: "u", Name: "Carla", Tenant: "t", Token: "secret"}, nil)
	defer c.close()
	for range 2 { // the second arrival finds the first one standing
		if err := c.arrive(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.startTyping("c"); err != nil {
		t.Fatal(err)
	}
	if err := c.stopTyping("c"); err != nil {
		t.Fatal(err)
	}
	expect(t, said, `connect {"token":"secret"}`, `join_distributor {"distributorId":"t"}`, `join_conversation {"conversationId":"c"}`,
		`typing_start {"conversationId":"c"}`, `typing_stop {"conversationId":"c"}`, `leave_conversation {"conversationId":"c"}`)
	c.close()
	expect(t, said, "disconnect")
}

func TestColleagueReturnsWithAFreshTokenAfterADisconnect(t *testing.T) {
	url, said, sockets := newRoom(t)
	made := 0
	c := newColleague(url, User{ID: "u", Name: "Carla", Tenant: "t"}, func(id string) (string, error) {
		made++
		return fmt.Sprintf("%s-%d", id, made), nil
	})
	defer c.close()
	if err := c.arrive(t.Context()); err != nil {
		t.Fatal(err)
	}
	expect(t, said, `connect {"token":"u-1"}`, `join_distributor {"distributorId":"t"}`)
	(<-sockets).Disconnect(true)
	expect(t, said, "disconnect")
	<-c.gone
	if err := c.arrive(t.Context()); err != nil {
		t.Fatal(err)
	}
	expect(t, said, `connect {"token":"u-2"}`, `join_distributor {"distributorId":"t"}`)
}

func TestColleagueIsRefused(t *testing.T) {
	url, _, _ := newRoom(t)
	refused := newColleague(url, User{Name: "Carla"}, nil)
	defer refused.close()
	err := refused.arrive(t.Context())
	if err == nil || !strings.Contains(err.Error(), "connecting Carla to the bridge: the token was refused") {
		t.Errorf("arriving without a token: %v, want a refusal", err)
	}
	tokenless := newColleague(url, User{Name: "Carla"}, func(string) (string, error) { return "", errors.New("no such user") })
	if err := tokenless.arrive(t.Context()); err == nil || !strings.Contains(err.Error(), "no such user") {
		t.Errorf("arriving when no token can be had: %v, want its cause", err)
	}
}

func TestColleagueTypesBeforeAnswering(t *testing.T) {
	url, said, _ := newRoom(t)
	_, o := newProject(t)
	o.SocketURL = url
	o.Users = o.Users[:2] // one tenant
	o.Token = func(string) (string, error) { return "secret", nil }
	tr := newTestTraffic(t, o)
	conversation := fmt.Sprintf(`{"conversationId":%q}`, "c1000000-0000-4000-8000-000000000001")

	tr.steps(t, 3) // a reply to a message of the seed, the customer's line, then typing
	expect(t, said, `connect {"token":"secret"}`, fmt.Sprintf(`join_distributor {"distributorId":%q}`, o.Users[0].Tenant),
		"join_conversation "+conversation, "typing_start "+conversation)
	if n := len(tr.ours); n != 0 {
		t.Errorf("%d answers while typing, want none", n)
	}
	tr.steps(t, 1)
	expect(t, said, "typing_stop "+conversation, "leave_conversation "+conversation)
	if n := len(tr.ours); n != 1 {
		t.Errorf("%d answers after typing, want 1", n)
	}
}
