package sample

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

const (
	greetTimeout = 5 * time.Second // for the bridge to accept a colleague
	sayTimeout   = 2 * time.Second // to write one packet
	maxPacket    = 1 << 20         // bytes of a packet from the bridge; they are read only for their type
)

// Engine.IO packet types, and behind a message its Socket.IO type.
const (
	packetOpen    = '0'
	packetPing    = '2'
	packetPong    = "3"
	packetConnect = "40"
	packetRefused = "44"
	packetEvent   = "42"
)

// colleague is a user played here: connected to the bridge as a browser is, hence online, and
// typing now and then. Its methods belong to one goroutine; a second one, started by arrive and
// ended by close or by the connection's end, reads.
type colleague struct {
	address string
	user    User
	token   func(userID string) (string, error)

	conn *websocket.Conn // nil until the first arrival
	gone chan struct{}   // closed by the reading goroutine when it ends
	say  sync.Mutex      // held to write to conn
}

func newColleague(bridge string, user User, token func(string) (string, error)) *colleague {
	if token == nil {
		token = func(string) (string, error) { return user.Token, nil }
	}
	address := "ws" + strings.TrimPrefix(strings.TrimRight(bridge, "/"), "http") + "/socket.io/?EIO=4&transport=websocket"
	return &colleague{address: address, user: user, token: token}
}

// arrive connects the colleague and enters the tenant, unless that has been done and holds.
func (c *colleague) arrive(ctx context.Context) error {
	if c.conn != nil {
		select {
		case <-c.gone:
			c.close()
		default:
			return nil
		}
	}
	if err := c.connect(ctx); err != nil {
		return fmt.Errorf("sample: traffic: connecting %s to the bridge: %w", c.user.Name, err)
	}
	return c.emit("join_distributor", map[string]string{"distributorId": c.user.Tenant})
}

func (c *colleague) connect(ctx context.Context) (err error) {
	token, err := c.token(c.user.ID)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, greetTimeout)
	defer cancel()
	conn, _, err := websocket.DefaultDialer.DialContext(ctx, c.address, nil)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			conn.Close()
		}
	}()
	conn.SetReadLimit(maxPacket)
	if err := conn.SetReadDeadline(time.Now().Add(greetTimeout)); err != nil {
		return err
	}
	_, open, err := conn.ReadMessage()
	if err != nil {
		return err
	}
	var pace struct {
		PingInterval int `json:"pingInterval"` // milliseconds
		PingTimeout  int `json:"pingTimeout"`
	}
	if len(open) == 0 || open[0] != packetOpen || json.Unmarshal(open[1:], &pace) != nil {
		return errors.New("the answer is not Engine.IO's")
	}
	auth, err := json.Marshal(map[string]string{"token": token})
	if err != nil {
		return err
	}
	if err := conn.WriteMessage(websocket.TextMessage, append([]byte(packetConnect), auth...)); err != nil {
		return err
	}
	_, accepted, err := conn.ReadMessage()
	switch {
	case err != nil:
		return err
	case strings.HasPrefix(string(accepted), packetRefused):
		return errors.New("the token was refused")
	case !strings.HasPrefix(string(accepted), packetConnect):
		return errors.New("the answer is not Socket.IO's")
	}
	c.conn, c.gone = conn, make(chan struct{})
	go c.read(time.Duration(pace.PingInterval+pace.PingTimeout) * time.Millisecond)
	return nil
}

// read answers pings until the connection ends or stays silent for too long. What the bridge tells
// is for the page, not for us.
func (c *colleague) read(silence time.Duration) {
	defer close(c.gone)
	for {
		if err := c.conn.SetReadDeadline(time.Now().Add(silence)); err != nil {
			return
		}
		_, packet, err := c.conn.ReadMessage()
		if err != nil {
			return
		}
		if len(packet) > 0 && packet[0] == packetPing && c.send([]byte(packetPong)) != nil {
			return
		}
	}
}

func (c *colleague) send(packet []byte) error {
	c.say.Lock()
	defer c.say.Unlock()
	if err := c.conn.SetWriteDeadline(time.Now().Add(sayTimeout)); err != nil {
		return err
	}
	return c.conn.WriteMessage(websocket.TextMessage, packet)
}

func (c *colleague) emit(event string, argument map[string]string) error {
	text, err := json.Marshal([]any{event, argument})
	if err != nil {
		return err
	}
	if err := c.send(append([]byte(packetEvent), text...)); err != nil {
		return fmt.Errorf("sample: traffic: %s of %s: %w", event, c.user.Name, err)
	}
	return nil
}

// startTyping joins the conversation first: only there does the bridge tell others who types.
func (c *colleague) startTyping(conversation string) error {
	about := map[string]string{"conversationId": conversation}
	if err := c.emit("join_conversation", about); err != nil {
		return err
	}
	return c.emit("typing_start", about)
}

// stopTyping leaves the conversation as well, which ends the typing there.
func (c *colleague) stopTyping(conversation string) error {
	about := map[string]string{"conversationId": conversation}
	if err := c.emit("typing_stop", about); err != nil {
		return err
	}
	return c.emit("leave_conversation", about)
}

// close ends the connection and waits for the reading goroutine. Closing twice, or before any
// arrival, does nothing.
func (c *colleague) close() {
	if c.conn == nil {
		return
	}
	c.conn.Close()
	<-c.gone
	c.conn = nil
}
