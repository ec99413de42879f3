package standin_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/supabridge/supabridge/phoenix"

	"github.com/supabridge/supabridge/bridge/standin"
)

// inbox is the default stand-in on a real port.
func inbox(t *testing.T) (*standin.Server, *httptest.Server) {
	t.Helper()
	s, err := standin.New(standin.Options{})
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(s.Handler())
	t.Cleanup(func() {
		web.Close()
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s, web
}

func TestFaultsOverHTTP(t *testing.T) {
	_, web := inbox(t)
	request := func(method, body string, header http.Header) (int, string) {
		t.Helper()
		req, err := http.NewRequest(method, web.URL+"/admin/faults", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		for name := range header {
			req.Header.Set(name, header.Get(name))
		}
		resp, err := web.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		answer, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, strings.TrimSpace(string(answer))
	}
	for _, test := range []struct {
		method, body string
		header       http.Header
		status       int
		answer       string
	}{
		{http.MethodPost, `{"action":"drop","event":"heartbeat","for":"1m"}`, nil, 200, `{"fault":{"action":"drop","event":"heartbeat","for":"1m0s"},"hits":0}`},
		{http.MethodGet, "", nil, 200, `[{"fault":{"action":"drop","event":"heartbeat","for":"1m0s"},"hits":0}]`},
		{http.MethodPost, `{"action":"cut"}`, nil, 200, `{"fault":{"action":"cut"},"hits":0}`},
		{http.MethodPost, `{"action":"cut","what":1}`, nil, 400, `{"error":"fault: json: unknown field \"what\""}`},
		{http.MethodPost, `{"action":"cut"}`, http.Header{"Origin": {"https://evil.example"}}, 403, `{"error":"faults are for this machine's command line only"}`},
		{http.MethodDelete, "", nil, 204, ""},
		{http.MethodGet, "", nil, 200, `[]`},
	} {
		if status, answer := request(test.method, test.body, test.header); status != test.status || answer != test.answer {
			t.Errorf("%s %s: %d %s, want %d %s", test.method, test.body, status, answer, test.status, test.answer)
		}
	}
}

func TestPublicationIsAlteredWhileSomebodyListens(t *testing.T) {
	s, web := inbox(t)
	client, err := phoenix.NewClient(web.URL, phoenix.Options{APIKey: s.ServiceKey()})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close(t.Context())
	ch, err := client.Channel("rows", phoenix.ChannelOptions{Changes: []phoenix.Binding{{Table: "messages"}}})
	if err != nil {
		t.Fatal(err)
	}
	alter := func(body string, want int) {
		t.Helper()
		resp, err := web.Client().Post(web.URL+"/admin/publication", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if answer, _ := io.ReadAll(resp.Body); resp.StatusCode != want {
			t.Errorf("%s: %d %s, want %d", body, resp.StatusCode, answer, want)
		}
	}
	for _, bad := range []string{``, `{}`, `{"table":"messages"}`, `{"table":"messages","published":1}`, `{"table":"messages","published":true,"x":1}`} {
		alter(bad, http.StatusBadRequest)
	}
	alter(`{"table":"nothing","published":true}`, http.StatusNotFound)
	if err := ch.Subscribe(t.Context()); err != nil {
		t.Fatal(err)
	}
	next := func() phoenix.Event { return <-ch.Events() }
	steps := []struct {
		alter string
		want  string
	}{
		{"", "[*phoenix.Joined *phoenix.Live]"},
		{`{"table":"public.users","published":false}`, "[*phoenix.Gap *phoenix.Live]"}, // another table: a gap all the same
		{`{"table":"public.messages","published":false}`, "[*phoenix.SystemError]"},    // its own: the subscription can't be made
	}
	for _, step := range steps {
		if step.alter != "" {
			alter(step.alter, http.StatusOK)
		}
		var got []string
		for range strings.Count(step.want, "*") {
			ev := next()
			got = append(got, fmt.Sprintf("%T", ev))
			if gap, ok := ev.(*phoenix.Gap); ok && gap.Reason != phoenix.GapResubscribed {
				t.Errorf("%+v", gap)
			}
			if e, ok := ev.(*phoenix.SystemError); ok && e.Class != phoenix.Permanent {
				t.Errorf("%+v", e)
			}
		}
		if fmt.Sprint(got) != step.want {
			t.Errorf("after %s came %v, want %s", step.alter, got, step.want)
		}
	}
	if err := ch.Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	// It is not healed by itself, but the next one works.
	alter(`{"table":"messages","published":true}`, http.StatusOK)
	ch, err = client.Channel("rows", phoenix.ChannelOptions{Changes: []phoenix.Binding{{Table: "messages"}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := ch.Subscribe(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := ch.Wait(t.Context(), phoenix.StageLive); err != nil {
		t.Error(err)
	}
}

func TestFaultsAreForThisMachineOnly(t *testing.T) {
	s, _ := inbox(t)
	for remote, want := range map[string]int{"192.0.2.1:5": 403, "127.0.0.1:5": 200, "[::1]:5": 200, "nonsense": 403} {
		req := httptest.NewRequest(http.MethodGet, "/admin/faults", nil)
		req.RemoteAddr = remote
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, req)
		if w.Code != want {
			t.Errorf("from %s: %d, want %d", remote, w.Code, want)
		}
	}
}
