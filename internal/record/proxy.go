package record

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/websocket"

	"github.com/supabridge/supabridge/socketio/parser"
)

// dialTimeout bounds connecting to the upstream server, writeTimeout one message to either side.
const (
	dialTimeout  = 20 * time.Second
	writeTimeout = 10 * time.Second
)

// ServeHTTP passes a request on to the upstream server, and watches it where it belongs to
// Socket.IO.
func (r *Recorder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	query := req.URL.Query()
	if query.Get("transport") == "" {
		r.proxy.ServeHTTP(w, req)
		return
	}
	if query.Get("sid") == "" && req.Method == http.MethodGet {
		r.handshake(req)
	}
	if websocket.IsWebSocketUpgrade(req) {
		r.passSocket(w, req)
		return
	}
	if s, ok := r.sessions.Get(query.Get("sid")); ok && req.Method == http.MethodPost {
		body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxBody))
		if err != nil {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			return
		}
		s.payload(body, false)
		req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	}
	r.proxy.ServeHTTP(w, req)
}

func (r *Recorder) rewrite(p *httputil.ProxyRequest) {
	p.SetURL(r.upstream)
	p.Out.Header.Del("Accept-Encoding") // what is compressed can't be watched
	if r.answers != nil {
		p.Out.URL.Path = answerPath
	}
}

// polled watches the answer to a long poll.
func (r *Recorder) polled(resp *http.Response) error {
	query := resp.Request.URL.Query()
	if query.Get("transport") != "polling" || resp.Request.Method != http.MethodGet || resp.StatusCode != http.StatusOK {
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	resp.Body.Close()
	switch {
	case err != nil:
		return fmt.Errorf("the answer broke off: %w", err)
	case len(body) > maxBody:
		return errors.New("the answer is too long")
	}
	s, ok := r.sessions.Get(query.Get("sid"))
	if !ok {
		s = r.session(query.Get("EIO"))
	}
	s.payload(body, true)
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return nil
}

func (r *Recorder) session(version string) *session {
	return &session{r: r, v3: version != "4", waiting: make(map[uint64]string)}
}

// passSocket passes a WebSocket on in both directions until either side ends it.
func (r *Recorder) passSocket(w http.ResponseWriter, req *http.Request) {
	r.pumps.Add(1)
	defer r.pumps.Done()
	target := r.upstream.JoinPath(req.URL.Path)
	target.Scheme = map[string]string{"http": "ws", "https": "wss"}[target.Scheme]
	target.RawQuery = req.URL.RawQuery
	if r.answers != nil {
		target.Path = answerPath
	}
	header := req.Header.Clone()
	for name := range header {
		if strings.HasPrefix(name, "Sec-Websocket-") || name == "Connection" || name == "Upgrade" {
			header.Del(name)
		}
	}
	dialer := websocket.Dialer{Proxy: http.ProxyFromEnvironment, HandshakeTimeout: dialTimeout}
	up, resp, err := dialer.DialContext(r.ctx, target.String(), header)
	if err != nil {
		status := http.StatusBadGateway
		if resp != nil && resp.StatusCode >= 400 {
			status = resp.StatusCode
		}
		r.log.Warn().Err(err).Msg("the upstream server refused a websocket")
		w.WriteHeader(status)
		return
	}
	defer up.Close()
	upgrader := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
	down, err := upgrader.Upgrade(w, req, http.Header{"Set-Cookie": resp.Header.Values("Set-Cookie")})
	if err != nil {
		return // it has answered
	}
	defer down.Close()
	query := req.URL.Query()
	s, ok := r.sessions.Get(query.Get("sid"))
	if !ok {
		s = r.session(query.Get("EIO"))
	}
	up.SetReadLimit(maxBody)
	down.SetReadLimit(maxBody)
	ended := make(chan struct{}, 2)
	pump := func(from, to *websocket.Conn, out bool) {
		defer func() { ended <- struct{}{} }()
		for {
			kind, message, err := from.ReadMessage()
			if err != nil {
				return
			}
			s.frame(kind == websocket.BinaryMessage, message, out)
			_ = to.SetWriteDeadline(time.Now().Add(writeTimeout))
			if to.WriteMessage(kind, message) != nil {
				return
			}
		}
	}
	go pump(down, up, false)
	go pump(up, down, true)
	waiting := 2
	select {
	case <-ended:
		waiting--
	case <-r.ctx.Done():
	}
	up.Close()
	down.Close()
	for range waiting {
		<-ended
	}
}

// frame watches one WebSocket message.
func (s *session) frame(binary bool, message []byte, out bool) {
	if binary {
		if s.v3 && len(message) > 0 {
			message = message[1:] // its type
		}
		s.attachment(message, out)
		return
	}
	s.enginePacket(message, out)
}

// payload watches the body of a poll: packets one after another.
func (s *session) payload(body []byte, out bool) {
	if !s.v3 {
		for packet := range bytes.SplitSeq(body, []byte{0x1e}) {
			s.enginePacket(packet, out)
		}
		return
	}
	for len(body) > 0 {
		length, rest, found := bytes.Cut(body, []byte{':'})
		n, err := strconv.Atoi(string(length))
		if !found || err != nil || n < 0 {
			return
		}
		packet, after := cutRunes(rest, n)
		s.enginePacket(packet, out)
		body = after
	}
}

// cutRunes parts n UTF-16 units, which is what protocol 3 counts in, from what follows.
func cutRunes(b []byte, n int) (packet, rest []byte) {
	for i, c := range string(b) {
		if n <= 0 {
			return b[:i], b[i:]
		}
		n--
		if c > 0xffff {
			n--
		}
	}
	return b, nil
}

func (s *session) enginePacket(packet []byte, out bool) {
	switch {
	case len(packet) == 0:
	case packet[0] == 'b':
		data := packet[1:]
		if s.v3 && len(data) > 0 {
			data = data[1:]
		}
		decoded, err := base64.StdEncoding.DecodeString(string(data))
		if err == nil {
			s.attachment(decoded, out)
		}
	case packet[0] == '0' && out:
		var open struct{ SID string }
		if json.Unmarshal(packet[1:], &open) == nil && open.SID != "" {
			s.r.sessions.Add(open.SID, s)
		}
	case packet[0] == '4':
		s.decode(out, func(d *parser.Decoder) (*parser.Packet, error) { return d.Text(bytes.Clone(packet[1:])) })
	}
}

func (s *session) attachment(data []byte, out bool) {
	s.decode(out, func(d *parser.Decoder) (*parser.Packet, error) { return d.Attachment(data) })
}

// decode reads a packet and notes it. A decoder that failed is of no more use: what one side got
// wrong is for the other to complain of.
func (s *session) decode(out bool, read func(*parser.Decoder) (*parser.Packet, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := &s.from
	if out {
		d = &s.to
	}
	p, err := read(d)
	if err != nil {
		*d = parser.Decoder{}
		return
	}
	if p != nil {
		s.r.packet(s, p, out)
	}
}
