package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/gorilla/websocket"
)

// An attack does one bad thing to the daemon at address, with a good token where it needs one, and
// returns an error where the daemon let it have what it wanted. It is called again and again, by
// several goroutines, while the gate is open.
type attack func(ctx context.Context, address, token string) error

// attacks are what SECURITY.md says is withstood.
var attacks = map[string]attack{
	"half a request":          slowHeader,
	"half a body":             slowBody,
	"ping flood":              pingFlood,
	"pong flood":              pongFlood,
	"polling flood":           pollingFlood,
	"sessions left open":      abandonedSessions,
	"oversize frame":          oversizeFrame,
	"oversize body":           oversizeBody,
	"endless body":            endlessBody,
	"compression bomb":        compressionBomb,
	"compressed frame":        compressedFrame,
	"foreign origin":          foreignOrigin,
	"room guessing":           roomGuessing,
	"event flood":             eventFlood,
	"join flood":              joinFlood,
	"token guessing":          tokenGuessing,
	"no reading":              noReading,
	"poll without reading":    pollWithoutReading,
	"admin password guessing": adminGuessing,
}

// attackers carries out attacks until its input ends: "go" opens the gate, "stop" closes it. What
// the daemon wrongly allowed is printed.
func attackers(address, token string, names []string) {
	beNice()
	ctx, cancel := context.WithCancel(context.Background())
	open := make(chan chan struct{}, 1) // holds the gate: a channel that is closed while it is open
	open <- make(chan struct{})
	finish := make(chan struct{})
	var wait sync.WaitGroup
	var mu sync.Mutex
	tries, wrong := make(map[string]int), make(map[string]string)
	for _, name := range names {
		for range 2 {
			wait.Go(func() {
				for {
					gate := <-open
					open <- gate
					select {
					case <-gate:
					case <-finish:
						return
					}
					err := attacks[name](ctx, address, token)
					pause(ctx, attackPause)
					mu.Lock()
					tries[name]++
					if err != nil && ctx.Err() == nil {
						wrong[name] = err.Error()
					}
					mu.Unlock()
				}
			})
		}
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		gate := <-open
		switch lines.Text() {
		case "go":
			close(gate)
		case "stop", "finish":
			gate = make(chan struct{})
		}
		open <- gate
		if lines.Text() == "finish" {
			break
		}
	}
	grace := time.AfterFunc(patient, cancel) // for those that wait for the daemon to act
	defer grace.Stop()
	close(finish)
	wait.Wait()
	cancel()
	for _, name := range slices.Sorted(maps.Keys(tries)) {
		fmt.Printf("tried %s: %d\n", name, tries[name])
	}
	for name, err := range wrong {
		fmt.Printf("WRONG %s: %s\n", name, err)
	}
}

// attackPause is between two attempts of an attacker, whose own work, on a machine that the daemon
// shares with it, is not what is looked at.
const attackPause = 20 * time.Millisecond

// patient is how long an attacker waits for the daemon to defend itself: longer than any of its
// limits here.
const patient = 15 * time.Second

// dial opens a connection whose reads and writes end in time, or with the attack.
func dial(ctx context.Context, address string) (net.Conn, func(), error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, nil, nil // full, or refused: no success of the attacker's
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patient)); err != nil {
		return nil, nil, err
	}
	return conn, func() { stop(); _ = conn.Close() }, nil
}

// drip sends text a byte at a time until the daemon closes the connection, which it must.
func drip(ctx context.Context, address, head, text string) error {
	conn, end, err := dial(ctx, address)
	if conn == nil {
		return err
	}
	defer end()
	if _, err := io.WriteString(conn, head); err != nil {
		return nil
	}
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		_, _ = io.Copy(io.Discard, conn) // until the end
	}()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patient - time.Second)
	for i := 0; ; i++ {
		select {
		case <-closed:
			return nil
		case <-ctx.Done():
			end()
			<-closed
			return nil
		case <-deadline:
			end()
			<-closed
			return fmt.Errorf("the connection was left open for %s", patient)
		case <-tick.C:
			_, _ = io.WriteString(conn, text[i%len(text):i%len(text)+1]) // when it fails the reader sees the end
		}
	}
}

func slowHeader(ctx context.Context, address, _ string) error {
	return drip(ctx, address, "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\nX-Slow: ", "x")
}

func slowBody(ctx context.Context, address, token string) error {
	sid, err := session(ctx, address)
	if sid == "" {
		return err
	}
	return drip(ctx, address, "POST /socket.io/?EIO=4&transport=polling&sid="+sid+" HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n4", "0")
}

// session opens one by long-polling; empty where the daemon gives none.
func session(ctx context.Context, address string) (sid string, err error) {
	status, body := ask(ctx, "GET", "http://"+address+"/socket.io/?EIO=4&transport=polling", nil, nil)
	_, rest, ok := strings.Cut(body, `"sid":"`)
	if status != http.StatusOK || !ok {
		return "", nil
	}
	sid, _, _ = strings.Cut(rest, `"`)
	return sid, nil
}

var attacker = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4, DisableCompression: true}, Timeout: patient}

// ask gives the status, 0 for no answer, and the beginning of the body.
func ask(ctx context.Context, method, url string, body io.Reader, header http.Header) (status int, text string) {
	r, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return 0, err.Error()
	}
	for name, values := range header {
		r.Header[name] = values
	}
	resp, err := attacker.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	begin, _ := io.ReadAll(io.LimitReader(resp.Body, 4096)) // as far as it comes
	if origin := resp.Header.Get("Access-Control-Allow-Origin"); origin != "" {
		return resp.StatusCode, "Access-Control-Allow-Origin: " + origin
	}
	return resp.StatusCode, string(begin)
}

// socket opens a websocket; nil where the daemon gives none.
func socket(ctx context.Context, address string, header http.Header) *websocket.Conn {
	ctx, cancel := context.WithTimeout(ctx, patient)
	defer cancel()
	conn, resp, err := (&websocket.Dialer{EnableCompression: true}).DialContext(ctx, "ws://"+address+"/socket.io/?EIO=4&transport=websocket", header)
	if err != nil {
		return nil
	}
	if resp.Header.Get("Sec-WebSocket-Extensions") != "" {
		_ = conn.Close()
		panic("the daemon agreed on compression")
	}
	return conn
}

// joined opens a websocket that is let in.
func joined(ctx context.Context, address, token string) (*client, error) {
	ctx, cancel := context.WithTimeout(ctx, patient)
	defer cancel()
	return connect(ctx, address, token, nil)
}

// flood writes frames for a moment, or until the connection is closed.
func flood(ctx context.Context, conn *websocket.Conn, write func() error) {
	moment, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	for moment.Err() == nil && write() == nil {
	}
	_ = conn.Close()
}

func pingFlood(ctx context.Context, address, _ string) error {
	if conn := socket(ctx, address, nil); conn != nil {
		flood(ctx, conn, func() error {
			return conn.WriteControl(websocket.PingMessage, make([]byte, 125), time.Now().Add(time.Second))
		})
	}
	return nil
}

func pongFlood(ctx context.Context, address, _ string) error {
	if conn := socket(ctx, address, nil); conn != nil {
		flood(ctx, conn, func() error { return conn.WriteMessage(websocket.TextMessage, []byte("3")) })
	}
	return nil
}

func pollingFlood(ctx context.Context, address, _ string) error {
	for range 50 {
		if status, body := ask(ctx, "GET", "http://"+address+"/socket.io/?EIO=4&transport=polling&sid="+rand.Text()[:20], nil, nil); status == http.StatusOK {
			return fmt.Errorf("a made-up session answers %s", body)
		}
	}
	return nil
}

func abandonedSessions(ctx context.Context, address, _ string) error {
	for range 20 {
		if _, err := session(ctx, address); err != nil {
			return err
		}
	}
	pause(ctx, 200*time.Millisecond)
	return nil
}

// pause waits, as an attacker does that is limited by its own line.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func oversizeFrame(ctx context.Context, address, token string) error {
	c, err := joined(ctx, address, token)
	if err != nil {
		return nil
	}
	defer c.close()
	_ = c.write(`42["join_conversation","` + strings.Repeat("x", 2<<20) + `"]`) // it may be closed meanwhile
	return ends(ctx, c)
}

// ends waits for the daemon to close a connection.
func ends(ctx context.Context, c *client) error {
	t := time.NewTimer(patient)
	defer t.Stop()
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
		return nil
	case <-t.C:
		return fmt.Errorf("the connection was left open")
	}
}

func oversizeBody(ctx context.Context, address, _ string) error {
	sid, err := session(ctx, address)
	if sid == "" {
		return err
	}
	status, body := ask(ctx, "POST", "http://"+address+"/socket.io/?EIO=4&transport=polling&sid="+sid, bytes.NewReader(make([]byte, 4<<20)), nil)
	if status == http.StatusOK {
		return fmt.Errorf("4 MiB were taken: %s", body)
	}
	return nil
}

func endlessBody(ctx context.Context, address, _ string) error {
	sid, err := session(ctx, address)
	if sid == "" {
		return err
	}
	endless := struct{ io.Reader }{io.LimitReader(zeros{}, 64<<20)} // without a length: sent in chunks
	if status, body := ask(ctx, "POST", "http://"+address+"/socket.io/?EIO=4&transport=polling&sid="+sid, endless, nil); status == http.StatusOK {
		return fmt.Errorf("64 MiB in chunks were taken: %s", body)
	}
	return nil
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '0'
	}
	return len(p), nil
}

// bomb is 100 MB of an event's text in some 100 kB.
var bomb = sync.OnceValue(func() []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = io.WriteString(z, `42["join_conversation","`) // to memory
	_, _ = io.Copy(z, io.LimitReader(zeros{}, 100<<20))
	_ = z.Close()
	return b.Bytes()
})

func compressionBomb(ctx context.Context, address, _ string) error {
	sid, err := session(ctx, address)
	if sid == "" {
		return err
	}
	header := http.Header{"Content-Encoding": {"gzip"}, "Content-Type": {"text/plain"}}
	if status, body := ask(ctx, "POST", "http://"+address+"/socket.io/?EIO=4&transport=polling&sid="+sid, bytes.NewReader(bomb()), header); status == http.StatusOK {
		return fmt.Errorf("a bomb was taken: %s", body)
	}
	pause(ctx, 50*time.Millisecond)
	return nil
}

func compressedFrame(ctx context.Context, address, _ string) error {
	conn := socket(ctx, address, http.Header{"Sec-WebSocket-Extensions": {"permessage-deflate; server_no_context_takeover"}})
	if conn == nil {
		return nil
	}
	defer conn.Close()
	// FIN, RSV1 and text, masked with zeros: compressed, as was not agreed.
	_, _ = conn.NetConn().Write(append([]byte{0xc1, 0x80 | 5, 0, 0, 0, 0}, "bomb!"...)) // it may be closed meanwhile
	_ = conn.SetReadDeadline(time.Now().Add(patient))
	for {
		if _, _, err := conn.ReadMessage(); err != nil {
			if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
				return fmt.Errorf("the connection was left open")
			}
			return nil
		}
	}
}

func foreignOrigin(ctx context.Context, address, _ string) error {
	for _, origin := range []string{
		"https://evil.example.com", "null", "https://app.example.com.evil.com", "https://app.example.com@evil.com", "http://app.example.com", "https://app.example.com:444",
		"https://APP.example.com.", "https://evil.com/https://app.example.com", "//app.example.com",
	} {
		header := http.Header{"Origin": {origin}}
		if conn := socket(ctx, address, header); conn != nil {
			_ = conn.Close()
			return fmt.Errorf("a websocket was opened from %s", origin)
		}
		if _, text := ask(ctx, "GET", "http://"+address+"/socket.io/?EIO=4&transport=polling", nil, header); strings.HasPrefix(text, "Access-Control") {
			return fmt.Errorf("%s was answered %s", origin, text)
		}
	}
	return nil
}

func roomGuessing(ctx context.Context, address, token string) error {
	c, err := joined(ctx, address, token)
	if err != nil {
		return nil
	}
	defer c.close()
	for i := range 200 {
		room := uuid.NewString()
		if i%4 == 0 {
			room = "\x00user:" + room // names of the bridge's own rooms
		}
		answer, err := c.ask(ctx, "join_conversation", room)
		if err != nil {
			return nil // cut off, or stopped
		}
		if strings.Contains(answer, `"success":true`) {
			return fmt.Errorf("let into %s: %s", room, answer)
		}
	}
	return nil
}

func eventFlood(ctx context.Context, address, token string) error {
	c, err := joined(ctx, address, token)
	if err != nil {
		return nil
	}
	flood(ctx, c.conn, func() error { return c.write(`42["typing_start","` + bakery + `"]`) })
	c.close()
	return nil
}

// joinFlood has Supabase asked, as fast as it can, whether rooms may be entered that there are not.
func joinFlood(ctx context.Context, address, token string) error {
	c, err := joined(ctx, address, token)
	if err != nil {
		return nil
	}
	flood(ctx, c.conn, func() error { return c.write(`42["join_conversation","` + uuid.NewString() + `"]`) })
	c.close()
	return nil
}

func tokenGuessing(ctx context.Context, address, token string) error {
	for range 20 {
		if c, err := joined(ctx, address, token[:len(token)-4]+rand.Text()[:4]); err == nil {
			c.close()
			return fmt.Errorf("a forged token was let in")
		}
	}
	return nil
}

func noReading(ctx context.Context, address, token string) error {
	c, err := joined(ctx, address, token)
	if err != nil {
		return nil
	}
	defer c.close()
	if _, err := c.ask(ctx, "join_conversation", bakery); err != nil {
		return nil
	}
	c.mu.Lock() // so that the reader, which answers pings, stands still
	pause(ctx, time.Second)
	c.mu.Unlock()
	return nil
}

// pollWithoutReading asks for what there is, and does not take it.
func pollWithoutReading(ctx context.Context, address, token string) error {
	sid, err := session(ctx, address)
	if sid == "" {
		return err
	}
	ask(ctx, "POST", "http://"+address+"/socket.io/?EIO=4&transport=polling&sid="+sid, strings.NewReader(`40{"token":"`+token+`"}`), nil)
	conn, end, err := dial(ctx, address)
	if conn == nil {
		return err
	}
	defer end()
	_, _ = io.WriteString(conn, "GET /socket.io/?EIO=4&transport=polling&sid="+sid+" HTTP/1.1\r\nHost: x\r\n\r\n") // it may be closed meanwhile
	pause(ctx, time.Second)
	return nil
}

func adminGuessing(ctx context.Context, address, _ string) error {
	conn := socket(ctx, address, nil)
	if conn == nil {
		return nil
	}
	defer conn.Close()
	for range 20 {
		if conn.WriteMessage(websocket.TextMessage, []byte(`40/admin,{"username":"ops","password":"`+rand.Text()+`"}`)) != nil {
			return nil
		}
	}
	_ = conn.SetReadDeadline(time.Now().Add(time.Second))
	for {
		_, frame, err := conn.ReadMessage()
		if err != nil {
			return nil
		}
		if bytes.HasPrefix(frame, []byte("40/admin")) {
			return fmt.Errorf("a guess was let in")
		}
	}
}
