package load

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// Bounds of a client.
const (
	writeWait  = 10 * time.Second
	maxMessage = 1 << 20 // bytes of a frame
	bufferSize = 1 << 10 // of each connection, each way: there are many of them
)

// ErrRefused means that the server did not let the client in; its words are in the error's text.
var ErrRefused = errors.New("refused")

// Session is what a client needs to get back what it missed.
type Session struct{ PID, Offset string }

// Client is one browser: a Socket.IO client over WebSocket, without reconnection. A goroutine reads
// until the connection ends.
type Client struct {
	conn  *websocket.Conn
	event func(name string, args []byte)
	ended chan struct{}

	mu        sync.Mutex // guards writing and what follows
	session   Session
	recovered bool
	next      uint64
	acks      map[uint64]chan json.RawMessage
}

// ClientOptions say how a client connects.
type ClientOptions struct {
	// URL is the server's, http://host:port, and Path that of its endpoint; empty is /socket.io/.
	URL, Path string
	// Token is sent as auth.token where it is not empty.
	Token string
	// Session is that of a connection that broke; the zero value begins anew.
	Session Session
	// Event is called by the reading goroutine for every event: args is the JSON list of them, without
	// the name. It must not wait.
	Event func(name string, args []byte)
}

// Dial connects and waits until the server has let the client in. ErrRefused is in the error's
// chain where it did not.
func Dial(ctx context.Context, o ClientOptions) (*Client, error) {
	address, err := url.Parse(o.URL)
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	address.Scheme = strings.Replace(address.Scheme, "http", "ws", 1)
	if o.Path == "" {
		o.Path = "/socket.io/"
	}
	address.Path, address.RawQuery = strings.TrimRight(o.Path, "/")+"/", "EIO=4&transport=websocket"
	dialer := websocket.Dialer{HandshakeTimeout: time.Minute, ReadBufferSize: bufferSize, WriteBufferSize: bufferSize}
	conn, resp, err := dialer.DialContext(ctx, address.String(), nil)
	if err != nil {
		if resp != nil && resp.StatusCode != http.StatusSwitchingProtocols {
			return nil, fmt.Errorf("load: connect: %w: HTTP %d", ErrRefused, resp.StatusCode)
		}
		return nil, fmt.Errorf("load: connect: %w", err)
	}
	conn.SetReadLimit(maxMessage)
	c := &Client{
		conn:    conn,
		event:   o.Event,
		ended:   make(chan struct{}),
		session: o.Session,
		acks:    make(map[uint64]chan json.RawMessage),
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	err = c.enter(o)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("load: connect: %w", err)
	}
	go c.read()
	return c, nil
}

// enter is the handshake: the server's open, our connect, its answer.
func (c *Client) enter(o ClientOptions) error {
	if _, frame, err := c.conn.ReadMessage(); err != nil || len(frame) == 0 || frame[0] != '0' {
		return errors.Join(errors.New("no Engine.IO server"), err)
	}
	auth := make(map[string]string)
	if o.Token != "" {
		auth["token"] = o.Token
	}
	if o.Session.PID != "" {
		auth["pid"], auth["offset"] = o.Session.PID, o.Session.Offset
	}
	payload, err := json.Marshal(auth)
	if err != nil {
		return err
	}
	if err := c.write("40" + string(payload)); err != nil {
		return err
	}
	for {
		_, frame, err := c.conn.ReadMessage()
		if err != nil {
			return err
		}
		switch {
		case bytes.HasPrefix(frame, []byte("40")):
			var who struct{ PID string }
			if err := json.Unmarshal(frame[2:], &who); err != nil {
				return err
			}
			c.recovered = who.PID != "" && who.PID == o.Session.PID
			if !c.recovered {
				c.session.Offset = ""
			}
			c.session.PID = who.PID
			return nil
		case bytes.HasPrefix(frame, []byte("44")):
			return fmt.Errorf("%w: %s", ErrRefused, frame[2:])
		default:
			if err := c.take(frame); err != nil {
				return err
			}
		}
	}
}

// Recovered tells whether the server gave back the rooms and what was missed.
func (c *Client) Recovered() bool { return c.recovered }

// Session is what a later connection needs to go on from here.
func (c *Client) Session() Session {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.session
}

func (c *Client) read() {
	defer close(c.ended)
	for {
		_, frame, err := c.conn.ReadMessage()
		if err != nil || c.take(frame) != nil {
			_ = c.conn.Close() // it may be closed already
			return
		}
	}
}

// take deals with one packet.
func (c *Client) take(frame []byte) error {
	switch {
	case len(frame) == 0:
	case frame[0] == '2':
		return c.write("3")
	case bytes.HasPrefix(frame, []byte("42[")):
		c.heard(frame[2:])
	case bytes.HasPrefix(frame, []byte("43")):
		c.answered(frame[2:])
	case frame[0] == '1', bytes.HasPrefix(frame, []byte("41")):
		return net.ErrClosed
	}
	return nil
}

// heard passes an event on, and keeps its offset: a text after the arguments of a server that can
// recover.
func (c *Client) heard(list []byte) {
	if !bytes.HasPrefix(list, []byte(`["`)) {
		return
	}
	end := bytes.IndexByte(list[2:], '"')
	if end < 0 {
		return
	}
	name, args := string(list[2:2+end]), list[2+end+1:]
	c.mu.Lock()
	if c.session.PID != "" && bytes.HasSuffix(args, []byte(`"]`)) {
		if i := bytes.LastIndexByte(args[:len(args)-2], '"'); i > 0 && args[i-1] == ',' {
			c.session.Offset = string(args[i+1 : len(args)-2])
		}
	}
	c.mu.Unlock()
	if c.event != nil {
		c.event(name, args)
	}
}

func (c *Client) answered(packet []byte) {
	digits := bytes.IndexByte(packet, '[')
	if digits < 0 {
		return
	}
	id, err := strconv.ParseUint(string(packet[:digits]), 10, 64)
	if err != nil {
		return
	}
	c.mu.Lock()
	answer := c.acks[id]
	delete(c.acks, id)
	c.mu.Unlock()
	if answer != nil {
		answer <- json.RawMessage(packet[digits:])
	}
}

// Emit sends an event and waits for nothing.
func (c *Client) Emit(name string, args ...any) error {
	text, err := json.Marshal(append([]any{name}, args...))
	if err != nil {
		return err
	}
	return c.write("42" + string(text))
}

// Call sends an event and gives the first argument of its acknowledgement.
func (c *Client) Call(ctx context.Context, name string, args ...any) (json.RawMessage, error) {
	text, err := json.Marshal(append([]any{name}, args...))
	if err != nil {
		return nil, err
	}
	answer := make(chan json.RawMessage, 1)
	c.mu.Lock()
	id := c.next
	c.next++
	c.acks[id] = answer
	c.mu.Unlock()
	if err := c.write("42" + strconv.FormatUint(id, 10) + string(text)); err != nil {
		return nil, fmt.Errorf("load: %s: %w", name, err)
	}
	select {
	case list := <-answer:
		var first []json.RawMessage
		if err := json.Unmarshal(list, &first); err != nil || len(first) == 0 {
			return nil, errors.Join(fmt.Errorf("load: %s: an empty answer", name), err)
		}
		return first[0], nil
	case <-c.ended:
		return nil, fmt.Errorf("load: %s: %w", name, net.ErrClosed)
	case <-ctx.Done():
		c.mu.Lock()
		delete(c.acks, id)
		c.mu.Unlock()
		return nil, fmt.Errorf("load: %s: %w", name, ctx.Err())
	}
}

func (c *Client) write(frame string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.conn.SetWriteDeadline(time.Now().Add(writeWait)); err != nil {
		return err
	}
	return c.conn.WriteMessage(websocket.TextMessage, []byte(frame))
}

// Done is closed when the connection has ended, whoever ended it.
func (c *Client) Done() <-chan struct{} { return c.ended }

// Close says goodbye and ends the connection. Nothing of it can be recovered.
func (c *Client) Close() {
	_ = c.write("41") // the connection may be gone
	c.Cut()
}

// Cut ends the connection without a word, as a network does, and waits for the reading goroutine.
func (c *Client) Cut() {
	_ = c.conn.Close() // it may be closed already
	<-c.ended
}
