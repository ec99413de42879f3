package load

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Bounds of a run.
const (
	defaultAtOnce = 50
	connectWait   = 30 * time.Second
	postWait      = 10 * time.Second
	lastWait      = 2 * time.Second // for what is under way when the load ends
	typingFor     = time.Second
	maxPosts      = 64 // publish requests under way; beyond that the rate is not kept, and the report says so
)

// The events of a message of ours and of typing.
const (
	messageEvent = "load_message"
	typingEvent  = "user_typing"
)

// browser is one place of a run. Its mutex guards the client: churn replaces it while others use
// it.
type browser struct {
	token        string
	conversation string

	mu     sync.Mutex
	client *Client
}

// run is one run.
type run struct {
	o        Options
	rec      *record
	browsers []*browser
	http     *http.Client

	mu     sync.Mutex // guards typers
	typers map[string]time.Time
}

// Run connects everybody, keeps the load up for its duration, and tells what came of it. Where
// connections are refused it goes on with those it has; the report counts them. It returns an error
// only where nobody could be connected, or nothing could be published, and that of ctx where that
// ended first, with the report so far.
func Run(ctx context.Context, o Options) (*Report, error) {
	if o.AtOnce <= 0 {
		o.AtOnce = defaultAtOnce
	}
	if o.Room == "" {
		o.Room = "conversation:{id}"
	}
	if o.PublishPath == "" {
		o.PublishPath = "/api/publish"
	}
	if o.Progress == nil {
		o.Progress = func(Progress) {}
	}
	if len(o.Conversations) == 0 {
		return nil, errors.New("load: no conversations")
	}
	r := &run{
		o:      o,
		rec:    newRecord(),
		http:   &http.Client{Timeout: postWait, Transport: &http.Transport{MaxIdleConnsPerHost: maxPosts}},
		typers: make(map[string]time.Time),
	}
	defer r.http.CloseIdleConnections()
	defer r.closeAll()
	began := time.Now()
	if err := r.connectAll(ctx); err != nil {
		return nil, err
	}
	connecting := time.Since(began)
	if err := r.load(ctx); err != nil {
		return nil, err
	}
	report := r.rec.report()
	report.Connecting = connecting
	return report, ctx.Err()
}

// connectAll connects every browser, some at a time.
func (r *run) connectAll(ctx context.Context) error {
	slots := make(chan struct{}, r.o.AtOnce)
	var all sync.WaitGroup
	var last time.Time
	for n := range r.o.Connections {
		b := &browser{conversation: r.o.Conversations[n%len(r.o.Conversations)]}
		if len(r.o.Tokens) > 0 {
			b.token = r.o.Tokens[n%len(r.o.Tokens)]
		}
		r.browsers = append(r.browsers, b)
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			all.Wait()
			return ctx.Err()
		}
		all.Go(func() { defer func() { <-slots }(); r.connect(ctx, b, Session{}) })
		if now := time.Now(); now.Sub(last) > time.Second/4 {
			last = now
			r.o.Progress(Progress{Phase: "connecting", Done: float64(n) / float64(r.o.Connections), Connected: r.connected()})
		}
	}
	all.Wait()
	if r.connected() == 0 {
		for problem := range r.rec.problems {
			return fmt.Errorf("load: nobody could be connected: %s", problem)
		}
		return errors.New("load: no connections were asked for")
	}
	return nil
}

func (r *run) connected() (n int) {
	r.rec.add(func() { n = r.rec.connected })
	return n
}

// connect connects a browser and has it join, unless the server gave it back its rooms.
func (r *run) connect(ctx context.Context, b *browser, s Session) {
	ctx, cancel := context.WithTimeout(ctx, connectWait)
	defer cancel()
	began := time.Now()
	client, err := Dial(
		ctx,
		ClientOptions{
			URL:     r.o.URL,
			Path:    r.o.Path,
			Token:   b.token,
			Session: s,
			Event:   func(name string, args []byte) { r.heard(b, name, args) },
		},
	)
	if err != nil {
		r.rec.problem(err)
		return
	}
	if !client.Recovered() {
		answer, err := client.Call(ctx, "join_conversation", b.conversation)
		var joined struct {
			Success bool
			Error   string
		}
		if err == nil {
			err = json.Unmarshal(answer, &joined)
		}
		if err == nil && !joined.Success {
			err = fmt.Errorf("join: %s", joined.Error)
		}
		if err != nil {
			r.rec.problem(err)
			client.Close()
			return
		}
	}
	took := time.Since(began)
	b.mu.Lock()
	b.client = client
	b.mu.Unlock()
	r.rec.add(func() {
		r.rec.connected++
		note(r.rec.connects, took)
		if s.PID != "" {
			r.rec.back++
		}
		if client.Recovered() {
			r.rec.recovered++
		}
	})
}

// heard measures. A browser's reading goroutine calls it.
func (r *run) heard(b *browser, name string, args []byte) {
	now := time.Now()
	switch name {
	case messageEvent:
		at, ok := sent(args)
		if !ok {
			return
		}
		r.rec.add(func() {
			r.rec.had++
			note(r.rec.messages, now.Sub(at))
			note(r.rec.second, now.Sub(at))
		})
	case typingEvent:
		if !bytes.Contains(args, []byte(`"isTyping":true`)) {
			return
		}
		r.mu.Lock()
		at, known := r.typers[b.conversation]
		r.mu.Unlock()
		if known {
			r.rec.add(func() { note(r.rec.typing, now.Sub(at)) })
		}
	}
}

var sentKey = []byte(`"sent":`)

// sent finds the moment that a message was sent at, nanoseconds since 1970.
func sent(args []byte) (at time.Time, ok bool) {
	i := bytes.Index(args, sentKey)
	if i < 0 {
		return at, false
	}
	digits := args[i+len(sentKey):]
	end := bytes.IndexFunc(digits, func(c rune) bool { return c < '0' || c > '9' })
	n, err := strconv.ParseInt(string(digits[:max(end, 0)]), 10, 64)
	return time.Unix(0, n), err == nil
}

// load keeps everything going for the duration.
func (r *run) load(ctx context.Context) error {
	end, cancel := context.WithTimeout(ctx, r.o.Duration)
	defer cancel()
	var going sync.WaitGroup
	var posts sync.WaitGroup
	failed := make(chan error, 1)
	if r.o.Messages > 0 && r.o.Secret != "" {
		slots := make(chan struct{}, maxPosts)
		n := 0
		going.Go(func() {
			each(end, r.o.Messages, func() {
				n++
				m := n
				select {
				case slots <- struct{}{}:
				default:
					r.rec.problem(errors.New("the bridge takes messages slower than they were to be published"))
					return
				}
				posts.Go(func() {
					defer func() { <-slots }()
					if err := r.publish(ctx, m); err != nil {
						r.rec.problem(err)
						if m == 1 {
							failed <- err
							cancel()
						}
					}
				})
			})
		})
	}
	if r.o.Typing > 0 {
		going.Go(func() { r.typeAll(end) })
	}
	if r.o.Churn > 0 {
		going.Go(func() { each(end, r.o.Churn, func() { r.churn(ctx) }) })
	}
	r.watch(end)
	going.Wait()
	posts.Wait()
	select {
	case err := <-failed:
		return fmt.Errorf("load: nothing can be published: %w", err)
	default:
	}
	timer := time.NewTimer(lastWait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	return nil
}

// watch ends each second and tells how far the run is.
func (r *run) watch(ctx context.Context) {
	began, last := time.Now(), time.Now()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			p := r.rec.point(now.Sub(began), now.Sub(last))
			last = now
			r.o.Progress(
				Progress{
					Phase:     "running",
					Done:      now.Sub(began).Seconds() / r.o.Duration.Seconds(),
					Connected: p.Connected,
					Point:     p,
				},
			)
		}
	}
}

// each calls do at a rate until ctx ends. What it is late for it catches up on.
func each(ctx context.Context, rate float64, do func()) {
	began := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		do()
		timer.Reset(max(0, time.Until(began.Add(time.Duration(float64(n)/rate*float64(time.Second))))))
	}
}

// publish sends one message to a conversation's room.
func (r *run) publish(ctx context.Context, n int) error {
	room := strings.ReplaceAll(r.o.Room, "{id}", r.o.Conversations[n%len(r.o.Conversations)])
	text := strings.Repeat("x", r.o.Payload)
	body, err := json.Marshal(
		map[string]any{
			"event": messageEvent,
			"room":  room,
			"data":  map[string]any{"sent": time.Now().UnixNano(), "text": text},
		},
	)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(
		ctx,
		http.MethodPost,
		strings.TrimRight(r.o.URL, "/")+r.o.PublishPath,
		bytes.NewReader(body),
	)
	if err != nil {
		return err
	}
	req.Header = http.Header{"Content-Type": {"application/json"}, "Authorization": {"Bearer " + r.o.Secret}}
	resp, err := r.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxMessage))
	if err != nil {
		return err
	}
	var told struct{ Reached int }
	if resp.StatusCode != http.StatusAccepted || json.Unmarshal(answer, &told) != nil {
		return fmt.Errorf("publish: HTTP %d", resp.StatusCode)
	}
	r.rec.add(func() { r.rec.published++; r.rec.expected += told.Reached })
	return nil
}

// typeAll has browsers begin to type, each for a while.
func (r *run) typeAll(ctx context.Context) {
	type typing struct {
		b     *browser
		until time.Time
	}
	var now []typing
	each(ctx, r.o.Typing, func() {
		for len(now) > 0 && time.Now().After(now[0].until) {
			r.emit(now[0].b, "typing_stop")
			now = now[1:]
		}
		b := r.browsers[rand.IntN(len(r.browsers))]
		r.mu.Lock()
		r.typers[b.conversation] = time.Now()
		r.mu.Unlock()
		if r.emit(b, "typing_start") {
			now = append(now, typing{b, time.Now().Add(typingFor)})
			r.rec.add(func() { r.rec.typed++ })
		}
	})
}

func (r *run) emit(b *browser, event string) bool {
	b.mu.Lock()
	client := b.client
	b.mu.Unlock()
	return client != nil && client.Emit(event, b.conversation) == nil
}

// churn breaks a connection and has it come back.
func (r *run) churn(ctx context.Context) {
	b := r.browsers[rand.IntN(len(r.browsers))]
	b.mu.Lock()
	client := b.client
	b.client = nil
	b.mu.Unlock()
	if client == nil {
		return
	}
	client.Cut()
	r.rec.add(func() { r.rec.connected--; r.rec.broken++ })
	r.connect(ctx, b, client.Session())
}

// closeAll ends every connection.
func (r *run) closeAll() {
	var all sync.WaitGroup
	for _, b := range r.browsers {
		b.mu.Lock()
		client := b.client
		b.client = nil
		b.mu.Unlock()
		if client != nil {
			all.Go(client.Close)
		}
	}
	all.Wait()
}
