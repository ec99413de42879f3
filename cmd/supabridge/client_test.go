package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/gorilla/websocket"

	"github.com/supabridge/supabridge/bridge/standin"
)

// Rows of the stand-in's own seed.
const (
	harbour = "d1000000-0000-4000-8000-000000000001"
	benID   = "a1000000-0000-4000-8000-000000000002"
	anaID   = "a1000000-0000-4000-8000-000000000001"
	bakery  = "c1000000-0000-4000-8000-000000000001"
)

// tokenFor signs a user's token as the stand-in's project does.
func tokenFor(t *testing.T, user string) string {
	t.Helper()
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"sub": user, "aud": "authenticated", "role": "authenticated", "exp": time.Now().Add(time.Hour).Unix(),
		"app_metadata": map[string]string{"distributor_id": harbour},
	}).SignedString([]byte(standin.DefaultJWTSecret))
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// client is as much of socket.io-client as is needed to watch a daemon from outside: one websocket
// and the main namespace. Its reader owns the connection's reading half; mu guards the writing half
// and what follows.
type client struct {
	conn *websocket.Conn
	done chan struct{} // closed when the reader has ended
	hear func(event, packet string)

	mu   sync.Mutex
	acks map[int]chan string
	next int
	err  error
}

// connect opens a connection and waits until it is let in. hear, if set, is called by the reader
// with each event.
func connect(ctx context.Context, address, token string, hear func(event, packet string)) (*client, error) {
	conn, resp, err := websocket.DefaultDialer.DialContext(ctx, "ws://"+address+"/socket.io/?EIO=4&transport=websocket", nil)
	if err != nil {
		if resp != nil {
			return nil, fmt.Errorf("dial: %w (%s)", err, resp.Status)
		}
		return nil, fmt.Errorf("dial: %w", err)
	}
	c := &client{conn: conn, done: make(chan struct{}), hear: hear, acks: make(map[int]chan string)}
	welcome := make(chan string, 1)
	go c.read(welcome)
	if err := c.write(`40{"token":"` + token + `"}`); err != nil {
		c.close()
		return nil, err
	}
	select {
	case packet, ok := <-welcome:
		if !ok || !strings.HasPrefix(packet, "40") {
			c.close()
			return nil, fmt.Errorf("refused: %s", packet)
		}
		return c, nil
	case <-ctx.Done():
		c.close()
		return nil, ctx.Err()
	}
}

func (c *client) read(welcome chan<- string) {
	defer close(c.done)
	defer close(welcome)
	greeted := false
	for {
		_, frame, err := c.conn.ReadMessage()
		if err != nil {
			c.mu.Lock()
			c.err = err
			for _, ack := range c.acks {
				close(ack)
			}
			c.acks = nil
			c.mu.Unlock()
			return
		}
		packet := string(frame)
		switch {
		case packet == "2":
			if c.write("3") != nil {
				_ = c.conn.Close() // the next read ends
			}
		case !greeted && (strings.HasPrefix(packet, "40") || strings.HasPrefix(packet, "44")):
			greeted = true
			welcome <- packet
		case strings.HasPrefix(packet, "43"):
			digits := len(packet[2:]) - len(strings.TrimLeft(packet[2:], "0123456789"))
			id, _ := strconv.Atoi(packet[2 : 2+digits]) // digits they are
			c.mu.Lock()
			if ack := c.acks[id]; ack != nil {
				ack <- packet[2+digits:]
				delete(c.acks, id)
			}
			c.mu.Unlock()
		case strings.HasPrefix(packet, "42[") && c.hear != nil:
			name, _, _ := strings.Cut(packet[4:], `"`)
			c.hear(name, packet)
		}
	}
}

func (c *client) write(frame string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conn.WriteMessage(websocket.TextMessage, []byte(frame))
}

var errEnded = errors.New("the connection ended")

// ask emits an event and waits for its acknowledgement.
func (c *client) ask(ctx context.Context, event string, args ...any) (string, error) {
	text, err := json.Marshal(append([]any{event}, args...))
	if err != nil {
		return "", err
	}
	ack := make(chan string, 1)
	c.mu.Lock()
	if c.acks == nil {
		c.mu.Unlock()
		return "", errEnded
	}
	id := c.next
	c.next++
	c.acks[id] = ack
	c.mu.Unlock()
	if err := c.write("42" + strconv.Itoa(id) + string(text)); err != nil {
		return "", err
	}
	select {
	case answer, ok := <-ack:
		if !ok {
			return "", errEnded
		}
		return answer, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// close ends the connection and waits for the reader.
func (c *client) close() {
	_ = c.conn.Close() // it may have ended already
	<-c.done
}

// writeMessage has the service role insert a message.
func writeMessage(ctx context.Context, supabase, key, content string) error {
	body, err := json.Marshal(map[string]any{"conversation_id": bakery, "content": content})
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, "POST", supabase+"/rest/v1/messages", strings.NewReader(string(body)))
	if err != nil {
		return err
	}
	r.Header = http.Header{"Apikey": {key}, "Authorization": {"Bearer " + key}, "Content-Type": {"application/json"}}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		return fmt.Errorf("insert: %s", resp.Status)
	}
	return nil
}

// freePort is an address of this machine nobody listens on now.
func freePort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}
