package engineio

import (
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Request is what is kept of the HTTP request that opened a connection. It is immutable.
type Request struct {
	// RemoteAddr is the peer's address and port, as net/http saw it.
	RemoteAddr string
	// URL is the request's path and query.
	URL string
	// Host is the host the client asked for.
	Host string
	// Secure says whether TLS ended in this process.
	Secure bool
	// Time is when the connection was opened.
	Time time.Time

	// Without those of the websocket handshake.
	header string // "name\x00value\x00" for each header: a fraction of a map's size
}

// NewRequest keeps what matters of r.
func NewRequest(r *http.Request) *Request {
	size := 0
	for name, values := range r.Header {
		for _, v := range values {
			size += len(name) + len(v) + 2
		}
	}
	var b strings.Builder
	b.Grow(size) // a builder that grows by itself would keep up to twice as much
	for name, values := range r.Header {
		if strings.HasPrefix(name, "Sec-Websocket-") {
			continue // the handshake's own
		}
		for _, v := range values {
			b.WriteString(name)
			b.WriteByte(0)
			b.WriteString(v)
			b.WriteByte(0)
		}
	}
	return &Request{RemoteAddr: r.RemoteAddr, URL: strings.Clone(r.URL.RequestURI()), Host: strings.Clone(r.Host),
		Secure: r.TLS != nil, Time: time.Now(), header: b.String()}
}

// Header returns a new map of the request's headers.
func (q *Request) Header() http.Header {
	h := make(http.Header)
	rest := q.header
	for rest != "" {
		var name, value string
		name, rest, _ = strings.Cut(rest, "\x00")
		value, rest, _ = strings.Cut(rest, "\x00")
		h[name] = append(h[name], value)
	}
	return h
}

// Query returns the request's query parameters, the first of each name.
func (q *Request) Query() map[string]string {
	_, raw, _ := strings.Cut(q.URL, "?")
	values, _ := url.ParseQuery(raw) // what can be read of it
	m := make(map[string]string, len(values))
	for k, v := range values {
		m[k] = v[0]
	}
	return m
}

// newID returns 120 random bits in URL-safe text.
func newID() string {
	var b [15]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the process rather than return an error
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// openPacket is what a client is told first.
func (s *Server) openPacket(id string, upgrades bool) *Message {
	b := make([]byte, maxHead, maxHead+160)
	b = append(b, `0{"sid":"`...)
	b = append(b, id...)
	b = append(b, `","upgrades":[`...)
	if upgrades {
		b = append(b, `"websocket"`...)
	}
	b = append(b, `],"pingInterval":`...)
	b = strconv.AppendInt(b, s.opts.PingInterval.Milliseconds(), 10)
	b = append(b, `,"pingTimeout":`...)
	b = strconv.AppendInt(b, s.opts.PingTimeout.Milliseconds(), 10)
	b = append(b, `,"maxPayload":`...)
	b = strconv.AppendInt(b, int64(s.opts.MaxPayload), 10)
	b = append(b, '}')
	return finish(b, opText, kindText)
}
