package realtime_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/supabridge/supabridge/phoenix/phxserver"

	"github.com/supabridge/supabridge/bridge/standin"
	"github.com/supabridge/supabridge/bridge/standin/realtime"
	"github.com/supabridge/supabridge/bridge/standin/sql"
	"github.com/supabridge/supabridge/bridge/standin/tokens"
)

// recordings are the conversations with a real server that the tests replay.
const recordings = "../../../testdata/transcripts"

// recordedPolicies are those of the recorded project on realtime.messages.
var recordedPolicies = []realtime.TopicPolicy{
	{Role: "authenticated", Topic: "allowed:%", Read: true, Write: true},
	{Role: "authenticated", Topic: "readonly:%", Read: true},
	{Role: "authenticated", Topic: "bcastonly:%", Extension: "broadcast", Read: true},
	{Role: "authenticated", Topic: "dist:{distributor_id}", Read: true},
}

// recordedOptions are the recorded server's, but for the polling: changes are told at
// once, since what the recording waited for depends on where in its rounds it was.
func recordedOptions() realtime.Options {
	o := realtime.Options{Policies: recordedPolicies}
	o.Timing = phxserver.RealTiming()
	o.Timing.Poll, o.Timing.Subscribe = 0, 0
	o.Timing.Resubscribe = 100 * time.Millisecond
	o.Limits = phxserver.RealLimits()
	o.ToastBytes = 2000
	return o
}

// tenantOptions are what the recording's projects had of their own.
var tenantOptions = map[string]func(*realtime.Options){
	"limch":    func(o *realtime.Options) { o.Limits.Channels = 5 },
	"limits":   func(o *realtime.Options) { o.Limits.EventsPerSecond = 10 },
	"limjoin":  func(o *realtime.Options) { o.Limits.JoinsPerSecond = 3 },
	"limpay":   func(o *realtime.Options) { o.Limits.PayloadBytes = 10_000 },
	"limpres":  func(o *realtime.Options) { o.Limits.PresencePerSecond, o.Limits.PresenceCalls = 2, 0 },
	"limusers": func(o *realtime.Options) { o.Limits.Users = 2 },
	"privonly": func(o *realtime.Options) { o.PrivateOnly = true },
}

// notReplayed names the scenarios that say nothing about this server, and why.
var notReplayed = map[string]string{
	"longpoll":             "the long-poll transport isn't served",
	"tenant_db_stop_start": "a database that is down: there is none beneath the stand-in",
}

// continued are scenarios that went on where another had ended, on the same server.
var continued = map[string]string{
	"limit_presence.v2": "limit_presence.v1", // from the rates of its first half
}

// leftOver is what earlier scenarios had left in the tables.
var leftOver = map[string]string{
	"pg_filter_delete_default_identity.v1": "insert into types_default(id) values (11),(12)",
}

// tolerated are frames that may differ, with the reason: a pattern of the frame, on
// both sides, by scenario.
var tolerated = map[string]struct {
	frame  *regexp.Regexp
	reason string
}{
	"bad_frames": {regexp.MustCompile(`(?:"topic":null|,null,"phx_reply")`),
		"a frame whose topic is null is dropped here, as other malformed ones are"},
	"presence_basic": {regexp.MustCompile(`"leaves":\{"alice":\{"metas":\[\{"phx_ref":<ref 4>`),
		"whether a channel hears of its own leave is a race in the real server"},
	"db_terminate_backends": {regexp.MustCompile(`"t": "t29"`),
		"the real server may tell a row committed up to one round of polling before the subscription"},
	"limit_channels_default_100": {regexp.MustCompile(`realtime:n102"`),
		"the last refusal comes after the recording's end, and the first half's is in the second's"},
	"limit_payload_default": {regexp.MustCompile(`^close 100[69]$`),
		"a frame that is too large is answered with close 1009; the recorded client had reset the connection before it could read that"},
}

// TestConformsToRecordedServer replays what clients did against a real server, SQL
// included, and compares what they got with what they get here.
func TestConformsToRecordedServer(t *testing.T) {
	paths, err := filepath.Glob(filepath.Join(recordings, "*.jsonl"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no recordings in %s: %v", recordings, err)
	}
	only := os.Getenv("SCENARIO")
	passed, total := 0, 0
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), ".jsonl")
		if only != "" && !strings.Contains(name, only) {
			continue
		}
		scenario, _, _ := strings.Cut(name, ".")
		total++
		skipped := false
		ok := t.Run(name, func(t *testing.T) {
			skipped = notReplayed[scenario]+notReplayed[name] != ""
			if reason := notReplayed[scenario] + notReplayed[name]; reason != "" {
				t.Skip(reason)
			}
			steps := withFlood(name, readRecording(t, path))
			synctest.Test(t, func(t *testing.T) { replayRecording(t, name, steps) })
		})
		if ok && !skipped {
			passed++
		}
	}
	t.Logf("scenarios passed: %d of %d", passed, total)
	for _, name := range slices.Sorted(maps.Keys(notReplayed)) {
		t.Logf("not replayed: %-22s %s", name, notReplayed[name])
	}
	for _, name := range slices.Sorted(maps.Keys(tolerated)) {
		t.Logf("differs:      %-22s %s", name, tolerated[name].reason)
	}
}

func replayRecording(t *testing.T, name string, steps []recordedStep) {
	var before []recordedStep
	start := recordedAt(steps)
	if first := continued[name]; first != "" {
		before = withFlood(first, readRecording(t, filepath.Join(recordings, first+".jsonl")))
		start = recordedAt(before)
	}
	<-time.After(time.Until(start))
	opts := recordedOptions()
	if strings.HasPrefix(name, "pg_cold_start_gap") {
		opts.Timing.Subscribe = 2350 * time.Millisecond
	}
	for _, s := range steps {
		if host := s.Headers["host"]; s.Dir == "open" && host != "" {
			tenant, _, _ := strings.Cut(host, ".")
			if adjust := tenantOptions[tenant]; adjust != nil {
				adjust(&opts)
			}
		}
	}
	r := newReplay(t, opts)
	if setup := leftOver[name]; setup != "" {
		r.script.run(t, setup)
	}
	r.scenario, _, _ = strings.Cut(name, ".")
	if before != nil {
		r.run(before)
		<-time.After(time.Until(recordedAt(steps)))
		r.start, r.conns, r.answers = time.Now(), make(map[string]*listenerConn), nil
	}
	r.run(steps)
	r.compare(steps)
}

func newReplay(t *testing.T, opts realtime.Options) *replay {
	t.Helper()
	f, err := os.Open("testdata/recorded.yaml")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	seed, err := standin.ParseSeed(f)
	if err != nil {
		t.Fatal(err)
	}
	db, err := seed.NewDB(sql.Limits{}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	project, err := tokens.New(tokens.DefaultJWTSecret)
	if err != nil {
		t.Fatal(err)
	}
	network := newMemoryNetwork()
	r := &replay{
		t: t, start: time.Now(), listener: network, opts: opts, tokens: project,
		script: &sqlScript{db: db, tables: make(map[string]sql.TableInfo)}, conns: make(map[string]*listenerConn),
	}
	for _, info := range db.Tables() {
		if info.Schema == "public" {
			r.script.tables[info.Name] = info
		}
	}
	r.boot()
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.handler.Load().ServeHTTP(w, req)
	})}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(network) }()
	t.Cleanup(func() {
		r.shutdown()
		srv.Close()
		<-served
	})
	return r
}

// boot starts Realtime anew on the same tables.
func (r *replay) boot() {
	r.rt = realtime.New(r.script.db, r.tokens, r.opts)
	r.script.rt = r.rt
	mux := http.NewServeMux()
	r.rt.Mount(mux)
	r.handler.Store(mux)
	r.listener.down.Store(false)
}

func (r *replay) shutdown() {
	r.listener.down.Store(true)
	if err := r.rt.Close(context.Background()); err != nil {
		r.t.Error(err)
	}
}

func (r *replay) inject(f phxserver.Fault) {
	if _, err := r.rt.Server().Inject(f); err != nil {
		r.t.Error(err)
	}
}

// operations are what was done to the recorded server, by how the line begins that
// says so.
var operations = map[string]func(*replay){
	"kill -TERM of the BEAM":          (*replay).shutdown,
	"bin/realtime stop (init:stop)":   (*replay).shutdown,
	"server is up again":              (*replay).boot,
	"stopped":                         (*replay).shutdown, // of the metadata database, with which the server went
	"kill -KILL of the BEAM":          func(r *replay) { r.inject(phxserver.Fault{Action: phxserver.Cut}); r.shutdown() },
	"a crash of the channel":          func(r *replay) { r.inject(phxserver.Fault{Action: phxserver.Crash}) },
	"the transport process is killed": func(r *replay) { r.inject(phxserver.Fault{Action: phxserver.Cut}) },
	"select pg_terminate_backend": func(r *replay) {
		r.inject(phxserver.Fault{Action: phxserver.Drop, Topic: "allowed:p", Event: "broadcast", Direction: "in", Count: 1})
	},
	"POST /api/tenants/suspendme/reload":   func(r *replay) { r.inject(phxserver.Fault{Action: phxserver.Disconnect}) },
	"POST /api/tenants/suspendme/shutdown": func(*replay) {},
	`PUT /api/tenants/suspendme "{\"tenant\":{\"suspend\":true}}"`: func(r *replay) {
		r.inject(phxserver.Fault{Action: phxserver.Disconnect})
		r.inject(phxserver.Fault{Action: phxserver.Refuse, Status: http.StatusForbidden, Message: "Realtime was disabled for this tenant"})
	},
	`PUT /api/tenants/suspendme "{\"tenant\":{\"suspend\":false}}"`: func(r *replay) { r.rt.Server().ClearFaults() },
}

// act does what a line of the recording says was done to the server.
func (r *replay) act(line string) bool {
	for prefix, do := range operations {
		if strings.HasPrefix(line, prefix) {
			do(r)
			return true
		}
	}
	return false
}

// stream is what of a client's frames is in a fixed order: the channel's own
// messages, and, beside them, what is fanned out, both for each topic.
type stream struct {
	conn, topic string
	fanOut      bool
}

// fanOutEvents come to a topic from elsewhere than the channel's own process.
var fanOutEvents = map[string]bool{
	"broadcast": true, "postgres_changes": true, "presence_diff": true, "INSERT": true, "UPDATE": true, "DELETE": true,
}

func streamOf(conn, frame string, binary bool) stream {
	if binary {
		return stream{conn, binaryTopic(frame), true}
	}
	var object struct{ Topic, Event string }
	var array []json.RawMessage
	if json.Unmarshal([]byte(frame), &array) == nil && len(array) == 5 {
		_ = json.Unmarshal(array[2], &object.Topic)
		_ = json.Unmarshal(array[3], &object.Event)
	} else {
		_ = json.Unmarshal([]byte(frame), &object)
	}
	replayed := strings.Contains(frame, `"replayed":true`)
	return stream{conn, object.Topic, fanOutEvents[object.Event] && !replayed}
}

func binaryTopic(frame string) string {
	header := map[byte]int{2: 3, 4: 5}[frame[0]]
	if header == 0 || len(frame) < header+int(frame[1]) {
		return ""
	}
	return frame[header : header+int(frame[1])]
}

// operationAnswers finds the answers to requests that were operations.
func operationAnswers(steps []recordedStep) map[int]bool {
	found := make(map[int]bool)
	operating := false
	for i, s := range steps {
		switch s.Dir {
		case "http_out":
			operating = s.Method != http.MethodGet && strings.HasPrefix(s.Path, "/api/tenants/")
		case "http_in":
			if s.Conn == "" && operating {
				found[i], operating = true, false
			}
		}
	}
	return found
}

// heardOn is a frame with whom it came to.
type heardOn struct {
	heard
	conn string
}

func (r *replay) heardInOrder() []heardOn {
	var all []heardOn
	for conn, c := range r.conns {
		for _, f := range c.frames {
			all = append(all, heardOn{f, conn})
		}
	}
	sort.SliceStable(all, func(i, j int) bool {
		if all[i].at != all[j].at {
			return all[i].at < all[j].at
		}
		return all[i].conn < all[j].conn
	})
	return all
}

// joinedTopic is the topic a client joined first, for frames that are cut before theirs.
func joinedTopic(steps []recordedStep, conn string) string {
	for _, s := range steps {
		if s.Dir == "out" && s.Conn == conn {
			data, _ := s.frame()
			return streamOf(conn, string(data), false).topic
		}
	}
	return ""
}

// closedAt is when a client closed, late enough when it didn't.
func closedAt(steps []recordedStep, conn string) time.Duration {
	at := time.Duration(1<<63 - 1)
	for _, s := range steps {
		if s.Dir == "close" && s.Conn == conn && s.By == "client" {
			at = s.at()
		}
	}
	return at
}

// compare compares stream by stream, with what can't be the same taken out.
func (r *replay) compare(steps []recordedStep) {
	var given strings.Builder // what the client said: values in it are the same on both sides
	want := make(map[stream][]string)
	wantScrub, gotScrub := newScrubber(&given), newScrubber(&given)
	var wantAnswers []string
	for _, s := range steps {
		if s.Dir != "in" && s.Dir != "http_in" {
			if len(s.Frame) < cutFrom {
				given.Write(s.Frame)
			}
			given.WriteString(s.SQL)
			given.Write(s.Body)
		}
	}
	operation := operationAnswers(steps)
	for i, s := range steps {
		switch s.Dir {
		case "in":
			if s.Pong != "" {
				k := stream{s.Conn, "", false}
				want[k] = append(want[k], "pong "+s.Pong)
				continue
			}
			data, binary := s.frame()
			k := streamOf(s.Conn, string(data), binary)
			if cutMark.Match(data) {
				k = stream{s.Conn, joinedTopic(steps, s.Conn), true}
			}
			want[k] = append(want[k], wantScrub.scrub(string(data)))
		case "http_in":
			var body string
			_ = json.Unmarshal(s.Body, &body)
			answer := fmt.Sprintf("%d %s", s.Status, strings.TrimSpace(body))
			if s.Conn == "unknown tenant host" {
				continue // the stand-in is one project, whatever its host is called
			}
			if c := r.conns[s.Conn]; c != nil { // a refused handshake
				if got := fmt.Sprintf("%d %s", c.status, strings.TrimSpace(c.body)); got != answer {
					r.t.Errorf("handshake of %s:\n got %s\nwant %s", s.Conn, got, answer)
				}
				continue
			}
			if !operation[i] {
				wantAnswers = append(wantAnswers, answer)
			}
		case "upgrade":
			if c := r.conns[s.Conn]; c == nil || c.ws == nil {
				r.t.Errorf("handshake of %s was refused: %d %s", s.Conn, c.status, c.body)
			}
		case "close":
			if s.By == "server" {
				k := stream{s.Conn, "close", false}
				want[k] = append(want[k], fmt.Sprint("close ", s.Code))
			}
		}
	}
	got := make(map[stream][]string)
	for _, f := range r.heardInOrder() {
		conn, closed := f.conn, closedAt(steps, f.conn)
		if f.at > closed-time.Millisecond/2 && f.code == 0 {
			continue // whether it still arrives is a matter of luck
		}
		if f.code != 0 {
			if k := (stream{conn, "close", false}); want[k] != nil {
				got[k] = append(got[k], fmt.Sprint("close ", f.code))
			}
			continue
		}
		if strings.HasPrefix(f.data, "pong ") {
			k := stream{conn, "", false}
			got[k] = append(got[k], f.data)
			continue
		}
		k := streamOf(conn, f.data, f.binary)
		got[k] = append(got[k], gotScrub.scrub(f.data))
	}
	for i, answer := range wantAnswers {
		if i >= len(r.answers) {
			r.t.Errorf("answer %d is missing: %s", i, answer)
			break
		}
		if have := fmt.Sprintf("%d %s", r.answers[i].code, strings.TrimSpace(r.answers[i].data)); have != answer {
			r.t.Errorf("answer %d:\n got %s\nwant %s", i, have, answer)
		}
	}
	if flood := floods[r.scenario]; flood.answers != nil {
		for k := range got {
			got[k] = slices.DeleteFunc(got[k], flood.answers.MatchString)
		}
	}
	if ok := tolerated[r.scenario]; ok.frame != nil {
		for _, side := range []map[stream][]string{want, got} {
			for k := range side {
				side[k] = slices.DeleteFunc(side[k], ok.frame.MatchString)
			}
		}
	}
	r.compareStreams(want, got)
}

func (r *replay) compareStreams(want, got map[stream][]string) {
	keys := make(map[stream]bool)
	for k := range want {
		keys[k] = true
	}
	for k := range got {
		keys[k] = true
	}
	sorted := make([]stream, 0, len(keys))
	for k := range keys {
		sorted = append(sorted, k)
	}
	sort.Slice(sorted, func(i, j int) bool { return fmt.Sprint(sorted[i]) < fmt.Sprint(sorted[j]) })
	for _, k := range sorted {
		w, g := want[k], got[k]
		for i := range max(len(w), len(g)) {
			switch {
			case i >= len(g):
				r.t.Errorf("%v frame %d is missing:\nwant %.600s", k, i, w[i])
			case i >= len(w):
				r.t.Errorf("%v frame %d is too much:\n got %.600s", k, i, g[i])
			case cutMark.MatchString(w[i]):
				if m := cutMark.FindStringSubmatchIndex(w[i]); !strings.HasPrefix(g[i], w[i][:m[0]]) {
					r.t.Errorf("%v frame %d differs:\n got %.300s\nwant %.300s", k, i, g[i], w[i])
				}
			case w[i] != g[i]:
				at := 0
				for at < len(w[i]) && at < len(g[i]) && w[i][at] == g[i][at] {
					at++
				}
				from := max(0, at-120)
				r.t.Errorf("%v frame %d differs at byte %d:\n got …%.300s\nwant …%.300s", k, i, at, g[i][from:], w[i][from:])
			}
		}
	}
}

// cutFrom is the size from which the recording cut frames.
const cutFrom = 20_000

// scrubber takes out of frames what differs from one run to the next, keeping which
// values are the same: the first made-up id becomes <id 1>, and so on.
type scrubber struct {
	given *strings.Builder
	names map[string]string
	count map[string]int // by kind
}

func newScrubber(given *strings.Builder) *scrubber {
	return &scrubber{given: given, names: make(map[string]string), count: make(map[string]int)}
}

var (
	presenceRef  = regexp.MustCompile(`("phx_ref(?:_prev)?":)"([^"]+)"`)
	commitTime   = regexp.MustCompile(`"commit_timestamp":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"`)
	instant      = regexp.MustCompile(`"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?\+00:00"`)
	anyUUID      = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	identity     = regexp.MustCompile(`"id": (\d+)`)
	expiredSince = regexp.MustCompile(`Token has expired \d+ seconds ago`)
)

func (s *scrubber) scrub(frame string) string {
	if len(frame) > cutFrom { // the recording has no more than the beginning
		frame = frame[:cutFrom/4]
	}
	frame = presenceRef.ReplaceAllStringFunc(frame, func(m string) string {
		parts := presenceRef.FindStringSubmatch(m)
		return parts[1] + s.name("ref", parts[2])
	})
	frame = commitTime.ReplaceAllString(frame, `"commit_timestamp":<commit>`)
	frame = expiredSince.ReplaceAllString(frame, "Token has expired <n> seconds ago")
	unlessGiven := func(kind string) func(string) string {
		return func(m string) string {
			if strings.Contains(s.given.String(), m) {
				return m
			}
			return s.name(kind, m)
		}
	}
	frame = instant.ReplaceAllStringFunc(frame, func(m string) string {
		if strings.HasPrefix(m, `"2026-03-04`) { // one that the statements set
			return m
		}
		return "<now>"
	})
	frame = anyUUID.ReplaceAllStringFunc(frame, unlessGiven("uuid"))
	if !strings.Contains(frame, `"table":"types_`) {
		return frame
	}
	return identity.ReplaceAllStringFunc(frame, func(m string) string {
		n := identity.FindStringSubmatch(m)[1]
		if strings.Contains(s.given.String(), n) && len(n) > 3 {
			return m
		}
		return `"id": ` + s.name("id", n)
	})
}

func (s *scrubber) name(kind, value string) string {
	key := kind + value
	if s.names[key] == "" {
		s.count[kind]++
		s.names[key] = fmt.Sprintf("<%s %d>", kind, s.count[kind])
	}
	return s.names[key]
}
