package supabase

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

func TestFunctionIsCalledWithTheServiceKeyAndItsAnswerKept(t *testing.T) {
	for answer, want := range map[string]string{`"c-1"`: `"c-1"`, `7`: `7`, `null`: `null`, ``: `null`, `[{"id":1}]`: `[{"id":1}]`} {
		var got http.Request
		var body []byte
		c := project(t, Options{AnonKey: "anon", Schema: "inbox"}, func(w http.ResponseWriter, r *http.Request) {
			got = *r
			body, _ = io.ReadAll(r.Body)
			if answer == "" {
				w.WriteHeader(http.StatusNoContent)
			}
			w.Write([]byte(answer))
		})
		value, err := c.Call(t.Context(), "find_or/create", map[string]string{"phone": "+1 555"})
		if err != nil || string(value) != want {
			t.Errorf("%q: Call = %s (%v), want %s", answer, value, err, want)
		}
		if got.Method != http.MethodPost || got.URL.EscapedPath() != "/rest/v1/rpc/find_or%2Fcreate" || string(body) != `{"phone":"+1 555"}` {
			t.Errorf("asked for %s %s with %s", got.Method, got.URL.EscapedPath(), body)
		}
		for header, want := range map[string]string{"Apikey": "service-key", "Authorization": "Bearer service-key", "Content-Profile": "inbox", "Content-Type": "application/json"} {
			if values := got.Header.Values(header); len(values) != 1 || values[0] != want {
				t.Errorf("%s: %q, want %q once", header, values, want)
			}
		}
	}
}

func TestCallIsFencedAsEverythingElse(t *testing.T) {
	var reached atomic.Bool
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Store(true) }))
	defer elsewhere.Close()
	for name, one := range map[string]struct {
		handler http.HandlerFunc
		class   Class
		code    string
	}{
		"no function": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNotFound)
			w.Write([]byte(`{"code":"PGRST202","message":"Could not find the function public.f in the schema cache"}`))
		}, ClassPermanent, "PGRST202"},
		"a deadlock": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusInternalServerError)
			w.Write([]byte(`{"code":"40P01","message":"deadlock detected"}`))
		}, ClassRetry, "40P01"},
		"not allowed": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusForbidden)
			w.Write([]byte(`{"code":"42501","message":"permission denied for function f"}`))
		}, ClassDenied, "42501"},
		"a redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		}, ClassPermanent, ""},
		"too long":   {func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(`"` + strings.Repeat("x", 2000) + `"`)) }, ClassPermanent, ""},
		"no JSON":    {func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(`<html>`)) }, ClassPermanent, ""},
		"breaks off": {func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) }, ClassRetry, ""},
	} {
		c := project(t, Options{MaxResponse: 1000}, one.handler)
		_, err := c.Call(t.Context(), "f", map[string]json.RawMessage{})
		if e, ok := AsError(err); !ok || e.Class != one.class || e.Code != one.code {
			t.Errorf("%s: error %v, want of class %s with code %q", name, err, one.class, one.code)
		}
	}
	if reached.Load() {
		t.Error("a call went on to another host")
	}
}

func TestUpdateAndFirstCarryTheirConditions(t *testing.T) {
	var asked []string
	c := project(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		asked = append(asked, strings.Join([]string{r.Method, q.Get("external_message_id"), q.Get("or"), q.Get("select"), q.Get("order"), q.Get("limit"), q.Get("customer_phone"), r.Header.Get("Prefer")}, " | "))
		w.Write([]byte(`[{"id":null}]`))
	})
	rows, err := c.Update(t.Context(), "messages", map[string]string{"external_message_id": "SM,1"}, NullOrNotIn("status", []string{"READ", `a"b`}), map[string]string{"status": "SENT"})
	if err != nil || len(rows) != 1 {
		t.Errorf("Update = %s (%v)", rows, err)
	}
	value, found, err := c.First(t.Context(), "conversations", "id", map[string]string{"customer_phone": "+1555"})
	if err != nil || !found || string(value) != "null" {
		t.Errorf("First = %s %v (%v)", value, found, err)
	}
	want := []string{
		`PATCH | eq.SM,1 | (status.is.null,status.not.in.("READ","a\"b")) |  |  |  |  | return=representation`,
		`GET |  |  | id | id.asc.nullslast | 1 | eq.+1555 | `,
	}
	if strings.Join(asked, "\n") != strings.Join(want, "\n") {
		t.Errorf("asked\n%s\nwant\n%s", strings.Join(asked, "\n"), strings.Join(want, "\n"))
	}
}
