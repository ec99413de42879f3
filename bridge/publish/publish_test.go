package publish

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const secret = "a secret of this test"

// sender keeps what it is given and reaches as many sockets as there are rooms.
type sender struct {
	sent []Event
	gone []Whom

	elsewhere []int
	missing   int
}

func (s *sender) Send(e Event) (int, error) {
	s.sent = append(s.sent, e)
	return len(e.Rooms) + len(e.Users), nil
}

func (s *sender) Elsewhere(_ context.Context, events []Event) ([]int, int) {
	return s.elsewhere[:min(len(events), len(s.elsewhere))], s.missing
}

func (s *sender) Disconnect(_ context.Context, w Whom) (int, int) {
	s.gone = append(s.gone, w)
	return 2, s.missing
}

func ask(t *testing.T, handle http.HandlerFunc, body string, header ...string) (int, string) {
	t.Helper()
	server := httptest.NewServer(handle)
	defer server.Close()
	req, err := http.NewRequestWithContext(t.Context(), "POST", server.URL, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+secret)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, strings.TrimSpace(string(answer))
}

func TestBothDialectsAreUnderstood(t *testing.T) {
	for name, c := range map[string]struct {
		body   string
		want   []Event
		answer string
	}{
		"Pusher": {`{"name":"n","channel":"a","data":"{\"x\":1}","socket_id":"s"}`,
			[]Event{{Name: "n", Rooms: []string{"a"}, Except: []string{"s"}, Data: json.RawMessage(`"{\"x\":1}"`)}}, `{"reached":1}`},
		"Pusher, several channels": {`{"name":"n","channels":["a","b"],"data":1}`,
			[]Event{{Name: "n", Rooms: []string{"a", "b"}, Data: json.RawMessage(`1`)}}, `{"reached":2}`},
		"emitter": {`{"event":"n","room":"a","except":["s","t"],"data":{"x":[1]}}`,
			[]Event{{Name: "n", Rooms: []string{"a"}, Except: []string{"s", "t"}, Data: json.RawMessage(`{"x":[1]}`)}}, `{"reached":1}`},
		"to users, nothing to say": {`{"event":"n","rooms":["a","b"],"user":"u"}`,
			[]Event{{Name: "n", Rooms: []string{"a", "b"}, Users: []string{"u"}, Data: json.RawMessage(`null`)}}, `{"reached":3}`},
		"a batch": {`{"batch":[{"name":"n","channel":"a"},{"event":"m","rooms":["b","c"]}]}`,
			[]Event{{Name: "n", Rooms: []string{"a"}, Data: json.RawMessage(`null`)}, {Name: "m", Rooms: []string{"b", "c"}, Data: json.RawMessage(`null`)}}, `{"reached":3,"results":[1,2]}`},
		"a list": {` [{"name":"n","channel":"a"}]`, []Event{{Name: "n", Rooms: []string{"a"}, Data: json.RawMessage(`null`)}}, `{"reached":1,"results":[1]}`},
	} {
		s := &sender{}
		code, answer := ask(t, New(Options{Secret: []byte(secret)}, s).Publish, c.body)
		if code != http.StatusAccepted || answer != c.answer || !reflect.DeepEqual(s.sent, c.want) {
			t.Errorf("%s: %d %s, sent %+v; want %s, %+v", name, code, answer, s.sent, c.answer, c.want)
		}
	}
}

func TestWhatCannotBeSentIsRefusedWhole(t *testing.T) {
	for name, body := range map[string]string{
		"no JSON": "x", "no object": `"x"`, "no name": `{"room":"a"}`, "no room": `{"event":"n"}`, "empty room": `{"event":"n","rooms":[""]}`,
		"a room of ours": `{"event":"n","room":"\u0000user:u"}`, "an empty batch": `[]`, "one bad of two": `[{"event":"n","room":"a"},{"event":"n"}]`,
		"a reserved name": `[{"event":"n","room":"a"},{"event":"connect","room":"a"}]`, "too many": "[" + strings.Repeat(`{"event":"n","room":"a"},`, 100) + `{"event":"n","room":"a"}]`,
	} {
		s := &sender{}
		if code, answer := ask(t, New(Options{Secret: []byte(secret)}, s).Publish, body); code != http.StatusBadRequest || len(s.sent) > 0 || !strings.HasPrefix(answer, `{"error":`) {
			t.Errorf("%s: %d %s, sent %+v", name, code, answer, s.sent)
		}
	}
	if code, _ := ask(t, New(Options{Secret: []byte(secret), MaxBody: 10}, &sender{}).Publish, `{"event":"n","room":"a"}`); code != http.StatusRequestEntityTooLarge {
		t.Errorf("too long a body: %d", code)
	}
}

func TestOnlyWhoHasTheSecretPublishes(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	const body = `{"event":"n","room":"a"}`
	for name, c := range map[string]struct {
		bearer, signature string
		want              int
	}{
		"bearer":          {"Bearer " + secret, "", 202},
		"another bearer":  {"Bearer x", "", 401},
		"nothing":         {"", "", 401},
		"signed":          {"", Sign([]byte(secret), now, []byte(body)), 202},
		"signed before":   {"", Sign([]byte(secret), now.Add(-4*time.Minute), []byte(body)), 202},
		"too long before": {"", Sign([]byte(secret), now.Add(-6*time.Minute), []byte(body)), 401},
		"in the future":   {"", Sign([]byte(secret), now.Add(6*time.Minute), []byte(body)), 401},
		"another body":    {"", Sign([]byte(secret), now, []byte("x")), 401},
		"another secret":  {"", Sign([]byte("x"), now, []byte(body)), 401},
		"another time":    {"", strings.Replace(Sign([]byte(secret), now, []byte(body)), "t=17", "t=18", 1), 401},
		"no signature":    {"", "t=1700000000", 401},
	} {
		s := &sender{}
		h := New(Options{Secret: []byte(secret), Now: func() time.Time { return now }}, s)
		code, _ := ask(t, h.Publish, body, "Authorization", c.bearer, SignatureHeader, c.signature)
		if code != c.want || (len(s.sent) == 1) != (c.want == 202) {
			t.Errorf("%s: %d, want %d; sent %d", name, code, c.want, len(s.sent))
		}
	}
}

func TestOneKeyPublishesOnceWhileItIsRemembered(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	s := &sender{}
	h := New(Options{Secret: []byte(secret), Now: func() time.Time { return now }}, s)
	const body = `{"event":"n","room":"a","idempotency_key":"k"}`
	for i, want := range []string{`{"reached":1}`, `{"reached":1,"duplicate":true}`} {
		if _, answer := ask(t, h.Publish, body); answer != want {
			t.Errorf("time %d: %s, want %s", i+1, answer, want)
		}
	}
	if _, answer := ask(t, h.Publish, `{"event":"n","room":"a"}`, "Idempotency-Key", "k"); !strings.Contains(answer, "duplicate") {
		t.Errorf("the header's key: %s", answer)
	}
	now = now.Add(DefaultIdempotencyFor)
	if _, answer := ask(t, h.Publish, body); strings.Contains(answer, "duplicate") || len(s.sent) != 2 {
		t.Errorf("after its time: %s, sent %d", answer, len(s.sent))
	}
}

func TestOtherNodesCount(t *testing.T) {
	s := &sender{elsewhere: []int{10, 20}}
	h := New(Options{Secret: []byte(secret)}, s)
	const body = `[{"event":"n","rooms":["a","b"]},{"event":"m","room":"c"}]`
	if _, answer := ask(t, h.Publish, body); answer != `{"reached":33,"results":[12,21]}` {
		t.Error(answer)
	}
	s.elsewhere, s.missing = nil, 2
	if _, answer := ask(t, h.Publish, body, "Idempotency-Key", "k"); answer != `{"reached":3,"results":[2,1],"missing_nodes":2}` {
		t.Error(answer)
	}
	if _, answer := ask(t, h.Publish, body, "Idempotency-Key", "k"); answer != `{"reached":3,"results":[2,1],"duplicate":true,"missing_nodes":2}` {
		t.Error(answer)
	}
	if _, answer := ask(t, h.Disconnect, `{"user":"u"}`); answer != `{"reached":2,"missing_nodes":2}` {
		t.Error(answer)
	}
}

func TestDisconnectNamesOne(t *testing.T) {
	s := &sender{}
	h := New(Options{Secret: []byte(secret)}, s)
	if code, answer := ask(t, h.Disconnect, `{"user":"u"}`); code != 200 || answer != `{"reached":2}` || len(s.gone) != 1 || s.gone[0].User != "u" {
		t.Errorf("%d %s %+v", code, answer, s.gone)
	}
	for _, body := range []string{`{}`, `{"user":"u","tenant":"t"}`, `x`} {
		if code, _ := ask(t, h.Disconnect, body); code != 400 {
			t.Errorf("%s: %d", body, code)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{`{"name":"n","channel":"a"}`, `[{"event":"n","rooms":["a"]}]`, `{"batch":[]}`, ``, `{"room":{}}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		events, _, _, err := Parse(body, 100)
		if err != nil {
			return
		}
		for _, e := range events {
			if e.Name == "" || len(e.Rooms)+len(e.Users) == 0 || !json.Valid(e.Data) {
				t.Fatalf("%s gave %+v", body, e)
			}
		}
	})
}

func FuzzAuthenticate(f *testing.F) {
	f.Add("t=1,v1=00", "body")
	f.Add(Sign([]byte("other"), time.Unix(1, 0), []byte("b")), "b")
	f.Fuzz(func(t *testing.T, signature, body string) {
		if err := Authenticate(http.Header{SignatureHeader: {signature}}, []byte(body), []byte(secret), time.Hour, time.Unix(1, 0)); err == nil {
			t.Fatalf("%q is accepted", signature)
		}
	})
}

// TestNothingIsReadOfStrangers has requests without a good credential announce a body that they
// never send.
func TestNothingIsReadOfStrangers(t *testing.T) {
	t.Parallel()
	h := New(Options{Secret: []byte(secret)}, new(sender))
	for path, handle := range map[string]http.HandlerFunc{"publish": h.Publish, "disconnect": h.Disconnect} {
		for name, header := range map[string]http.Header{
			"no credential":              {},
			"a wrong secret":             {"Authorization": {"Bearer wrong"}},
			"a signature of no form":     {SignatureHeader: {"t=1,v1=abcd"}},
			"a signature without a time": {SignatureHeader: {"v1=" + strings.Repeat("ab", 32)}},
			"an old signature":           {SignatureHeader: {Sign([]byte(secret), time.Now().Add(-time.Hour), nil)}},
		} {
			w, body := httptest.NewRecorder(), &untouched{t: t, what: path + " with " + name}
			r := httptest.NewRequest("POST", "/", body)
			r.Header = header
			handle(w, r)
			if w.Code != http.StatusUnauthorized {
				t.Errorf("%s with %s is answered %d", path, name, w.Code)
			}
		}
	}
}

// untouched is a body that must not be read.
type untouched struct {
	t    *testing.T
	what string
}

func (u *untouched) Read([]byte) (int, error) {
	u.t.Errorf("%s: the body was read", u.what)
	return 0, io.EOF
}
