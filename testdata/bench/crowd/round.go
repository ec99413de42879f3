package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/supabridge/supabridge/bridge/standin"
	"github.com/supabridge/supabridge/internal/load"
	"github.com/supabridge/supabridge/testdata/bench/bed"
)

const (
	publishSecret = "the secret of this measurement"
	event         = "load_message"
	waitForAll    = time.Minute // for a message to reach everybody, and for everybody to come back
)

// client is one place in the crowd. Its connection's reading goroutine writes seen; the others'
// fields are the round's own.
type client struct {
	token   string
	conn    *load.Client
	session load.Session
	seen    atomic.Uint64 // bits: which messages came
	twice   atomic.Int64
}

// crowd is one round.
type crowd struct {
	o       *options
	url     string
	room    string // the conversation's id
	process *bed.Process
	http    *http.Client
	clients []*client

	latencies bed.Latencies
	message   atomic.Pointer[message] // that is on its way to all
}

// message is one that everybody is to have.
type message struct {
	n    int
	at   time.Time
	left atomic.Int64 // clients that have it not
	all  chan struct{}
}

// round measures one server.
func (o *options) round(ctx context.Context, server string) (r result, err error) {
	r = result{Server: server, Clients: o.clients}
	supabase, err := bed.StartStandin(ctx, false)
	if err != nil {
		return r, err
	}
	defer supabase.End()
	conversations, err := supabase.Conversations(ctx, 1, 0)
	if err != nil {
		return r, err
	}
	c := &crowd{o: o, room: conversations[0], http: &http.Client{Timeout: waitForAll}}
	defer c.http.CloseIdleConnections()
	if c.process, c.url, err = o.start(ctx, server, supabase); err != nil {
		return r, err
	}
	defer c.process.End()
	for range o.clients {
		token, err := supabase.Token()
		if err != nil {
			return r, err
		}
		c.clients = append(c.clients, &client{token: token})
	}
	defer c.leave()
	began := time.Now()
	if err := c.connect(ctx, nil); err != nil {
		return r, err
	}
	r.Connect = time.Since(began)
	if err := c.fill(ctx, &r); err != nil {
		return r, err
	}
	return r, c.storm(ctx, &r)
}

// start starts a server and waits until it is ready.
func (o *options) start(
	ctx context.Context,
	server string,
	supabase *bed.Standin,
) (p *bed.Process, url string, err error) {
	if server == "supabridge" {
		p, address, err := supabase.StartBridge(ctx, o.binary, "SUPABRIDGE_PUBLISH_SECRET="+publishSecret)
		return p, "http://" + address, err
	}
	port, err := bed.FreePort()
	if err != nil {
		return nil, "", err
	}
	script, err := filepath.Abs(filepath.Join(o.folder, "peer.mjs"))
	if err != nil {
		return nil, "", err
	}
	url = "http://127.0.0.1:" + port
	if p, err = bed.Start("Node", "", []string{"PORT=" + port, "NODE_ENV=production", "JWT_SECRET=" + standin.DefaultJWTSecret, "PUBLISH_SECRET=" + publishSecret}, nil, o.node, script); err != nil {
		return nil, "", err
	}
	if err := p.Await(ctx, url+"/readyz"); err != nil {
		p.End()
		return nil, "", err
	}
	return p, url, nil
}

// connect connects every client, with its session where it has one, and has it join where that was
// not given back. each gets how long each took; it may be nil.
func (c *crowd) connect(ctx context.Context, each *bed.Latencies) error {
	ctx, cancel := context.WithTimeout(ctx, waitForAll+time.Duration(len(c.clients))*5*time.Millisecond)
	defer cancel()
	slots := make(chan struct{}, c.o.atOnce)
	errs := make(chan error, 1)
	var all sync.WaitGroup
	for _, one := range c.clients {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			began := time.Now()
			if err := c.enter(ctx, one); err != nil {
				select {
				case errs <- err:
				default:
				}
				return
			}
			if each != nil {
				each.Add(time.Since(began))
			}
		})
	}
	all.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return nil
	}
}

func (c *crowd) enter(ctx context.Context, one *client) error {
	conn, err := load.Dial(
		ctx,
		load.ClientOptions{
			URL:     c.url,
			Token:   one.token,
			Session: one.session,
			Event:   func(name string, args []byte) { c.heard(one, name, args) },
		},
	)
	if err != nil {
		return err
	}
	one.conn = conn
	if conn.Recovered() {
		return nil
	}
	answer, err := conn.Call(ctx, "join_conversation", c.room)
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
	return err
}

var number = []byte(`"n":`)

// heard notes a message.
func (c *crowd) heard(one *client, name string, args []byte) {
	now := time.Now()
	i := bytes.Index(args, number)
	if name != event || i < 0 {
		return
	}
	digits := args[i+len(number):]
	n, err := strconv.Atoi(string(digits[:max(bytes.IndexAny(digits, ",}"), 0)]))
	if err != nil || n < 0 || n >= maxMessages {
		return
	}
	if before := one.seen.Or(1 << n); before&(1<<n) != 0 {
		one.twice.Add(1)
		return
	}
	if m := c.message.Load(); m != nil && m.n == n {
		c.latencies.Add(now.Sub(m.at))
		if m.left.Add(-1) == 0 {
			close(m.all)
		}
	}
}

// fill publishes messages to everybody, the next when all have the one before.
func (c *crowd) fill(ctx context.Context, r *result) error {
	before, err := c.process.Usage()
	if err != nil {
		return err
	}
	var last bed.Latencies
	for n := range c.o.messages {
		m := &message{n: n, at: time.Now(), all: make(chan struct{})}
		m.left.Store(int64(len(c.clients)))
		c.message.Store(m)
		if err := c.publish(ctx, n); err != nil {
			return err
		}
		select {
		case <-m.all:
			last.Add(time.Since(m.at))
		case <-time.After(waitForAll):
			return fmt.Errorf("message %d did not reach %d clients", n, m.left.Load())
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	c.message.Store(nil)
	after, err := c.process.Usage()
	r.Room, r.ToAll, r.RoomCPU, r.RoomRSS = c.latencies.Quantiles(), last.Quantiles(), after.CPU-before.CPU, after.RSS
	return err
}

// storm cuts everybody off, publishes meanwhile, and has them all come back.
func (c *crowd) storm(ctx context.Context, r *result) error {
	var all sync.WaitGroup
	for _, one := range c.clients {
		all.Go(func() {
			one.session = one.conn.Session()
			one.conn.Cut()
		})
	}
	all.Wait()
	for n := range c.o.missed {
		if err := c.publish(ctx, c.o.messages+n); err != nil {
			return err
		}
	}
	before, err := c.process.Usage()
	if err != nil {
		return err
	}
	var each bed.Latencies
	began := time.Now()
	if err := c.connect(ctx, &each); err != nil {
		return fmt.Errorf("coming back: %w", err)
	}
	r.Back, r.BackEach = time.Since(began), each.Quantiles()
	r.Returned = r.BackEach.Count
	whole := uint64(1)<<(c.o.messages+c.o.missed) - 1
	if err := c.settle(ctx, whole); err != nil {
		return err
	}
	for _, one := range c.clients {
		if one.conn.Recovered() {
			r.Recovered++
		}
		for missing := whole &^ one.seen.Load(); missing != 0; missing &= missing - 1 {
			r.Lost++
		}
		r.Twice += int(one.twice.Load())
	}
	after, err := c.process.Usage()
	r.StormCPU, r.Peak = after.CPU-before.CPU, after.PeakRSS
	return err
}

// settle waits until everybody has everything, or a few seconds: what is missing then does not come
// any more.
func (c *crowd) settle(ctx context.Context, whole uint64) error {
	timeout := time.NewTimer(5 * time.Second)
	defer timeout.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		missing := false
		for _, one := range c.clients {
			missing = missing || one.seen.Load()&whole != whole
		}
		if !missing {
			return nil
		}
		select {
		case <-tick.C:
		case <-timeout.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (c *crowd) publish(ctx context.Context, n int) error {
	body, err := json.Marshal(
		map[string]any{
			"event": event,
			"room":  "conversation:" + c.room,
			"data":  map[string]any{"n": n, "text": string(bytes.Repeat([]byte("x"), c.o.payload))},
		},
	)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url+"/api/publish", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header = http.Header{"Content-Type": {"application/json"}, "Authorization": {"Bearer " + publishSecret}}
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusAccepted {
		return errors.Join(fmt.Errorf("publish: HTTP %d", resp.StatusCode), err)
	}
	return nil
}

// leave ends every connection that is left.
func (c *crowd) leave() {
	var all sync.WaitGroup
	for _, one := range c.clients {
		if one.conn != nil {
			all.Go(one.conn.Cut)
		}
	}
	all.Wait()
}
