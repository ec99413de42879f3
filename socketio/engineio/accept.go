package engineio

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/gorilla/websocket"
)

// opening is a connection while gorilla/websocket makes the handshake on it (RFC 6455 §4.2): it
// keeps the answer, which goes out with the first packet, and frames that the client sent along
// with its request. From then on frames are read and written here; see frames.
type opening struct {
	net.Conn // set by Hijack
	early    []byte
	answer   []byte
}

// Write is for the answer alone.
func (o *opening) Write(p []byte) (int, error) {
	o.answer = append(o.answer, p...)
	return len(p), nil
}

// hijacker has gorilla/websocket take an opening where it expects the HTTP server's connection.
type hijacker struct {
	http.ResponseWriter
	o *opening
}

// Hijack implements http.Hijacker, also where a middleware has wrapped the response.
func (h hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	nc, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	o := h.o
	o.Conn = nc
	if n := rw.Reader.Buffered(); n > 0 {
		o.early = make([]byte, n)
		if _, err := io.ReadFull(rw.Reader, o.early); err != nil { // they are in memory
			return nc, rw, err
		}
	}
	return o, rw, nil
}

// accept makes the websocket handshake. The response is not written yet: it goes out with the first
// packet. A nil link means that the client has been answered with an error, or could not be.
func (s *Server) accept(w http.ResponseWriter, r *http.Request, c *Conn, h http.Header) *link {
	upgrader := websocket.Upgrader{
		CheckOrigin: func(*http.Request) bool { return true }, // CORS has decided on it
		Error: func(_ http.ResponseWriter, r *http.Request, _ int, reason error) {
			s.refuse(w, r, refusal(CodeBadRequest, reason.Error()))
		},
	}
	o := &opening{answer: make([]byte, 0, 384)} // with room for the first packet
	if _, err := upgrader.Upgrade(hijacker{w, o}, r, h); err != nil {
		if o.Conn != nil {
			_ = o.Conn.Close()
		}
		return nil
	}
	l := &link{c: c, unread: o.early, rest: o.answer}
	if err := l.adopt(o.Conn); err != nil {
		s.refused(r, refusal(CodeBadRequest, fmt.Sprintf("connection can't become a websocket: %v", err)))
		_ = o.Conn.Close()
		return nil
	}
	return l
}
