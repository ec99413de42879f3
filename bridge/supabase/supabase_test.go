package supabase

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// project serves one handler as a Supabase project and gives a client for it.
func project(t *testing.T, opts Options, handler http.HandlerFunc) *Client {
	t.Helper()
	server := httptest.NewServer(handler)
	c, err := New(server.URL+"/", "service-key", opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		server.Close()
	})
	return c
}

func TestVisibilityIsAskedWithTheUsersOwnToken(t *testing.T) {
	var got http.Request
	c := project(t, Options{AnonKey: "anon-key", Schema: "inbox"}, func(w http.ResponseWriter, r *http.Request) {
		got = *r
		w.Write([]byte(`[{"id":"a-b"}]`))
	})
	stored, err := c.VisibleTo(t.Context(), "user-token", "conversations", "id", []string{"A-B"})
	if err != nil || !slices.Equal(stored, []string{"a-b"}) {
		t.Fatalf("VisibleTo = %q %v, want a-b", stored, err)
	}
	for header, want := range map[string]string{"Apikey": "anon-key", "Authorization": "Bearer user-token", "Accept-Profile": "inbox"} {
		if values := got.Header.Values(header); len(values) != 1 || values[0] != want {
			t.Errorf("%s: %q, want %q once", header, values, want)
		}
	}
	if got.URL.Path != "/rest/v1/conversations" || got.URL.Query().Get("id") != "eq.A-B" || got.URL.Query().Get("select") != "id" || got.URL.Query().Get("limit") != "1" {
		t.Errorf("asked for %s", got.URL)
	}
}

func TestNoRowMeansInvisible(t *testing.T) {
	c := project(t, Options{}, func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(`[]`)) })
	if stored, err := c.VisibleTo(t.Context(), "t", "conversations", "id", []string{"x"}); len(stored) > 0 || err != nil {
		t.Errorf("VisibleTo = %q %v, want invisible", stored, err)
	}
}

func TestManyRowsAreAskedForAtOnce(t *testing.T) {
	var got http.Request
	c := project(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
		got = *r
		w.Write([]byte(`[{"room id":7},{"room id":"b\"c"}]`))
	})
	stored, err := c.RoomsOf(t.Context(), Member{"members", "user", "room id"}, "u,1", []string{"7", `b"c`, "d),user.neq.(e"})
	if err != nil || !slices.Equal(stored, []string{"7", `b"c`}) {
		t.Fatalf("RoomsOf = %q %v", stored, err)
	}
	q := got.URL.Query()
	if got.Header.Get("Authorization") != "Bearer service-key" || q.Get("user") != "eq.u,1" || q.Get(`"room id"`) != `in.("7","b\"c","d),user.neq.(e")` {
		t.Errorf("asked for %v", q)
	}
	if _, err := c.VisibleTo(t.Context(), "t", "conversations", "id", []string{"a", "b"}); err != nil {
		t.Fatal(err)
	}
	if q := got.URL.Query(); q.Get("id") != `in.("a","b")` || q.Get("limit") != "2" {
		t.Errorf("asked for %v", q)
	}
}

func TestAnIDOfTheWrongTypeIsAnInvisibleRow(t *testing.T) {
	c := project(t, Options{}, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		w.Write([]byte(`{"code":"22P02","message":"invalid input syntax for type uuid"}`))
	})
	if stored, err := c.VisibleTo(t.Context(), "t", "conversations", "id", []string{"x"}); len(stored) > 0 || err != nil {
		t.Errorf("VisibleTo = %q %v, want invisible without an error", stored, err)
	}
}

func TestValuesAreReadTogetherWithTheServiceKey(t *testing.T) {
	for body, want := range map[string][]Pair{
		`[{"id":"c1","distributor_id":"d1"},{"id":"c2","distributor_id":"d2"}]`: {{"c1", "d1"}, {"c2", "d2"}},
		`[{"id":7,"distributor_id":12345678901234567}]`:                         {{"7", "12345678901234567"}},
		`[{"id":"c1","distributor_id":null}]`:                                   {{"c1", ""}},
		`[]`:                                                                    {},
	} {
		var auth, query string
		c := project(t, Options{AnonKey: "anon"}, func(w http.ResponseWriter, r *http.Request) {
			auth, query = r.Header.Get("Authorization"), r.URL.Query().Get("id")
			w.Write([]byte(body))
		})
		pairs, err := c.Values(t.Context(), "conversations", "distributor_id", "id", []string{"c1", `a",b`})
		if err != nil || !slices.Equal(pairs, want) {
			t.Errorf("%s: Values = %q %v, want %q", body, pairs, err, want)
		}
		if auth != "Bearer service-key" || query != `in.("c1","a\",b")` {
			t.Errorf("Authorization %q, id %s", auth, query)
		}
	}
}

func TestARedirectIsRefusedAndNoCredentialFollowsIt(t *testing.T) {
	var reached atomic.Bool
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Store(true) }))
	defer elsewhere.Close()
	c := project(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
	})
	_, err := c.Values(t.Context(), "conversations", "x", "id", []string{"1"})
	if e, ok := AsError(err); !ok || e.Status != http.StatusTemporaryRedirect || e.Class != ClassPermanent {
		t.Errorf("error %v, want a refused 307", err)
	}
	if reached.Load() {
		t.Error("the request went on to the other host")
	}
}

func TestFailuresKeepTheirStatusCodeAndClass(t *testing.T) {
	for _, test := range []struct {
		status int
		header map[string]string
		body   string
		want   Error
	}{
		{401, nil, `{"code":"PGRST303","message":"JWT expired"}`, Error{Status: 401, Code: "PGRST303", Message: "JWT expired", Class: ClassToken}},
		{403, nil, `{"code":"42501","message":"permission denied"}`, Error{Status: 403, Code: "42501", Message: "permission denied", Class: ClassDenied}},
		{404, nil, `{"code":"PGRST205","message":"no table","hint":"h","details":"d"}`, Error{Status: 404, Code: "PGRST205", Message: "no table", Details: "d", Hint: "h", Class: ClassPermanent}},
		{429, map[string]string{"Retry-After": "7"}, `{"message":"API rate limit exceeded"}`, Error{Status: 429, Message: "API rate limit exceeded", RetryAfter: 7 * time.Second, Class: ClassSlow}},
		{502, nil, `<html>Bad Gateway</html>`, Error{Status: 502, Message: "bad gateway", Class: ClassRetry}},
		{500, nil, `{"code":"57014","message":"canceling statement"}`, Error{Status: 500, Code: "57014", Message: "canceling statement", Class: ClassRetry}},
		{503, nil, ``, Error{Status: 503, Message: "service unavailable", Class: ClassRetry}},
	} {
		c := project(t, Options{}, func(w http.ResponseWriter, _ *http.Request) {
			for k, v := range test.header {
				w.Header().Set(k, v)
			}
			w.WriteHeader(test.status)
			w.Write([]byte(test.body))
		})
		_, err := c.Values(t.Context(), "conversations", "x", "id", []string{"1"})
		e, ok := AsError(err)
		if !ok || *e != test.want {
			t.Errorf("%d %s: %#v, want %#v", test.status, test.body, e, test.want)
		}
		if !strings.Contains(err.Error(), "x of conversations") {
			t.Errorf("the error does not say what was attempted: %v", err)
		}
	}
}

func TestAnAnswerLongerThanTheLimitIsRefused(t *testing.T) {
	c := project(t, Options{MaxResponse: 64}, func(w http.ResponseWriter, _ *http.Request) {
		w.Write([]byte(`[{"x":"` + strings.Repeat("a", 100) + `"}]`))
	})
	_, err := c.Values(t.Context(), "conversations", "x", "id", []string{"1"})
	if e, ok := AsError(err); !ok || e.Class != ClassPermanent || !strings.Contains(e.Message, "64 bytes") || !errors.Is(err, ErrTooLong) {
		t.Errorf("error %v, want one that names the limit", err)
	}
}

func TestACancelledContextEndsTheRequest(t *testing.T) {
	release := make(chan struct{})
	c := project(t, Options{}, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	defer close(release)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := c.Values(ctx, "conversations", "x", "id", []string{"1"})
	if e, ok := AsError(err); !ok || e.Class != ClassRetry || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v, want a retryable one that wraps the deadline", err)
	}
}

func TestAnUnusableProjectIsRefused(t *testing.T) {
	for _, test := range []struct{ url, key string }{{"", "k"}, {"ftp://x", "k"}, {"https://", "k"}, {"https://x.test", ""}, {"http://[", "k"}} {
		if c, err := New(test.url, test.key, Options{}); err == nil {
			c.Close()
			t.Errorf("New(%q, %q) gave no error", test.url, test.key)
		}
	}
}

func TestPagesAreAskedForByTheExactTextOfTheLastRow(t *testing.T) {
	var got []string
	c := project(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
		query, _ := url.QueryUnescape(r.URL.RawQuery)
		got = append(got, query)
		w.Write([]byte(`[{"id": 9223372036854775807, "n": 1.50}]`))
	})
	for _, p := range []Page{
		{Table: "messages", Column: "updated_at", Key: "id", From: "2026-01-01T00:00:00.000001+00:00"},
		{Table: "messages", Column: "updated_at", Key: "id", AfterValue: `T,"1"`, AfterKey: "a.b", Limit: 5000},
		{Table: "messages", Column: "created_at", Key: "id", From: "T", WhereNull: "updated_at", Where: "conversation_id", Equals: "c1", Limit: 7},
	} {
		rows, more, err := c.Rows(t.Context(), p)
		if err != nil || !more || len(rows) != 1 || string(rows[0]) != `{"id": 9223372036854775807, "n": 1.50}` {
			t.Errorf("%+v: %s (%v), want the row as it was written", p, rows, err)
		}
	}
	want := []string{
		`limit=1000&order=updated_at.asc.nullslast,id.asc.nullslast&select=*&updated_at=gte.2026-01-01T00:00:00.000001+00:00`,
		`limit=1000&or=(updated_at.gt."T,\"1\"",and(updated_at.eq."T,\"1\"",id.gt."a.b"))&order=updated_at.asc.nullslast,id.asc.nullslast&select=*`,
		`conversation_id=eq.c1&created_at=gte.T&limit=7&order=created_at.asc.nullslast,id.asc.nullslast&select=*&updated_at=is.null`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("asked\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if _, _, err := c.Rows(t.Context(), Page{Table: "messages", Column: "updated_at", Key: "id"}); err == nil {
		t.Error("a page without a beginning gave no error")
	}
}

func TestAnInsertThatIsRepeatedInsertsOnce(t *testing.T) {
	answer := `[{"id":1}]`
	var prefer, conflict string
	c := project(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
		prefer, conflict = strings.Join(r.Header.Values("Prefer"), ","), r.URL.Query().Get("on_conflict")
		w.WriteHeader(http.StatusCreated)
		w.Write([]byte(answer))
	})
	for _, want := range []bool{true, false} {
		stored, err := c.Insert(t.Context(), "messages", map[string]string{"external_message_id": "SM1"}, "external_message_id")
		if err != nil || (stored != nil) != want {
			t.Errorf("stored %s (%v), want %v", stored, err, want)
		}
		answer = `[]`
	}
	if conflict != "external_message_id" || !strings.Contains(prefer, "resolution=ignore-duplicates") || strings.Contains(prefer, "merge") {
		t.Errorf("on_conflict %q, Prefer %q", conflict, prefer)
	}
}

func FuzzColumnNamesAndIDs(f *testing.F) {
	f.Add("id", "c-1")
	f.Add("from", `a"b\c,(d)`)
	f.Add(`we"ird.name`, "x&y=z#")
	f.Fuzz(func(t *testing.T, name, id string) {
		if name == "" {
			return
		}
		var got, column string
		transport := roundTrip(func(r *http.Request) (*http.Response, error) {
			q := r.URL.Query()
			got, column = q.Get(quoteName(name)), q.Get("limit")
			return nil, errors.New("enough")
		})
		c, err := New("http://project.test", "k", Options{Transport: transport})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if quoteName(name) == "limit" || quoteName(name) == "select" {
			return // a parameter of the request's own
		}
		if _, err := c.Values(context.Background(), "t", "x", name, []string{id}); err == nil {
			t.Fatal("no error from a transport that fails")
		}
		if got != "eq."+id || column != "1" {
			t.Errorf("id %q under %q arrived as %q", id, name, got)
		}
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
