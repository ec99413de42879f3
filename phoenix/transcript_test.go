package phoenix

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/supabridge/supabridge/phoenix/internal/wire"
)

// The transcripts are conversations recorded with a real server. This file replays
// what the server sent into the client, over a real socket, and compares the events
// that come out with what a reading of each frame by itself says they must be.

// line is one line of a transcript.
type line struct {
	Dir    string          `json:"dir"`
	Conn   string          `json:"conn"`
	URL    string          `json:"url"`
	Frame  json.RawMessage `json:"frame"`
	Status int             `json:"status"`
	Body   json.RawMessage `json:"body"`
	Code   int             `json:"code"`
	By     string          `json:"by"`
}

// frame is the recorded frame and whether it is binary; ok is false for lines
// without one (pongs).
func (l *line) frame(t *testing.T) (data []byte, binary, ok bool) {
	t.Helper()
	var text string
	if json.Unmarshal(l.Frame, &text) == nil {
		return []byte(text), false, len(l.Frame) > 0
	}
	var b struct {
		Base64 []byte `json:"base64"`
	}
	if json.Unmarshal(l.Frame, &b) == nil && b.Base64 != nil {
		return b.Base64, true, true
	}
	return nil, false, false
}

// actor replays one recorded connection.
type actor struct {
	t       *testing.T
	s       *script
	v       Version
	c       *Client
	p       *peer
	rooms   map[string]*room    // by wire topic
	refs    map[string]wire.Ref // recorded ref → the client's
	dropped chan error
	beats   chan struct{}
	frames  int
	events  int
	ended   bool
}

// room is what the replay knows of one channel by reading frames.
type room struct {
	ch       *Channel
	join     wire.Ref // recorded
	bindings []Binding
	ids      map[int64][]Binding
	joined   bool
	live     bool
	wasLive  bool
	leaving  bool
	token    chan string
	present  presence // what it must have told
	synced   bool
	pending  []rawDiff
	cancel   context.CancelFunc // of the pushes nobody answers
	ctx      context.Context
}

func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("../testdata/transcripts/*.jsonl")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	var table strings.Builder
	passed, total := 0, 0
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".jsonl")
		var frames, events int
		ok := t.Run(name, func(t *testing.T) { frames, events = replay(t, file) })
		if frames == 0 && ok {
			fmt.Fprintf(&table, "%-46s   – no WebSocket frames for a client\n", name)
			continue
		}
		total++
		verdict := "FAILED"
		if ok {
			passed++
			verdict = "ok"
		}
		fmt.Fprintf(&table, "%-46s %5d frames %5d events   %s\n", name, frames, events, verdict)
	}
	t.Logf("client against recorded conversations\n%sscenarios passed: %d / %d", table.String(), passed, total)
}

func replay(t *testing.T, file string) (frames, events int) {
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	actors := make(map[string]*actor)
	in := bufio.NewScanner(bytes.NewReader(data))
	in.Buffer(nil, 64<<20)
	for n := 1; in.Scan(); n++ {
		var l line
		if err := json.Unmarshal(in.Bytes(), &l); err != nil {
			t.Fatalf("line %d: %v", n, err)
		}
		a := actors[l.Conn]
		if l.Dir == "open" {
			if a != nil {
				a.stop()
				frames += a.frames
				events += a.events
			}
			a = open(t, &l)
			actors[l.Conn] = a
			continue
		}
		if a == nil || a.ended {
			continue
		}
		switch l.Dir {
		case "upgrade", "http_in": // an answer on a connection's name refuses its handshake
			a.upgrade(&l)
		case "out":
			if a.p != nil {
				a.out(&l)
			}
		case "in":
			if frame, binary, ok := l.frame(t); ok && a.p != nil {
				a.in(n, frame, binary)
			}
		case "close":
			a.closed(&l)
		}
		if t.Failed() {
			t.Fatalf("at line %d", n)
		}
	}
	for _, a := range actors {
		a.stop()
		frames += a.frames
		events += a.events
	}
	return frames, events
}

// open makes a client for a recorded connection; it connects with its first join.
func open(t *testing.T, l *line) *actor {
	v := V1
	if strings.Contains(l.URL, "vsn=2") {
		v = V2
	}
	a := &actor{t: t, s: newScript(t, v), v: v, rooms: make(map[string]*room), refs: make(map[string]wire.Ref), dropped: make(chan error, 1), beats: make(chan struct{}, 1)}
	o := Options{APIKey: "key", JoinInterval: -1, JoinsInFlight: 1000, MaxChannels: 1000, HeartbeatInterval: time.Hour, JoinTimeout: time.Hour, LiveTimeout: time.Hour,
		// What the recorded client did next is what happens next, nothing by itself.
		Backoff: Backoff{Min: time.Hour, Max: time.Hour, SlowMin: time.Hour, SlowMax: 2 * time.Hour}, Jitter: func() float64 { return 0.5 }}
	o.Hooks.Heartbeat = func(time.Duration) {
		select {
		case a.beats <- struct{}{}:
		default:
		}
	}
	o.Hooks.FrameDropped = func(err error) {
		select {
		case a.dropped <- err:
		default:
		}
	}
	a.c = a.s.client(o)
	return a
}

func (a *actor) stop() {
	if a.ended {
		return
	}
	a.ended = true
	for _, r := range a.rooms {
		r.cancel()
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	a.c.Close(ctx)
}

// upgrade connects, or sees the handshake refused as the server did.
func (a *actor) upgrade(l *line) {
	if l.Status == http.StatusSwitchingProtocols {
		a.room("realtime:the first channel connects", nil)
		a.p = a.s.accept()
		m := a.p.expect(wire.EventJoin)
		a.p.replyJoin(m)
		r := a.rooms[m.Topic]
		a.expect(r, "Joined", "Live")
		go r.ch.Leave(context.Background())
		a.p.reply(a.p.expect(wire.EventLeave), "ok", `{}`)
		a.expect(r, "Closed")
		delete(a.rooms, m.Topic)
		a.events = 0
		return
	}
	a.s.refuse = func(w http.ResponseWriter) bool {
		var body string
		json.Unmarshal(l.Body, &body) // none for an unsupported version
		w.WriteHeader(l.Status)
		w.Write([]byte(body))
		return true
	}
	r := a.room("realtime:refused", nil)
	a.frames++
	ev := a.next(r)
	retry, ok := ev.(*Retrying)
	if !ok {
		a.t.Errorf("refused handshake: %T", ev)
		return
	}
	if e := retry.Err.(*Error); e.Op != OpConnect || e.Status != l.Status || l.Status == 429 && e.Class != Slow {
		a.t.Errorf("refused handshake %d: %v (%s)", l.Status, e, e.Class)
	}
	a.stop()
}

// room makes and subscribes a channel as a recorded join asks for.
func (a *actor) room(topic string, join *recordedJoin) *room {
	a.t.Helper()
	r := &room{token: make(chan string, 1)}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	var o ChannelOptions
	if join != nil {
		o = join.options(r)
	}
	o.Queue = 1 << 14
	r.bindings = o.Changes
	ch, err := a.c.Channel(strings.TrimPrefix(topic, wire.TopicPrefix), o)
	if err != nil {
		a.t.Fatal(err)
	}
	r.ch = ch
	a.rooms[topic] = r
	if err := ch.Subscribe(context.Background()); err != nil {
		a.t.Fatal(err)
	}
	return r
}

// recordedJoin is the payload of a recorded phx_join as far as it can be said with
// ChannelOptions.
type recordedJoin struct {
	Config *struct {
		Broadcast struct {
			Ack              bool        `json:"ack"`
			Self             bool        `json:"self"`
			ReplicationReady bool        `json:"replication_ready"`
			Replay           *joinReplay `json:"replay"`
		} `json:"broadcast"`
		Presence joinPresence `json:"presence"`
		Changes  []*Binding   `json:"postgres_changes"`
		Private  bool         `json:"private"`
	} `json:"config"`
	Token string `json:"access_token"`
}

func (j *recordedJoin) options(r *room) ChannelOptions {
	var o ChannelOptions
	if c := j.Config; c != nil {
		o.Broadcast = BroadcastOptions{Ack: c.Broadcast.Ack, Self: c.Broadcast.Self, ReplicationReady: c.Broadcast.ReplicationReady}
		o.Presence = PresenceOptions{Enabled: c.Presence.Enabled, Key: c.Presence.Key}
		o.Private = c.Private
		for _, b := range c.Changes {
			if b == nil || b.validate() != nil {
				continue // such a binding can't be asked for with this package
			}
			o.Changes = append(o.Changes, *b)
		}
	}
	return o
}

// out does with the client what the recorded client did, as far as this client can.
func (a *actor) out(l *line) {
	frame, binary, ok := l.frame(a.t)
	if !ok {
		return
	}
	decode := wire.DecodeClientText
	if binary {
		decode = wire.DecodeClientBinary
	}
	m, err := decode(a.v, frame)
	if err != nil {
		return // malformed on purpose
	}
	r := a.rooms[m.Topic]
	switch {
	case m.Event == wire.EventHeartbeat:
		a.c.call(context.Background(), func() { a.c.beat(a.c.link.conn) })
		a.refs[m.Ref.String()] = a.p.nextAny().Ref
	case m.Event == wire.EventJoin:
		a.join(&m, r)
	case r == nil || r.leaving:
	case m.Event == wire.EventLeave:
		if m.JoinRef != r.join {
			return // with a ref of an earlier join, which this client never sends
		}
		r.leaving = true
		go r.ch.Leave(context.Background())
		if r.joined {
			a.refs[m.Ref.String()] = a.p.expect(wire.EventLeave).Ref
			return
		}
		a.expect(r, "Closed")
		delete(a.rooms, m.Topic)
	case !r.joined:
	default:
		m.JoinRef = wire.Ref{}
		recorded := m.Ref
		m.Ref = wire.Ref{}
		go r.ch.push(r.ctx, m, true)
		a.refs[recorded.String()] = a.p.nextAny().Ref
	}
}

func (a *actor) join(m *wire.Message, r *room) {
	var payload recordedJoin
	if json.Unmarshal(m.Payload, &payload) != nil || !strings.HasPrefix(m.Topic, wire.TopicPrefix) || len(m.Topic) == len(wire.TopicPrefix) {
		return // not a join this package can make
	}
	switch {
	case r != nil && r.joined && !r.leaving:
		// The same topic again: the client leaves and joins.
		if err := r.ch.Rejoin(context.Background(), "recorded"); err != nil {
			a.t.Fatal(err)
		}
		a.p.expect(wire.EventLeave)
		r.joined, r.live = false, false
		a.expect(r, "Lost")
	default:
		if r != nil {
			go r.ch.Leave(context.Background())
			a.expect(r, "Closed")
		}
		r = a.room(m.Topic, &payload)
	}
	sent := a.p.expect(wire.EventJoin)
	if sent.Topic != m.Topic {
		a.t.Fatalf("joined %s, want %s", sent.Topic, m.Topic)
	}
	a.refs[m.Ref.String()], a.refs[m.JoinRef.String()] = sent.Ref, sent.JoinRef
	r.join = m.JoinRef
	r.ids = nil
}
