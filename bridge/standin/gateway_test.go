package standin_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/supabridge/supabridge/bridge/standin"
)

const (
	maxBodyBytes = 8 << 20
	maxURLBytes  = 64 << 10
)

// ask makes a request as the service role, unless the headers ("Name: value") say otherwise.
func ask(t *testing.T, s *standin.Server, web *httptest.Server, method, path, body string, headers ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, web.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("apikey", s.ServiceKey())
	for _, h := range headers {
		name, v, _ := strings.Cut(h, ": ")
		r.Header.Del(name)
		if v != "" {
			r.Header.Add(name, v)
		}
	}
	resp, err := web.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(text)
}

func TestServerSaysWhatItIs(t *testing.T) {
	s, web := inbox(t)
	for path, want := range map[string]string{"/": `"public.messages"`, "/health": `{"status":"ok"}`} {
		resp, body := ask(t, s, web, http.MethodGet, path, "", "apikey: ")
		if resp.StatusCode != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s", path, resp.StatusCode, body)
		}
	}
}

func TestRequestsAreBounded(t *testing.T) {
	s, web := inbox(t)
	resp, _ := ask(t, s, web, http.MethodPost, "/rest/v1/messages", `{"content":"`+strings.Repeat("x", maxBodyBytes)+`"}`)
	if resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("a large body gives %d", resp.StatusCode)
	}
	resp, _ = ask(t, s, web, http.MethodGet, "/rest/v1/messages?content=eq."+strings.Repeat("x", maxURLBytes), "")
	if resp.StatusCode != http.StatusRequestURITooLong {
		t.Errorf("a long URL gives %d", resp.StatusCode)
	}
}

func TestPagesOfOtherOriginsMayCall(t *testing.T) {
	s, web := inbox(t)
	resp, _ := ask(t, s, web, http.MethodOptions, "/rest/v1/messages", "", "apikey: ", "Origin: http://localhost:3000",
		"Access-Control-Request-Method: PATCH", "Access-Control-Request-Headers: apikey,authorization,x-client-info")
	if resp.StatusCode != 204 || resp.Header.Get("Access-Control-Allow-Origin") != "*" || !strings.Contains(resp.Header.Get("Access-Control-Allow-Methods"), "PATCH") ||
		resp.Header.Get("Access-Control-Allow-Headers") != "apikey,authorization,x-client-info" {
		t.Errorf("preflight: %d %v", resp.StatusCode, resp.Header)
	}
	for _, path := range []string{"/rest/v1/messages?id=eq.1", "/rest/v1/nope", "/auth/v1/user"} {
		resp, _ = ask(t, s, web, http.MethodGet, path, "", "Origin: http://localhost:3000")
		if resp.Header.Get("Access-Control-Allow-Origin") != "*" || !strings.Contains(resp.Header.Get("Access-Control-Expose-Headers"), "Content-Range") {
			t.Errorf("%s: %v", path, resp.Header)
		}
	}
}
