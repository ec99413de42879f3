package phoenix

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/websocket"

	"github.com/supabridge/supabridge/phoenix/internal/wire"
)

// Dialer opens WebSockets; *websocket.Dialer is one. On a refused handshake it
// returns the HTTP response with the beginning of its body, as gorilla's does.
type Dialer interface {
	DialContext(ctx context.Context, url string, header http.Header) (*websocket.Conn, *http.Response, error)
}

// gorillaDialer is gorilla's dialer, made to return as soon as the context ends:
// by itself it waits for the server's answer to the handshake until the deadline.
type gorillaDialer struct{ settings websocket.Dialer }

func defaultDialer() Dialer {
	return gorillaDialer{
		websocket.Dialer{Proxy: http.ProxyFromEnvironment, ReadBufferSize: 16 << 10, WriteBufferSize: 4 << 10},
	}
}

func (g gorillaDialer) DialContext(
	ctx context.Context,
	url string,
	header http.Header,
) (*websocket.Conn, *http.Response, error) {
	type dialFunc = func(context.Context, string, string) (net.Conn, error)
	stop := func() bool { return true }
	closing := func(dial dialFunc) dialFunc {
		return func(dialCtx context.Context, network, addr string) (net.Conn, error) {
			c, err := dial(dialCtx, network, addr)
			if err == nil {
				stop = context.AfterFunc(ctx, func() { c.Close() })
			}
			return c, err
		}
	}
	d := g.settings
	switch {
	case d.NetDialContext != nil:
		d.NetDialContext = closing(d.NetDialContext)
	case d.NetDial != nil:
		plain := d.NetDial
		d.NetDialContext = closing(
			func(_ context.Context, network, addr string) (net.Conn, error) { return plain(network, addr) },
		)
	default:
		d.NetDialContext = closing((&net.Dialer{}).DialContext)
	}
	if d.NetDialTLSContext != nil {
		d.NetDialTLSContext = closing(d.NetDialTLSContext)
	}
	ws, resp, err := d.DialContext(ctx, url, header)
	if !stop() {
		if ws != nil {
			ws.Close()
		}
		return nil, resp, context.Cause(ctx)
	}
	return ws, resp, err
}

// endpoints derives the WebSocket URL, key and version included, and the base of
// the REST API. Errors don't show the URL: it may hold credentials.
func endpoints(baseURL string, o Options) (socket, rest string, err error) {
	raw, derived := o.Endpoint, false
	if raw == "" {
		raw, derived = baseURL, true
	}
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return "", "", errors.New("realtime: project URL or endpoint is not an absolute URL")
	}
	plain := false
	switch u.Scheme {
	case "http", "ws":
		plain = true
	case "https", "wss":
	default:
		return "", "", fmt.Errorf("realtime: URL scheme %q: want http, https, ws or wss", u.Scheme)
	}
	path := strings.TrimRight(u.Path, "/")
	if derived {
		path += "/realtime/v1/websocket"
	}
	api := *u
	api.RawQuery, api.Fragment = "", ""
	api.Scheme, u.Scheme = "https", "wss"
	if plain {
		api.Scheme, u.Scheme = "http", "ws"
	}
	api.Path = strings.TrimSuffix(strings.TrimSuffix(path, "/websocket"), "/socket") + "/api"
	u.Path = path
	q := u.Query()
	q.Set("apikey", o.APIKey)
	q.Set("vsn", o.Version.String())
	u.RawQuery = q.Encode()
	return u.String(), api.String(), nil
}

// link is the client's relation to the network. Owned by the loop.
type link struct {
	conn     *conn // nil while there is none
	dialing  bool
	stopDial context.CancelFunc
	failures int    // in a row
	retry    *alarm // the next attempt
	unused   *alarm // closes a connection nobody wants
}

// conn is one connection. Its pointer is its generation: everything that may come
// late carries it and is ignored when it is no longer the current one.
type conn struct {
	ws   *websocket.Conn
	out  chan outFrame // loop → writer, bounded
	quit chan struct{} // closed by the loop when it gives the connection up

	// Owned by the loop.
	opened   time.Time
	lastSeen time.Time // when the last frame came
	pending  map[wire.Ref]*push
	joins    int // joins without an answer
	beat     heartbeat
	closing  bool   // a close frame is on its way
	giveUp   *alarm // ends the wait for the server's close frame
}

type outFrame struct {
	data   []byte
	binary bool
	close  bool // send a close frame with code 1000 and stop
}

// inbound is what a reader found.
type inbound struct {
	cn     *conn
	n      int
	binary bool
	msg    wire.Message
	err    error // the frame could not be read; the connection is fine
}

// wanted reports whether some channel wants to be joined.
func (c *Client) wanted() bool {
	for _, ch := range c.channels {
		if ch.stage != StageIdle {
			return true
		}
	}
	return false
}

// connect starts an attempt to connect unless there is a connection, an attempt,
// or a wait for the next one.
func (c *Client) connect() {
	l := &c.link
	if c.closing || l.conn != nil || l.dialing || l.retry.pending() {
		return
	}
	l.dialing = true
	ctx, cancel := context.WithTimeout(c.ctx, c.opts.HandshakeTimeout)
	l.stopDial = cancel
	started := c.now()
	c.wg.Go(func() {
		defer cancel()
		ws, resp, err := c.opts.Dialer.DialContext(ctx, c.endpoint, c.opts.Header)
		if err != nil {
			err = handshakeError(resp, err, c.now())
		}
		if !c.post(func() { c.dialed(ws, err, started) }) && ws != nil {
			ws.Close()
		}
	})
}

// handshakeError reads the server's answer to a refused handshake.
func handshakeError(resp *http.Response, err error, now time.Time) *Error {
	e := &Error{Op: OpConnect}
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err // without the URL, which holds the key
	}
	if resp == nil || !errors.Is(err, websocket.ErrBadHandshake) {
		e.Err = err
		return e
	}
	e.Status, e.Class = resp.StatusCode, handshakeClass(resp.StatusCode)
	e.RetryAfter = retryAfter(resp.Header, now)
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 1024))
	var said struct {
		Error   string `json:"error"`
		Message string `json:"message"`
	}
	if json.Unmarshal(body, &said) == nil {
		e.Reason = said.Error + said.Message
	}
	return e
}

// retryAfter is how long the server asks to be left alone, in seconds or until a date
// (RFC 9110 §10.2.3); 0 where it doesn't, or not readably.
func retryAfter(h http.Header, now time.Time) time.Duration {
	text := h.Get("Retry-After")
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if date, err := http.ParseTime(text); err == nil {
		return max(0, date.Sub(now))
	}
	return 0
}

func (c *Client) dialed(ws *websocket.Conn, err error, started time.Time) {
	l := &c.link
	l.dialing = false
	if err != nil {
		c.linkFailed(err.(*Error))
		return
	}
	if c.closing || !c.wanted() {
		ws.Close()
		return
	}
	ws.SetReadLimit(c.opts.ReadLimit)
	now := c.now()
	cn := &conn{
		ws:       ws,
		out:      make(chan outFrame, c.opts.SendQueue),
		quit:     make(chan struct{}),
		opened:   now,
		lastSeen: now,
		pending:  make(map[wire.Ref]*push),
	}
	l.conn = cn
	c.wg.Go(func() { c.read(cn) })
	c.wg.Go(func() { c.write(cn) })
	c.startHeartbeat(cn)
	if h := c.opts.Hooks.Connected; h != nil {
		h(now.Sub(started))
	}
	c.logf(slog.LevelInfo, "realtime connected", slog.Duration("took", now.Sub(started)))
	for _, ch := range c.inOrder() {
		ch.tryJoin()
	}
	c.checkUnused()
}

// linkFailed arranges the next attempt after a failed or lost connection.
func (c *Client) linkFailed(err *Error) {
	l := &c.link
	if c.closing || !c.wanted() {
		return
	}
	delay := c.opts.Backoff.linkDelay(err, l.failures, c.opts.Jitter())
	l.failures++
	l.retry = c.agenda.after(delay, c.connect)
	if h := c.opts.Hooks.Disconnected; h != nil {
		h(err, delay)
	}
	c.logf(slog.LevelWarn, "realtime disconnected", slog.Any("error", err), slog.Duration("retry_in", delay))
	for _, ch := range c.channels {
		if ch.stage == StageWaiting {
			ch.lastErr = err
			ch.deliver(&Retrying{Err: err, Delay: delay})
			ch.failWaiters(err)
		}
	}
}

// dropLink gives a connection up. err nil means that the client wanted it so.
func (c *Client) dropLink(cn *conn, err *Error) {
	if c.link.conn != cn {
		return
	}
	c.link.conn = nil
	close(cn.quit)
	cn.ws.Close()
	cn.beat.stop()
	cn.giveUp.stop()
	c.link.unused.stop()
	c.joinTurn.stop()
	c.joinLine = nil
	if c.now().Sub(cn.opened) >= c.opts.Backoff.Max {
		c.link.failures = 0
	}
	lost := err
	if lost == nil {
		lost = &Error{Op: OpLink, Err: ErrDisconnected}
	}
	for _, ch := range c.inOrder() {
		ch.linkLost(cn, lost)
	}
	for ref, p := range cn.pending {
		delete(cn.pending, ref)
		if p.settle != nil {
			p.settle(nil, ErrDisconnected)
		}
	}
	switch {
	case c.closing && (cn.closing || err == nil):
		if h := c.opts.Hooks.Disconnected; h != nil {
			h(nil, 0)
		}
		c.logf(slog.LevelInfo, "realtime closed")
		c.ended = true
	case err == nil: // unused
		if h := c.opts.Hooks.Disconnected; h != nil {
			h(nil, 0)
		}
		c.logf(slog.LevelInfo, "realtime disconnected: no channel needs the connection")
		if c.wanted() {
			c.connect()
		}
	default:
		c.linkFailed(err)
	}
}

// closeLink closes the connection politely: a close frame with code 1000, then the
// server's, for which it waits closeTimeout.
func (c *Client) closeLink(cn *conn) {
	cn.closing = true
	select {
	case cn.out <- outFrame{close: true}:
		cn.giveUp = c.agenda.after(closeTimeout, func() { c.dropLink(cn, nil) })
	default:
		c.dropLink(cn, nil)
	}
}

// checkUnused starts or stops the clock after which an unwanted connection closes.
func (c *Client) checkUnused() {
	l := &c.link
	if c.wanted() {
		l.unused.stop()
		return
	}
	l.retry.stop()
	if l.dialing {
		l.stopDial()
	}
	if cn := l.conn; cn != nil && !cn.closing && !l.unused.pending() && c.opts.IdleDisconnect >= 0 {
		l.unused = c.agenda.after(c.opts.IdleDisconnect, func() {
			if c.link.conn == cn && !c.wanted() {
				c.closeLink(cn)
			}
		})
	}
}

// readBufferKeep is the largest scratch buffer a reader holds on to.
const readBufferKeep = 64 << 10

// read is the reader goroutine of cn: it ends with the connection.
func (c *Client) read(cn *conn) {
	var scratch []byte
	for {
		kind, r, err := cn.ws.NextReader()
		if err == nil {
			scratch, err = readAll(scratch[:0], r)
		}
		if err != nil {
			c.post(func() {
				if cn.closing {
					c.dropLink(cn, nil)
				} else {
					c.dropLink(cn, linkError(err))
				}
			})
			return
		}
		frame := append(make([]byte, 0, len(scratch)), scratch...)
		if cap(scratch) > readBufferKeep {
			scratch = nil
		}
		in := inbound{cn: cn, n: len(frame), binary: kind == websocket.BinaryMessage}
		if in.binary {
			in.msg, in.err = wire.DecodeServerBinary(c.opts.Version, frame)
		} else {
			in.msg, in.err = wire.DecodeServerText(c.opts.Version, frame)
		}
		select {
		case c.frames <- in:
		case <-cn.quit:
			return
		}
	}
}

// readAll reads r to its end into buf.
func readAll(buf []byte, r io.Reader) ([]byte, error) {
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, make([]byte, max(cap(buf), 2048))...)[:len(buf)]
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if err == io.EOF {
			return buf, nil
		}
		if err != nil {
			return buf, err
		}
	}
}

// write is the writer goroutine of cn: it ends when the loop gives cn up, after a
// close frame, or on an error.
func (c *Client) write(cn *conn) {
	for {
		select {
		case f := <-cn.out:
			// A deadline of the operating system's clock, whatever clock the client has.
			deadline := time.Now().Add(c.opts.WriteTimeout)
			if f.close {
				text := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
				if err := cn.ws.WriteControl(websocket.CloseMessage, text, deadline); err != nil {
					c.post(func() { c.dropLink(cn, nil) })
				}
				return
			}
			kind := websocket.TextMessage
			if f.binary {
				kind = websocket.BinaryMessage
			}
			err := cn.ws.SetWriteDeadline(deadline)
			if err == nil {
				err = cn.ws.WriteMessage(kind, f.data)
			}
			if err != nil {
				c.post(func() { c.dropLink(cn, linkError(err)) })
				return
			}
		case <-cn.quit:
			return
		}
	}
}

// send encodes m and hands it to the writer.
func (c *Client) send(cn *conn, m *wire.Message) error {
	frame, binary, err := wire.AppendClient(nil, c.opts.Version, m)
	if err != nil {
		return err
	}
	select {
	case cn.out <- outFrame{data: frame, binary: binary}:
	default:
		return ErrQueueFull
	}
	if h := c.opts.Hooks.FrameOut; h != nil {
		h(len(frame), binary)
	}
	return nil
}

// sendControl sends what the protocol can't do without: when the queue has no room
// even for that, the socket hasn't moved for long and counts as dead.
func (c *Client) sendControl(cn *conn, m *wire.Message) bool {
	if err := c.send(cn, m); err != nil {
		c.dropLink(cn, &Error{Op: OpLink, Topic: m.Topic, Err: fmt.Errorf("send %s: %w", m.Event, err)})
		return false
	}
	return true
}

// receive routes one frame.
func (c *Client) receive(in inbound) {
	cn := in.cn
	if c.link.conn != cn {
		return
	}
	cn.lastSeen = c.now()
	if h := c.opts.Hooks.FrameIn; h != nil {
		h(in.n, in.binary)
	}
	if in.err != nil {
		c.dropped(in.err)
		return
	}
	m := &in.msg
	if m.Event == wire.EventReply {
		c.replied(cn, m)
		return
	}
	ch := c.channels[m.Topic]
	if ch == nil {
		c.dropped(errNoChannel)
		return
	}
	ch.receive(m)
}

var errNoChannel = errors.New("realtime: message for a topic without a channel")
