package engineio

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// The opening handshake of a websocket (RFC 6455 §4.2).

// isUpgrade says whether r asks for a websocket.
func isUpgrade(r *http.Request) bool {
	return hasToken(r.Header["Connection"], "upgrade") && hasToken(r.Header["Upgrade"], "websocket")
}

// hasToken says whether a header that is a list has the word in it, in lower or upper case.
func hasToken(values []string, word string) bool {
	for _, v := range values {
		for e := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(e), word) {
				return true
			}
		}
	}
	return false
}

// acceptKey is the server's answer to a client's key.
func acceptKey(key string) [28]byte {
	var b [64]byte
	sum := sha1.Sum(append(append(b[:0], key...), "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"...))
	var text [28]byte
	base64.StdEncoding.Encode(text[:], sum[:])
	return text
}

// validKey says whether a client's key is 16 bytes in base64.
func validKey(key string) bool {
	var b [18]byte
	if len(key) != base64.StdEncoding.EncodedLen(16) {
		return false
	}
	n, err := base64.StdEncoding.Decode(b[:], []byte(key))
	return err == nil && n == 16
}

// accept makes the websocket handshake. The response is not written yet: it goes out with the first packet. A nil link means that the
// client has been answered with an error, or could not be.
func (s *Server) accept(w http.ResponseWriter, r *http.Request, c *Conn, h http.Header) *link {
	key := r.Header.Get("Sec-Websocket-Key")
	if r.Header.Get("Sec-Websocket-Version") != "13" {
		w.Header().Set("Sec-Websocket-Version", "13")
		s.refuse(w, r, refusal(CodeBadRequest, "websocket version is not 13"))
		return nil
	}
	if !validKey(key) {
		s.refuse(w, r, refusal(CodeBadRequest, "websocket key is not 16 bytes in base64"))
		return nil
	}
	nc, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		s.refuse(w, r, refusal(CodeBadRequest, fmt.Sprintf("connection can't become a websocket: %v", err)))
		return nil
	}
	l := &link{c: c}
	l.frames.limit = s.opts.MaxPayload
	if n := rw.Reader.Buffered(); n > 0 { // frames sent along with the request
		l.unread = make([]byte, n)
		if _, err := io.ReadFull(rw.Reader, l.unread); err != nil { // they are in memory
			_ = nc.Close()
			return nil
		}
	}
	l.rest = response(acceptKey(key), h)
	if err := l.adopt(nc); err != nil {
		s.refused(r, refusal(CodeBadRequest, fmt.Sprintf("connection can't become a websocket: %v", err)))
		_ = nc.Close()
		return nil
	}
	return l
}

// response is the answer to an upgrade request, with room for the first packet.
func response(accept [28]byte, h http.Header) []byte {
	b := make([]byte, 0, 384)
	b = append(b, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "...)
	b = append(b, accept[:]...)
	b = append(b, '\r', '\n')
	if len(h) > 0 {
		buf := bytes.NewBuffer(b)
		_ = h.Write(buf) // to memory
		b = buf.Bytes()
	}
	return append(b, '\r', '\n')
}
