package main

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/supabridge/supabridge/socketio"
	"github.com/supabridge/supabridge/socketio/engineio"
)

// engineServer is what engine.io-protocol v4 expects, or v3.
func engineServer(version3 bool) closer {
	return engineio.NewServer(engineio.Options{
		AllowEIO3:    version3,
		PingInterval: 300 * time.Millisecond,
		PingTimeout:  200 * time.Millisecond,
		Accept:       func(c *engineio.Conn) engineio.Handler { return echo{c} },
	})
}

// echo sends every message back.
type echo struct{ c *engineio.Conn }

func (e echo) Message(data []byte, binary bool) {
	if binary {
		_ = e.c.Send(engineio.NewBinary(data)) // to a client that has gone, nothing
		return
	}
	_ = e.c.Send(engineio.NewText(data))
}

func (echo) Ready() bool          { return true }
func (echo) Work()                {}
func (echo) Closed(string, error) {}

// protocolServer is what socket.io-protocol v5 expects.
func protocolServer() closer {
	io := socketio.NewServer(socketio.Options{
		PingInterval:   300 * time.Millisecond,
		PingTimeout:    200 * time.Millisecond,
		ConnectTimeout: time.Second,
	})
	for _, n := range []*socketio.Namespace{io.Namespace, io.Of("/custom")} {
		n.OnConnection(func(s *socketio.Socket) { _ = s.Emit("auth", s.Handshake().Auth) })
		n.On("message", func(e *socketio.Event) { _ = e.Socket.Emit("message-back", e.Values()...) })
		n.On("message-with-ack", func(e *socketio.Event) { e.Ack(e.Values()...) })
	}
	return io
}

// clientServer is the server that the tests of the socket.io-client package run against.
func clientServer() closer {
	io := socketio.NewServer(socketio.Options{
		PingInterval: 2 * time.Second,
		Recovery:     socketio.Recovery{Enabled: true},
		Allow: func(r *http.Request) error { // slow, for tests of the client's timeout
			t := time.NewTimer(10 * time.Millisecond)
			defer t.Stop()
			select {
			case <-t.C:
				return nil
			case <-r.Context().Done():
				return r.Context().Err()
			}
		},
	})
	getID := func(e *socketio.Event) { e.Ack(e.Socket.ID()) }
	io.Of("/foo").On("getId", getID)
	for _, name := range []string{"/timeout_socket", "/valid", "/asd"} {
		io.Of(name)
	}
	io.Of("/abc").OnConnection(func(s *socketio.Socket) { _ = s.Emit("handshake", handshake(s)) })
	io.Of("/no").
		Use(func(*socketio.Socket) error { return &socketio.ConnectError{Message: "Auth failed (custom namespace)"} })
	io.Use(func(s *socketio.Socket) error {
		if s.Handshake().Query["fail"] != "" {
			return &socketio.ConnectError{Message: "Auth failed (main namespace)"}
		}
		return nil
	})
	io.On("getId", getID)
	io.On("getHandshake", func(e *socketio.Event) { e.Ack(handshake(e.Socket)) })
	io.On("echo", func(e *socketio.Event) { e.Ack(e.Values()...) })
	io.On("getAckDate", func(e *socketio.Event) { e.Ack(time.Now()) })
	io.OnConnection(func(s *socketio.Socket) {
		emit := func(event string, args ...any) func(*socketio.Event) {
			return func(*socketio.Event) { _ = s.Emit(event, args...) }
		}
		s.On("hi", emit("hi"))
		s.On("getDate", func(*socketio.Event) { _ = s.Emit("takeDate", time.Now()) })
		s.On("getDateObj", func(*socketio.Event) { _ = s.Emit("takeDateObj", map[string]any{"date": time.Now()}) })
		s.On("getUtf8", func(*socketio.Event) {
			for _, text := range []string{"てすと", "Я Б Г Д Ж Й", "Ä ä Ü ü ß", "utf8 — string", "utf8 — string"} {
				_ = s.Emit("takeUtf8", text)
			}
		})
		s.On("false", emit("false", false))
		s.On("doge", emit("doge", []byte("asdfasdf")))
		s.On("getbin", emit("takebin", []byte("asdfasdf")))
		s.On("ack", func(*socketio.Event) {
			_, _ = s.EmitFunc(func(r *socketio.Reply, err error) {
				var n int
				var b struct{ Test bool }
				if err == nil && r.Decode(0, &n) == nil && r.Decode(1, &b) == nil && n == 5 && b.Test {
					_ = s.Emit("got it")
				}
			}, "ack")
		})
		binary(s)
	})
	return io
}

// binary answers the events with which the client's tests send bytes.
func binary(s *socketio.Socket) {
	isBytes := func(e *socketio.Event) bool { return e.Bytes(0) != nil }
	isMixed := func(e *socketio.Event) bool {
		var v struct {
			Hello   string
			Message []byte
			Goodbye string
		}
		return e.Decode(0, &v) == nil && v.Hello == "lol" && len(v.Message) > 0 && v.Goodbye == "gotcha"
	}
	answerIf := func(event, answer string, good func(*socketio.Event) bool) {
		s.On(event, func(e *socketio.Event) {
			if good(e) {
				_ = s.Emit(answer)
			}
		})
	}
	answerIf("buffa", "buffack", isBytes)
	answerIf("jsonbuff", "jsonbuff-ack", isMixed)
	answerIf("blob", "back", isBytes)
	answerIf("jsonblob", "jsonblob-ack", isMixed)
	buffers, blobs := 0, 0 // the connection's events are handled one at a time
	s.On("abuff1", func(e *socketio.Event) {
		if isBytes(e) {
			buffers++
		}
	})
	answerIf("abuff2", "abuff2-ack", func(*socketio.Event) bool { return buffers == 1 })
	s.On("blob1", func(e *socketio.Event) {
		if isBytes(e) {
			blobs++
		}
	})
	s.On("blob2", func(e *socketio.Event) {
		var text string
		if e.Decode(0, &text) == nil && text == "second" && blobs == 1 {
			blobs++
		}
	})
	answerIf("blob3", "blob3-ack", func(e *socketio.Event) bool { return isBytes(e) && blobs == 2 })
}

// handshake is a socket's handshake as Node.js shows it.
func handshake(s *socketio.Socket) map[string]any {
	h := s.Handshake()
	headers := make(map[string]string)
	for name := range h.Header {
		headers[lower(name)] = h.Header.Get(name)
	}
	return map[string]any{
		"headers": headers, "time": h.Time.String(), "address": h.RemoteAddr, "xdomain": h.Header.Get("Origin") != "",
		"secure": h.Secure, "issued": h.Time.UnixMilli(), "url": h.URL, "query": h.Query, "auth": json.RawMessage(h.Auth),
	}
}
