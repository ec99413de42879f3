// Package hooktest has what tests of webhooks need: webhooks as Twilio posts them, and an
// application that takes them.
//
//	app := hooktest.NewApp(t)
//	form := hooktest.Inbound("SM1", "hello").Encode()
//	header := hooktest.Header(t, hooktest.AuthToken, "/webhooks/twilio", form)
package hooktest

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/supabridge/supabridge/bridge/twilio"
	"github.com/supabridge/supabridge/internal/eventually"
)

// What the webhooks of tests are signed with, and the address that Twilio was given.
const (
	AuthToken = "the auth token of this test"
	Base      = "https://hooks.example.com"
)

// Inbound is a message of the bakery's customer, a row of the stand-in's seed.
func Inbound(sid, body string) url.Values {
	return url.Values{
		"MessageSid": {sid}, "SmsStatus": {"received"}, "From": {"whatsapp:+15550111"}, "To": {"whatsapp:+15550100"},
		"Body": {body}, "NumMedia": {"0"}, "New": {"x"},
	}
}

// Status is a delivery status of a message to that customer.
func Status(sid, status string) url.Values {
	return url.Values{
		"MessageSid": {sid}, "MessageStatus": {status}, "From": {"whatsapp:+15550100"}, "To": {"whatsapp:+15550111"},
	}
}

// Header is the header of a form that Twilio posts to a path, signed with a token: names and values
// in turn.
func Header(t testing.TB, token, path, form string) []string {
	t.Helper()
	params, err := twilio.ParseForm([]byte(form))
	if err != nil {
		t.Fatal(err)
	}
	return []string{
		"Content-Type", "application/x-www-form-urlencoded", twilio.SignatureHeader, twilio.Sign(token, Base+path, params),
	}
}

// App is the application's server. It keeps what is posted to it. Mu guards all fields.
type App struct {
	*httptest.Server

	Mu     sync.Mutex
	Away   bool // requests are answered 503
	Fail   int  // this many requests are answered 500
	Bodies []string
	Heads  []http.Header
	Paths  []string
	came   chan struct{}
}

// NewApp serves an App until the test ends.
func NewApp(t testing.TB) *App {
	t.Helper()
	a := &App{came: make(chan struct{}, 10_000)}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		a.Mu.Lock()
		defer a.Mu.Unlock()
		if a.Away {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		if a.Fail > 0 {
			a.Fail--
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		a.Bodies, a.Heads = append(a.Bodies, string(body)), append(a.Heads, r.Header.Clone())
		a.Paths = append(a.Paths, r.RequestURI)
		a.came <- struct{}{}
	}))
	t.Cleanup(a.Close)
	return a
}

// SetAway has the application answer 503, or serve again.
func (a *App) SetAway(away bool) {
	a.Mu.Lock()
	defer a.Mu.Unlock()
	a.Away = away
}

// Await waits for n more requests.
func (a *App) Await(t testing.TB, n int) {
	t.Helper()
	timeout := time.NewTimer(eventually.Patience)
	defer timeout.Stop()
	for i := range n {
		select {
		case <-a.came:
		case <-timeout.C:
			t.Fatalf("%d of %d requests came to the application within %s", i, n, eventually.Patience)
		}
	}
}
