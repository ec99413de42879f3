package phoenix

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestPublishSpeaksTheRESTFormsOfBroadcast(t *testing.T) {
	type request struct{ path, contentType, auth, apikey, body string }
	got := make(chan request, 1)
	status, answer := http.StatusAccepted, ""
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- request{r.URL.RequestURI(), r.Header.Get("Content-Type"), r.Header.Get("Authorization"), r.Header.Get("apikey"), string(body)}
		w.WriteHeader(status)
		w.Write([]byte(answer))
	}))
	defer srv.Close()
	c, err := NewClient(srv.URL, Options{APIKey: "a.b.c", HTTPClient: srv.Client()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context())

	payload := map[string]int{"a": 1}
	if err := c.Publish(t.Context(), "", Publication{Topic: "room", Event: "e", Payload: payload, ID: "7"}, Publication{Topic: "two", Event: "f", Payload: payload, Private: true}); err != nil {
		t.Error(err)
	}
	if r, want := <-got, (request{"/realtime/v1/api/broadcast", "application/json", "Bearer a.b.c", "a.b.c",
		`{"messages":[{"topic":"room","event":"e","payload":{"a":1},"private":false,"id":"7"},{"topic":"two","event":"f","payload":{"a":1},"private":true}]}`}); r != want {
		t.Errorf("batch\n%+v\nwant\n%+v", r, want)
	}
	if err := c.PublishOne(t.Context(), "user", Publication{Topic: "a/b", Event: "é", Payload: []byte{0, 255}, Private: true}); err != nil {
		t.Error(err)
	}
	if r, want := <-got, (request{"/realtime/v1/api/broadcast/a%2Fb/events/%C3%A9?private=true", "application/octet-stream", "Bearer user", "a.b.c", "\x00\xff"}); r != want {
		t.Errorf("single\n%+v\nwant\n%+v", r, want)
	}
	for _, tt := range []struct {
		status int
		answer string
		class  Class
		is     error
	}{
		{401, `{"message":"Unauthorized"}`, Token, nil},
		{403, `{"message":"Tenant is suspended"}`, Permanent, nil},
		{404, ``, Permanent, nil},
		{422, `{"errors":{"messages":[{"payload":["Payload size exceeds tenant limit"]}]}}`, Permanent, ErrPayloadTooLarge},
		{422, `{"message":"Query was cancelled, please try again"}`, Retry, nil},
		{429, `{"message":"Too many requests"}`, Slow, nil},
		{500, `{"message":"x"}`, Retry, nil},
	} {
		status, answer = tt.status, tt.answer
		err := c.PublishOne(t.Context(), "", Publication{Topic: "t", Event: "e", Payload: payload})
		<-got
		var e *Error
		if !errors.As(err, &e) || e.Op != OpRequest || e.Status != tt.status || e.Class != tt.class || tt.is != nil && !errors.Is(err, tt.is) {
			t.Errorf("%d %s: %v (%s), want class %s", tt.status, tt.answer, err, ClassOf(err), tt.class)
		}
	}
}

func TestEndpointsAreDerived(t *testing.T) {
	for _, tt := range []struct{ base, endpoint, socket, rest string }{
		{"https://ref.supabase.co", "", "wss://ref.supabase.co/realtime/v1/websocket?apikey=k&vsn=2.0.0", "https://ref.supabase.co/realtime/v1/api"},
		{"http://127.0.0.1:54321/", "", "ws://127.0.0.1:54321/realtime/v1/websocket?apikey=k&vsn=2.0.0", "http://127.0.0.1:54321/realtime/v1/api"},
		{"https://proxy.example/supabase", "", "wss://proxy.example/supabase/realtime/v1/websocket?apikey=k&vsn=2.0.0", "https://proxy.example/supabase/realtime/v1/api"},
		{"", "ws://t.localhost:4000/socket/websocket", "ws://t.localhost:4000/socket/websocket?apikey=k&vsn=2.0.0", "http://t.localhost:4000/api"},
		{"", "wss://x/realtime/v1/websocket?log_level=info", "wss://x/realtime/v1/websocket?apikey=k&log_level=info&vsn=2.0.0", "https://x/realtime/v1/api"},
	} {
		o, _ := Options{APIKey: "k", Endpoint: tt.endpoint}.withDefaults()
		socket, rest, err := endpoints(tt.base, o)
		if err != nil || socket != tt.socket || rest != tt.rest {
			t.Errorf("%q %q: %q, %q, %v; want %q, %q", tt.base, tt.endpoint, socket, rest, err, tt.socket, tt.rest)
		}
	}
	for _, base := range []string{"", "ref.supabase.co", "ftp://x", "http://[::1", "://k"} {
		if _, err := NewClient(base, Options{APIKey: "k"}); err == nil {
			t.Errorf("base URL %q accepted", base)
		}
	}
	if _, err := NewClient("http://x", Options{}); err == nil {
		t.Error("client without a key")
	}
}
