package realtime_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/gorilla/websocket"

	"github.com/supabridge/supabridge/bridge/standin/realtime"
	"github.com/supabridge/supabridge/bridge/standin/tokens"
)

// recordedStep is a line of a recorded conversation.
type recordedStep struct {
	T       float64           `json:"t"` // milliseconds since the scenario began
	Dir     string            `json:"dir"`
	Conn    string            `json:"conn"`
	Frame   json.RawMessage   `json:"frame"`
	Text    bool              `json:"text"` // a frame in base64 is a text frame nevertheless
	URL     string            `json:"url"`
	Headers map[string]string `json:"headers"`
	SQL     string            `json:"sql"`
	Status  int               `json:"status"`
	Method  string            `json:"method"`
	Path    string            `json:"path"`
	Body    json.RawMessage   `json:"body"`
	Code    int               `json:"code"`
	By      string            `json:"by"`
	Note    string            `json:"note"`
	Pong    string            `json:"pong"`
}

func (s recordedStep) at() time.Duration { return time.Duration(s.T * float64(time.Millisecond)) }

// frame is the bytes of a frame, and whether it is binary.
func (s recordedStep) frame() (data []byte, binary bool) {
	var text string
	if json.Unmarshal(s.Frame, &text) == nil {
		return []byte(text), false
	}
	var raw struct{ Base64 []byte }
	_ = json.Unmarshal(s.Frame, &raw)
	return raw.Base64, !s.Text
}

func readRecording(t *testing.T, path string) []recordedStep {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var steps []recordedStep
	cut := 0
	lines := bufio.NewReader(f)
	for {
		line, err := lines.ReadBytes('\n')
		if len(bytes.TrimSpace(line)) > 0 {
			var s recordedStep
			if err := json.Unmarshal(line, &s); err != nil {
				t.Fatalf("%s: %v", filepath.Base(path), err)
			}
			if s.Dir == "out" || s.Dir == "http_out" {
				s.Frame, s.Body = expandJSON(s.Frame, &cut), expandJSON(s.Body, &cut)
			}
			steps = append(steps, s)
		}
		if errors.Is(err, io.EOF) {
			return steps
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

var cutMark = regexp.MustCompile(`\.\.\.[\[(](\d+) (?:chars|bytes)[\])]$`)

// expand restores what a recording has cut of the frames and bodies that clients
// sent: they are one letter many times over. cut counts them.
func expand(text string, cut *int) string {
	m := cutMark.FindStringSubmatchIndex(text)
	if m == nil {
		return text
	}
	*cut++
	size, _ := strconv.Atoi(text[m[2]:m[3]])
	text = text[:m[0]]
	tail := `"}}]`
	switch {
	case strings.HasPrefix(text, `{"messages"`):
		tail = `"}}]}`
	case strings.HasPrefix(text, "{"):
		tail = fmt.Sprintf(`"}},"ref":"%d","join_ref":"1"}`, *cut+1)
	}
	return text + strings.Repeat(text[len(text)-1:], size-len(text)-len(tail)) + tail
}

func expandJSON(raw json.RawMessage, cut *int) json.RawMessage {
	var text string
	if json.Unmarshal(raw, &text) != nil || !cutMark.MatchString(text) {
		return raw
	}
	out, _ := json.Marshal(expand(text, cut))
	return out
}

// flood is what a client sent in numbers that the recording only counts: frames made
// of a number, and the answers that aren't in the recording either.
type flood struct {
	from, every time.Duration
	first, last int
	frame       string // with %d for the number, as often as it likes
	answers     *regexp.Regexp
}

const floodJoin = `{"topic":"realtime:%s%%[1]d","event":"phx_join","payload":{"config":{}},"ref":"%s","join_ref":"%s"}`

// floods go by the scenario's name, or the recording's where its versions differ, and
// are frames of the first version.
var floods = map[string]flood{
	"limit_channels_default_100": {50 * time.Millisecond, 30 * time.Millisecond, 3, 98,
		fmt.Sprintf(floodJoin, "n", "%[1]d", "%[1]d"), regexp.MustCompile(`realtime:n([3-9]|[1-8]\d|9[0-8])"`)},
	"limit_joins": {42 * time.Millisecond, 102 * time.Millisecond, 0, 98,
		strings.ReplaceAll(fmt.Sprintf(floodJoin, "j", "R", "R"), `"R"`, `"%[2]d"`), regexp.MustCompile(`realtime:j([0-9]|[1-3]\d|4[0-8])"`)},
	"limit_events": {75 * time.Millisecond, 12450 * time.Microsecond, 2, 405,
		`{"topic":"realtime:ev","event":"broadcast","payload":{"event":"flood"},"ref":"flood","join_ref":"1"}`, regexp.MustCompile(`"flood"`)},
	"limit_presence": {50 * time.Millisecond, 52 * time.Millisecond, 0, 97,
		`{"topic":"realtime:p","event":"presence","payload":{"event":"track","payload":{"flood":%[1]d}},"ref":"flood","join_ref":"1"}`, regexp.MustCompile(`"flood"`)},
	"limit_presence.v2": {5700 * time.Microsecond, 0, 0, 0,
		`{"topic":"realtime:p","event":"presence","payload":{"event":"track","payload":{"i":%[1]d}},"ref":"2","join_ref":"1"}`, nil},
}

// withFlood adds the frames of a scenario's flood, of client A, to its steps.
func withFlood(name string, steps []recordedStep) []recordedStep {
	scenario, _, _ := strings.Cut(name, ".")
	f, ok := floods[name]
	if !ok {
		f, ok = floods[scenario]
	}
	if !ok {
		return steps
	}
	for i := f.first; i <= f.last; i++ {
		frame := f.frame
		if strings.Contains(frame, "%[2]d") {
			frame = fmt.Sprintf(frame, i, i+1)
		} else if strings.Contains(frame, "%[1]d") {
			frame = fmt.Sprintf(frame, i)
		}
		if strings.Contains(name, ".v2") {
			var m struct {
				Topic, Event, Ref string
				Payload           json.RawMessage
			}
			_ = json.Unmarshal([]byte(frame), &m)
			frame = fmt.Sprintf(`[%q,%q,%q,%q,%s]`, m.Ref, m.Ref, m.Topic, m.Event, m.Payload)
		}
		text, _ := json.Marshal(frame)
		at := f.from + time.Duration(i-f.first)*f.every
		steps = append(steps, recordedStep{T: float64(at) / float64(time.Millisecond), Dir: "out", Conn: "A", Frame: text})
	}
	sort.SliceStable(steps, func(i, j int) bool { return steps[i].T < steps[j].T })
	return steps
}

// recordedAt is when a scenario began, as far as its headers tell: to the second.
func recordedAt(steps []recordedStep) time.Time {
	for _, s := range steps {
		if at, err := http.ParseTime(s.Headers["date"]); err == nil {
			return at.Add(time.Second/2 - s.at())
		}
	}
	return time.Date(2026, 11, 22, 23, 0, 0, 0, time.UTC)
}

// heard is what a client got: a frame, or the end.
type heard struct {
	data   string
	binary bool
	code   int // of the close, with the empty frame
	at     time.Duration
}

// listenerConn is a client of a replayed scenario.
type listenerConn struct {
	ws     *websocket.Conn
	status int // of a refused handshake
	body   string
	frames []heard // owned by the reader until done is closed
	done   chan struct{}
}

// replay runs the recorded client against the stand-in, in the test's own time, and
// collects what it hears.
type replay struct {
	t        *testing.T
	scenario string
	start    time.Time
	listener *memoryNetwork
	handler  atomic.Pointer[http.ServeMux]
	opts     realtime.Options
	rt       *realtime.Realtime
	tokens   *tokens.Tokens
	script   *sqlScript
	conns    map[string]*listenerConn
	answers  []heard // of REST requests, in order
}

func (r *replay) elapsed() time.Duration { return time.Since(r.start) }

// run carries out every step of the client's, each at its recorded time.
func (r *replay) run(steps []recordedStep) {
	for _, s := range steps {
		<-time.After(s.at() - r.elapsed())
		switch s.Dir {
		case "open":
			r.open(s)
		case "out":
			r.send(s)
		case "sql":
			synctest.Wait() // for what it does to tables' definitions
			r.act(s.SQL)
			r.script.run(r.t, s.SQL)
		case "http_out":
			if !r.act(s.Method + " " + s.Path + " " + string(s.Body)) {
				r.request(s)
			}
		case "note":
			r.act(s.Note)
		case "in":
			if c := r.conns[s.Conn]; s.Pong != "" && c.ws != nil { // the ping itself isn't in the recording
				_ = c.ws.WriteControl(websocket.PingMessage, []byte(s.Pong), time.Now().Add(time.Second))
			}
		case "close":
			if s.By == "client" {
				r.close(s)
			}
		}
	}
	for _, c := range r.conns {
		if c.ws != nil {
			c.ws.NetConn().Close()
			<-c.done
		}
	}
}

func (r *replay) open(s recordedStep) {
	u, err := url.Parse(strings.NewReplacer("<", "%3C", ">", "%3E").Replace(s.URL))
	if err != nil {
		r.t.Fatal(err)
	}
	q := u.Query()
	if key := q.Get("apikey"); key != "" {
		q.Set("apikey", r.key(key, s.Conn))
	}
	u.RawQuery = q.Encode()
	header := http.Header{}
	for name, value := range s.Headers {
		header.Set(name, value)
	}
	dialer := websocket.Dialer{NetDialContext: r.listener.dial}
	c := &listenerConn{done: make(chan struct{})}
	r.conns[s.Conn] = c
	ws, resp, err := dialer.Dial(u.String(), header)
	if err != nil {
		if resp != nil {
			c.status = resp.StatusCode
			body, _ := io.ReadAll(resp.Body)
			c.body = string(body)
		} else {
			c.frames = []heard{{code: websocket.CloseAbnormalClosure, at: r.elapsed()}}
		}
		close(c.done)
		return
	}
	c.ws = ws
	go r.listen(c)
}

// key makes the token that a recording has only the name of.
func (r *replay) key(name, conn string) string {
	mint := func(role, sub string, ttl time.Duration, claims map[string]any) string {
		token, err := r.tokens.Mint(role, sub, claims, time.Now(), ttl)
		if err != nil {
			r.t.Fatal(err)
		}
		return token
	}
	const user1 = "a1000000-0000-4000-8000-000000000001"
	switch strings.Trim(name, "<>") {
	case "anon":
		return r.tokens.AnonKey()
	case "service_role":
		return r.tokens.ServiceKey()
	case "user1":
		return mint("authenticated", user1, time.Hour, map[string]any{"distributor_id": "d1000000-0000-4000-8000-000000000001"})
	case "noexp", "norole": // Mint always sets both
		claims := jwt.MapClaims{"role": "authenticated", "exp": time.Now().Add(time.Hour).Unix()}
		delete(claims, strings.TrimPrefix(strings.Trim(name, "<>"), "no"))
		token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(tokens.DefaultJWTSecret))
		if err != nil {
			r.t.Fatal(err)
		}
		return token
	case "expired":
		return mint("authenticated", user1, -time.Hour, nil)
	case "badsig":
		return r.tokens.AnonKey() + "x"
	case "unknownrole":
		return mint("nosuchrole", user1, time.Hour, nil)
	}
	if conn == "D" { // token_expiry: a key that lasts six seconds
		return mint("anon", "", 6*time.Second, nil)
	}
	return "garbage"
}

func (r *replay) listen(c *listenerConn) {
	defer close(c.done)
	c.ws.SetPongHandler(func(data string) error {
		c.frames = append(c.frames, heard{data: "pong " + data, at: r.elapsed()})
		return nil
	})
	for {
		kind, data, err := c.ws.ReadMessage()
		if err != nil {
			end := heard{code: websocket.CloseAbnormalClosure, at: r.elapsed()}
			if e := (*websocket.CloseError)(nil); errors.As(err, &e) {
				end.code = e.Code
			}
			c.frames = append(c.frames, end)
			return
		}
		c.frames = append(c.frames, heard{string(data), kind == websocket.BinaryMessage, 0, r.elapsed()})
	}
}

func (r *replay) send(s recordedStep) {
	c := r.conns[s.Conn]
	if c == nil || c.ws == nil {
		return
	}
	data, binary := s.frame()
	kind := websocket.TextMessage
	if binary {
		kind = websocket.BinaryMessage
	}
	_ = c.ws.SetWriteDeadline(time.Now().Add(time.Second)) // the server may be busy refusing a join
	if err := c.ws.WriteMessage(kind, data); err != nil {
		r.t.Logf("send on %s at %s: %v", s.Conn, s.at(), err)
	}
}

func (r *replay) close(s recordedStep) {
	c := r.conns[s.Conn]
	if c == nil || c.ws == nil {
		return
	}
	if s.Code == websocket.CloseAbnormalClosure {
		c.ws.NetConn().Close()
		return
	}
	_ = c.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(s.Code, ""), time.Now().Add(time.Second))
}

func (r *replay) request(s recordedStep) {
	var body []byte
	var text string
	if json.Unmarshal(s.Body, &text) == nil {
		body = []byte(text)
	} else {
		var raw struct{ Base64 []byte }
		_ = json.Unmarshal(s.Body, &raw)
		body = raw.Base64
	}
	req, err := http.NewRequest(s.Method, "http://127.0.0.1"+s.Path, bytes.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	for name, value := range s.Headers {
		req.Header.Set(name, value)
	}
	if req.Header.Get("Connection") == "" {
		req.Header.Set("Connection", "keep-alive")
	}
	client := http.Client{Transport: &http.Transport{DialContext: r.listener.dial}}
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		r.answers = append(r.answers, heard{data: err.Error()})
		return
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(resp.Body)
	r.answers = append(r.answers, heard{data: string(answer), code: resp.StatusCode, at: r.elapsed()})
}
