package webhook_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/supabridge/supabridge/bridge/outbox"
	"github.com/supabridge/supabridge/bridge/supabase"
	"github.com/supabridge/supabridge/bridge/webhook"
	"github.com/supabridge/supabridge/config"
	"github.com/supabridge/supabridge/internal/hooktest"
)

const page = "<!doctype html><html><body>moment, please</body></html>"

// passingFaults are answers that say nothing about the row.
var passingFaults = map[string]fault{
	"402":                {status: 402, header: "Content-Type: application/json", body: `{"message":"Service for this project is restricted"}`},
	"404 with a page":    {status: 404, header: "Content-Type: text/html", body: page},
	"400 with a page":    {status: 400, header: "Content-Type: text/html", body: page},
	"403 with a page":    {status: 403, header: "Content-Type: text/html", body: page},
	"413 with a page":    {status: 413, header: "Content-Type: text/html", body: page},
	"PGRST204":           {status: 400, header: "Content-Type: application/json", body: `{"code":"PGRST204","message":"Could not find the 'content' column of 'messages' in the schema cache"}`},
	"PGRST205":           {status: 404, header: "Content-Type: application/json", body: `{"code":"PGRST205","message":"Could not find the table in the schema cache"}`},
	"42P01":              {status: 404, header: "Content-Type: application/json", body: `{"code":"42P01","message":"relation does not exist"}`},
	"22023 of a role":    {status: 400, header: "Content-Type: application/json", body: `{"code":"22023","message":"role \"service_role\" does not exist"}`},
	"25006":              {status: 405, header: "Content-Type: application/json", body: `{"code":"25006","message":"cannot execute INSERT in a read-only transaction"}`},
	"23503":              {status: 409, header: "Content-Type: application/json", body: `{"code":"23503","message":"violates foreign key constraint"}`},
	"200 with a page":    {status: 200, header: "Content-Type: text/html", body: page},
	"200 with an object": {status: 200, header: "Content-Type: application/json", body: `{"status":"ok"}`},
	"301":                {status: 301, header: "Location: https://elsewhere.example.com/"},
	"307":                {status: 307, header: "Location: https://elsewhere.example.com/"},
	"cut":                {},
}

func TestWhatSaysNothingAboutTheRowIsTriedAgainAndKeepsTheOrder(t *testing.T) {
	t.Parallel()
	for name, bad := range passingFaults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const posts = 40
			w := newWorld(t, twilioModes(t, nil, "store"))
			w.front.fault.Store(&bad)
			for i := range posts {
				if code, _ := w.twilioPosts(hooktest.Inbound(fmt.Sprintf("SM%d", i), fmt.Sprint("text ", i))); code != 200 {
					t.Fatalf("webhook %d: %d", i, code)
				}
			}
			w.eventually("the fault is met twice", func() bool {
				return w.hooks.Outbox().Stats().Failed >= 2 || w.hooks.Outbox().Stats().Dead > 1
			})
			if oldest, ok := w.hooks.Outbox().Oldest(); !ok || oldest.Reason == "" {
				t.Errorf("the oldest entry is %+v, want one with a reason", oldest)
			}
			w.front.fault.Store(nil)
			w.delivered()
			offered := w.changes.offers()
			if len(offered) != posts {
				t.Fatalf("%d rows were sent on, want %d; dead letters: %d", len(offered), posts, w.hooks.Outbox().Stats().Dead)
			}
			for i, got := range offered {
				if want := fmt.Sprintf(`"text %d"`, i); !strings.HasPrefix(got, "INSERT messages ") || !strings.Contains(got, want) {
					t.Fatalf("row %d is %s, want an insert with %s", i, got, want)
				}
			}
			if dead := w.hooks.Outbox().Stats().Dead; dead != 0 {
				t.Errorf("%d of %d are dead letters", dead, posts)
			}
			if rows := w.rest("GET", "messages?external_message_id=like.SM*", ""); len(rows) != posts {
				t.Errorf("%d rows, want %d", len(rows), posts)
			}
		})
	}
}

func TestTwoSecondsOf402LoseNothingOf200(t *testing.T) {
	t.Parallel()
	w := newWorld(t, twilioModes(t, func(c *config.Config) {
		c.Webhooks.Twilio.Store.ConversationCreate = []string{"distributor_id=" + harbour}
	}, "store"))
	bad := passingFaults["402"]
	w.front.fault.Store(&bad)
	const posts = 200
	for i := range posts {
		values := hooktest.Inbound(fmt.Sprintf("SM%d", i), "x")
		values.Set("From", fmt.Sprintf("whatsapp:+1666%04d", i/2))
		w.twilioPosts(values)
	}
	w.eventually("the fault is met", func() bool { return w.front.failed.Load() >= 4 })
	w.front.fault.Store(nil)
	w.delivered()
	if dead := w.hooks.Outbox().Stats().Dead; dead != 0 {
		t.Errorf("%d of %d are dead letters", dead, posts)
	}
	if rows := w.rest("GET", "messages?external_message_id=like.SM*", ""); len(rows) != posts {
		t.Errorf("%d rows, want %d", len(rows), posts)
	}
}

func TestPoisonedRequestsHoldNobodyElseUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, twilioModes(t, func(c *config.Config) {
		c.Webhooks.Twilio.Store.ConversationCreate = []string{"distributor_id=" + harbour}
	}, "store"))
	w.front.fault.Store(&fault{status: 400, body: page, fits: func(_ *http.Request, body string) bool { return strings.Contains(body, "poison") }})
	for i := range 8 { // more than it takes for the target to count as away
		values := hooktest.Inbound(fmt.Sprintf("SM%d", i), "poison")
		values.Set("From", fmt.Sprintf("whatsapp:+1666%04d", i))
		w.twilioPosts(values)
	}
	w.eventually("the target counts as away", func() bool { return strings.Contains(w.log.String(), "the target is away") })
	for i := range 5 {
		values := hooktest.Inbound(fmt.Sprintf("OK%d", i), "well")
		values.Set("From", fmt.Sprintf("whatsapp:+1777%04d", i))
		w.twilioPosts(values)
	}
	w.eventually("those of others are stored", func() bool { return len(w.rest("GET", "messages?external_message_id=like.OK*", "")) == 5 })
	w.eventually("the poison waits, and nothing else", func() bool {
		s := w.hooks.Outbox().Stats()
		return s.Waiting == 8 && s.Dead == 0
	})
}

func TestTheDatabasesRefusalOfARowIsADeadLetterAtOnce(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"22001", "22P02", "22P05", "23502", "23505", "23514", "54000", "P0001"} {
		w := newWorld(t, twilioModes(t, nil, "store"))
		w.front.fault.Store(&fault{status: 400, body: `{"code":"` + code + `","message":"no"}`, fits: func(r *http.Request, body string) bool {
			return r.Method == http.MethodPost && strings.Contains(body, "poison")
		}})
		w.twilioPosts(hooktest.Inbound("SM1", "poison"))
		w.twilioPosts(hooktest.Inbound("SM2", "after it"))
		w.delivered()
		items, err := w.hooks.Outbox().List(true, 0, 0)
		if err != nil || len(items) != 1 || items[0].Attempts != 1 || !strings.Contains(items[0].Reason, code) {
			t.Errorf("%s: dead letters %+v (%v)", code, items, err)
		}
	}
}

// answering is an application that answers as it is told, then takes what comes.
func answering(t *testing.T, times int64, answer func(http.ResponseWriter)) (address string, taken func() []string) {
	t.Helper()
	var left atomic.Int64
	left.Store(times)
	bodies := make(chan string, 1000)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		if left.Add(-1) >= 0 {
			answer(w)
			return
		}
		bodies <- string(body)
	}))
	t.Cleanup(s.Close)
	return s.URL, func() (all []string) {
		for len(bodies) > 0 {
			all = append(all, <-bodies)
		}
		return all
	}
}

func TestTheApplicationsAnswersThatPassAreTriedAgain(t *testing.T) {
	t.Parallel()
	for _, code := range []int{300, 301, 302, 307, 308, 400, 401, 402, 403, 404, 405, 409, 413, 415, 418, 422, 500, 501, 502, 503} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			t.Parallel()
			address, taken := answering(t, 1, func(w http.ResponseWriter) {
				w.Header().Set("Location", "https://elsewhere.example.com/")
				w.WriteHeader(code)
				_, _ = io.WriteString(w, page)
			})
			w := newWorld(t, twilioModes(t, func(c *config.Config) { c.Webhooks.Twilio.ForwardURL = address }, "forward"))
			var want []string
			for i := range 5 {
				values := hooktest.Inbound(fmt.Sprintf("SM%d", i), "x")
				want = append(want, values.Encode())
				w.twilioPosts(values)
			}
			w.delivered()
			if dead := w.hooks.Outbox().Stats().Dead; dead != 0 {
				t.Errorf("%d dead letters", dead)
			}
			if got := taken(); !slices.Equal(got, want) {
				t.Errorf("the application took %q, want %q", got, want)
			}
		})
	}
}

func TestTheApplicationRefusesAWebhookForGoodBy410OrAHeader(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func(http.ResponseWriter){
		"410":    func(w http.ResponseWriter) { w.WriteHeader(410) },
		"header": func(w http.ResponseWriter) { w.Header().Set("X-Bridge-No-Retry", "1"); w.WriteHeader(422) },
	} {
		address, taken := answering(t, 1, answer)
		w := newWorld(t, twilioModes(t, func(c *config.Config) { c.Webhooks.Twilio.ForwardURL = address }, "forward"))
		w.twilioPosts(hooktest.Inbound("SM1", "x"))
		w.twilioPosts(hooktest.Inbound("SM2", "x"))
		w.delivered()
		items, err := w.hooks.Outbox().List(true, 0, 0)
		if err != nil || len(items) != 1 || items[0].Attempts != 1 || !strings.Contains(items[0].Reason, "refuses") {
			t.Errorf("%s: dead letters %+v (%v)", name, items, err)
		}
		if got := taken(); len(got) != 1 || !strings.Contains(got[0], "SM2") {
			t.Errorf("%s: the application took %q, want the second", name, got)
		}
	}
}

func TestNobodyMayAskToBeLeftAloneForHours(t *testing.T) {
	t.Parallel()
	for _, code := range []int{http.StatusPaymentRequired, http.StatusTooManyRequests, http.StatusServiceUnavailable} {
		w := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "86400")
			w.WriteHeader(code)
		}))
		db, err := supabase.New(w.URL, "k", supabase.Options{})
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = db.Row(t.Context(), "messages", "id", "1")
		if got, want := webhook.TablesOutcome(err), outbox.Unavailable(err, webhook.MaxRetryAfter); got != want {
			t.Errorf("HTTP %d: %#v, want %#v", code, got, want)
		}
		w.Close()
	}
}
