package supabase

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
)

// An sb_… key is no JWT: only the gateway can read it, and only in the header apikey. In
// Authorization it would be refused where no gateway takes it out again.
func TestAnOpaqueKeyGoesOutInApikeyAlone(t *testing.T) {
	const secret, public = "sb_secret_abc", "sb_publishable_def"
	ctx := context.Background()
	for _, tt := range []struct {
		name      string
		ask       func(c *Client) error
		key, auth string
	}{
		{"Values", func(c *Client) error { _, err := c.Values(ctx, "t", "a", "id", []string{"1"}); return err }, secret, ""},
		{"Row", func(c *Client) error { _, _, err := c.Row(ctx, "t", "id", "1"); return err }, secret, ""},
		{"Rows", func(c *Client) error {
			_, _, err := c.Rows(ctx, Page{Table: "t", Column: "at", Key: "id", From: "2026-01-01"})
			return err
		}, secret, ""},
		{"Newest", func(c *Client) error {
			_, err := c.Newest(ctx, Page{Table: "t", Column: "at", Key: "id", From: "2026-01-01"})
			return err
		}, secret, ""},
		{"RoomsOf", func(c *Client) error {
			_, err := c.RoomsOf(ctx, Member{Table: "t", User: "u", Room: "r"}, "1", []string{"2"})
			return err
		}, secret, ""},
		{"Insert", func(c *Client) error { _, err := c.Insert(ctx, "t", map[string]any{"a": 1}, ""); return err }, secret, ""},
		{"Update", func(c *Client) error {
			_, err := c.Update(ctx, "t", map[string]string{"id": "1"}, "", map[string]any{"a": 1})
			return err
		}, secret, ""},
		{"First", func(c *Client) error {
			_, _, err := c.First(ctx, "t", "a", map[string]string{"id": "1"})
			return err
		}, secret, ""},
		{"Call", func(c *Client) error { _, err := c.Call(ctx, "f", nil); return err }, secret, ""},
		{"VisibleTo", func(c *Client) error {
			_, err := c.VisibleTo(ctx, "a.b.c", "t", "id", []string{"1"})
			return err
		}, public, "Bearer a.b.c"},
		{"InsertAs", func(c *Client) error {
			_, err := c.InsertAs(ctx, "a.b.c", "t", map[string]any{"a": 1})
			return err
		}, public, "Bearer a.b.c"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got http.Header
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				got = r.Header.Clone()
				_, _ = w.Write([]byte(`[{"a":"1"}]`))
			}))
			defer server.Close()
			c, err := New(server.URL, secret, Options{AnonKey: public})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if err := tt.ask(c); err != nil {
				t.Fatal(err)
			}
			if keys := got.Values("Apikey"); !slices.Equal(keys, []string{tt.key}) {
				t.Errorf("apikey %q, want %q once", keys, tt.key)
			}
			var want []string
			if tt.auth != "" {
				want = []string{tt.auth}
			}
			if auth := got.Values("Authorization"); !slices.Equal(auth, want) {
				t.Errorf("Authorization %q, want %q", auth, want)
			}
		})
	}
}
