package phoenix

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
)

// An sb_… key is no JWT: by REST it belongs into the header apikey alone.
func TestPublishSendsAnOpaqueKeyInApikeyAlone(t *testing.T) {
	const own, other = "sb_secret_own", "sb_publishable_other"
	for _, tt := range []struct {
		token, key string
		auth       []string
	}{{"", own, nil}, {own, own, nil}, {other, other, nil}, {"a.b.c", own, []string{"Bearer a.b.c"}}} {
		var got http.Header
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			got = r.Header.Clone()
			w.WriteHeader(http.StatusAccepted)
		}))
		c, err := NewClient(srv.URL, Options{APIKey: own, HTTPClient: srv.Client()})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Publish(t.Context(), tt.token, Publication{Topic: "room", Event: "e", Payload: struct{}{}}); err != nil {
			t.Error(err)
		}
		if keys, auth := got.Values("Apikey"), got.Values("Authorization"); !slices.Equal(keys, []string{tt.key}) || !slices.Equal(auth, tt.auth) {
			t.Errorf("token %q: apikey %q, Authorization %q; want %q and %q", tt.token, keys, auth, tt.key, tt.auth)
		}
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
		srv.Close()
	}
}

// A join never carries an sb_… key: the server would ignore it and take the connection's own key
// instead. So the client's own is left out, and another one, which would join with other rights
// than were meant, is refused here.
func TestAJoinCarriesNoOpaqueKey(t *testing.T) {
	const own = "sb_secret_own"
	o := quick()
	o.APIKey = own
	s := newScript(t, V2)
	ch := s.channel(s.client(o), ChannelOptions{Token: func(context.Context) (string, error) { return own, nil }})
	if got := accessToken(t, s.accept().acceptJoin().Payload); got != "" {
		t.Errorf("the join carries %q", got)
	}
	want[*Joined](t, ch)
	if err := ch.RenewToken(t.Context()); err != nil {
		t.Errorf("renew: %v", err)
	}

	s = newScript(t, V2)
	ch = s.channel(s.client(o), ChannelOptions{Token: func(context.Context) (string, error) { return "sb_publishable_other", nil }})
	if r := want[*Retrying](t, ch); !errors.Is(r.Err, ErrOpaqueToken) || ClassOf(r.Err) != Token {
		t.Errorf("retrying for %v", r.Err)
	}
}
