package engineio

import (
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// poll is the long-polling half of a connection. Its fields belong to the connection's mutex.
type poll struct {
	waiting  bool                     // a GET waits
	overlap  bool                     // a second one came: an error
	late     bool                     // the waiting one came after the client had ended the session
	noop     bool                     // the waiting GET is to be ended, for the sake of an upgrade
	posting  bool                     // a POST is being handled
	reading  *http.ResponseController // of a POST whose body is being read; nil otherwise
	b64      bool                     // of version 3: the client takes text only; immutable
	asBytes  bool                     // of version 3: the last payload was one of bytes
	plain    bool                     // the last payload had only messages not worth compressing
	wakeup   chan struct{}            // of the waiting GET; buffered
	released chan struct{}            // of a POST that waits for the handler; buffered
	nudge    *time.Timer              // ends GETs that wait during an upgrade; nil before one has begun
	lapse    wheelEntry               // of the upgrade that is under way; the wheel's
}

func newPoll() *poll {
	return &poll{wakeup: make(chan struct{}, 1), released: make(chan struct{}, 1)}
}

// wake has the waiting GET look at the connection again.
func (p *poll) wake() {
	select {
	case p.wakeup <- struct{}{}:
	default:
	}
}

// resume lets a waiting POST go on.
func (p *poll) resume() {
	select {
	case p.released <- struct{}{}:
	default:
	}
}

// cutBody ends the reading of a body, for a connection that has ended. The caller holds the
// connection's mutex.
func (p *poll) cutBody() {
	if p.reading != nil {
		_ = p.reading.SetReadDeadline(time.Now()) // where there is none, the body's own time has to do
	}
}

// openPolling opens c with a GET.
func (s *Server) openPolling(w http.ResponseWriter, r *http.Request, c *Conn) *Error {
	c.poll = newPoll()
	c.poll.lapse.owner = c
	c.poll.b64 = wantsText(r)
	c.handler = s.opts.Accept(c)
	if !s.admit(c) {
		return refusal(CodeBadRequest, "server is shutting down")
	}
	if err := c.keepRequest(); err != nil {
		return &Error{Code: CodeBadRequest, Message: "Try again later", status: http.StatusServiceUnavailable, cause: err}
	}
	upgrades := s.offers(WebSocket) && !s.opts.DisableUpgrades
	s.addInitialHeaders(w.Header(), r, c)
	open := []*Message{s.openPacket(c.id, upgrades)}
	payload := join(nil, open)
	if c.protocol == 3 {
		payload = join3(nil, open, false)
	}
	answer(w, "text/plain; charset=UTF-8", payload)
	return nil
}

// inTime sends a response of any size. A client that doesn't read it has as long as for the answer
// to a ping: it must hold no goroutine and no buffer longer.
func (s *Server) inTime(w http.ResponseWriter, send func()) {
	rc := http.NewResponseController(w)
	// Where the response has no deadlines, those of the HTTP server have to do.
	bounded := rc.SetWriteDeadline(time.Now().Add(s.opts.PingInterval+s.opts.PingTimeout)) == nil
	send()
	if bounded && rc.Flush() == nil { // the server itself would write what is buffered only after this returns
		_ = rc.SetWriteDeadline(time.Time{}) // for the next request; a connection that has broken is found by its next reader
	}
}

// answer sends a polling response.
func answer(w http.ResponseWriter, contentType string, payload []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(payload)))
	_, _ = w.Write(payload) // a client that has gone is found out by the heartbeat
}

var gzips = sync.Pool{New: func() any { return gzip.NewWriter(nil) }}

// answerMaybeCompressed is answer, compressed if that pays and the client takes it; plain says that
// it doesn't pay.
func (s *Server) answerMaybeCompressed(
	w http.ResponseWriter,
	r *http.Request,
	contentType string,
	payload []byte,
	plain bool,
) {
	if plain || s.opts.DisableCompression || len(payload) < compressFrom || !acceptsGzip(r) {
		answer(w, contentType, payload)
		return
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Encoding", "gzip")
	z := gzips.Get().(*gzip.Writer)
	z.Reset(w)
	_, err := z.Write(payload)
	if err == nil {
		_ = z.Close() // only flushes to w: see answer
	}
	gzips.Put(z)
}

func acceptsGzip(r *http.Request) bool {
	for e := range strings.SplitSeq(r.Header.Get("Accept-Encoding"), ",") {
		name, q, _ := strings.Cut(strings.TrimSpace(e), ";")
		if (name == "gzip" || name == "*") && strings.ReplaceAll(q, " ", "") != "q=0" {
			return true
		}
	}
	return false
}

// servePoll waits until there is something for the client, and answers with it.
func (c *Conn) servePoll(w http.ResponseWriter, r *http.Request) *Error {
	c.mu.Lock()
	switch {
	case c.state == stateClosed:
		// The client's own close may overtake the poll it sent before: that poll still gets its answer,
		// once.
		last := c.farewell
		if last == nil {
			c.mu.Unlock()
			return refusal(CodeUnknownSID, "session closed")
		}
		c.farewell = nil
		payload := c.take(nil, 0, last)
		c.mu.Unlock()
		c.reap()
		c.srv.addHeaders(w.Header(), r)
		answer(w, "text/plain; charset=UTF-8", payload)
		return nil
	case c.transport != Polling:
		c.mu.Unlock()
		return refusal(CodeBadRequest, "session was upgraded")
	case c.poll.waiting:
		c.mu.Unlock()
		return c.overlap(r)
	}
	p := c.poll
	p.waiting, p.noop = true, false
	payload := getBytes()
	defer func() { putBytes(payload) }()
	*payload = (*payload)[:0]
	finished := c.settlePoll(payload)
	for ; len(*payload) == 0 && p.waiting; finished = c.settlePoll(payload) {
		c.mu.Unlock()
		gone := false
		select {
		case <-p.wakeup:
		case <-r.Context().Done():
			gone = true
		}
		c.mu.Lock()
		if gone {
			p.waiting = false
			c.mu.Unlock()
			c.close(ReasonTransportClose, errCancelled)
			return refusal(CodeBadRequest, "cancelled")
		}
	}
	more := c.state == stateClosing && !finished
	p.waiting = false
	contentType, plain := c.payloadType(), p.plain
	c.mu.Unlock()
	if len(*payload) == 0 {
		return refusal(CodeBadRequest, "session was upgraded or has ended")
	}
	switch {
	case finished:
		c.close(ReasonForcedClose, nil)
	case more:
		c.hurry() // from here on anew
	}
	c.srv.addHeaders(w.Header(), r)
	c.srv.inTime(w, func() { c.srv.answerMaybeCompressed(w, r, contentType, *payload, plain) })
	return nil
}

// overlap handles a poll that comes while another waits, which ends the session. If this one has
// been cancelled by the client it is the older of the two, overtaken by the other on its way, and
// the other has come to a session that was over.
func (c *Conn) overlap(r *http.Request) *Error {
	t := time.NewTimer(overlapGrace)
	defer t.Stop()
	cancelled := false
	select {
	case <-r.Context().Done():
		cancelled = true
	case <-t.C:
	}
	c.mu.Lock()
	c.poll.overlap, c.poll.late = !cancelled, cancelled
	c.mu.Unlock()
	if cancelled {
		c.close(ReasonTransportClose, errCancelled)
	} else {
		c.close(ReasonTransportError, errors.New("second poll while one was waiting"))
	}
	return refusal(CodeBadRequest, "overlapping poll")
}

var errCancelled = errors.New("poll cancelled by the client")

// settlePoll looks whether the waiting poll can be answered, and if so puts the answer into
// payload, or ends the wait without one. It returns true if the answer is the end of a connection
// that was closed. The caller holds mu.
func (c *Conn) settlePoll(payload *[]byte) (finished bool) {
	p := c.poll
	switch {
	case c.state == stateClosed && p.late:
		p.waiting = false
	case c.state == stateClosed:
		last := c.farewell
		if p.overlap || last == nil {
			last = closeMessage
		}
		c.farewell = nil
		*payload = c.take(*payload, 0, last)
	case c.transport != Polling:
		p.waiting = false
	case len(c.queue.pending) > 0:
		// Without the end, even if that is all: the client library would act on that first, and take a
		// farewell for a failure.
		*payload = c.take(*payload, maxPollingAnswer)
	case c.state == stateClosing:
		*payload = c.take(*payload, 0, closeMessage)
		return true
	case p.noop:
		p.noop = false
		*payload = c.take(*payload, 0, noopMessage)
	}
	return false
}

// servePost takes packets from the client.
func (c *Conn) servePost(w http.ResponseWriter, r *http.Request) *Error {
	c.mu.Lock()
	switch {
	case c.state == stateClosed:
		c.mu.Unlock()
		return refusal(CodeUnknownSID, "session closed")
	case c.transport != Polling:
		c.mu.Unlock()
		return refusal(CodeBadRequest, "session was upgraded")
	case c.poll.posting:
		c.mu.Unlock()
		c.close(ReasonTransportError, errors.New("second request with data while one was being read"))
		return refusal(CodeBadRequest, "overlapping data")
	}
	p := c.poll
	p.posting = true
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		p.posting = false
		c.mu.Unlock()
	}()

	body := getBytes()
	defer putBytes(body)
	switch err := c.readBody(body, w, r); {
	case errors.Is(err, errTooLarge):
		e := refusal(CodeBadRequest, "body larger than the limit")
		e.status = http.StatusRequestEntityTooLarge
		c.close(ReasonTransportError, err)
		return e
	case err != nil:
		c.close(reasonFor(err), err)
		return refusal(CodeBadRequest, "body could not be read")
	}
	take := func(data []byte, binary bool) error {
		if err := c.receive(data, binary); err != nil {
			return err
		}
		return c.awaitReady(r)
	}
	var err error
	if c.protocol == 3 {
		err = decodePayload3(*body, isBytes(r), take)
	} else {
		err = decodePayload(*body, take)
	}
	c.Schedule()
	switch {
	case err == nil:
	case errors.Is(err, errGoodbye):
		c.goodbye()
	default:
		c.close(reasonFor(err), err)
		return refusal(CodeBadRequest, err.Error())
	}
	c.srv.addHeaders(w.Header(), r)
	w.Header().Set("Content-Type", "text/html")
	w.Header().Set("Content-Length", "2")
	_, _ = io.WriteString(w, "ok") // see answer
	return nil
}

// goodbye ends the connection by the wish of its client. A poll that waits, or comes a moment
// later, is answered with a noop.
func (c *Conn) goodbye() {
	c.mu.Lock()
	waiting := c.poll.waiting
	c.mu.Unlock()
	if !c.end(ReasonTransportClose, nil, noopMessage) {
		return
	}
	if waiting {
		c.reap()
	} else {
		c.linger()
	}
}

// awaitReady holds up a POST whose packets come faster than the handler works.
func (c *Conn) awaitReady(r *http.Request) error {
	for !c.handler.Ready() {
		c.Schedule()
		select {
		case <-c.poll.released:
		case <-r.Context().Done():
			return r.Context().Err()
		}
		c.mu.Lock()
		closed := c.state == stateClosed
		c.mu.Unlock()
		if closed {
			return ErrClosed
		}
	}
	return nil
}

var errTooLarge = errors.New("request body too large")

// readBody reads the body of a POST, which may have MaxPayload bytes. It takes no longer than a
// client has to answer a ping, which would have to wait behind it: so a client that has gone
// without a word holds nothing up.
func (c *Conn) readBody(b *[]byte, w http.ResponseWriter, r *http.Request) error {
	limit := c.MaxPayload()
	if r.ContentLength > int64(limit) {
		return errTooLarge
	}
	if isBytes(r) && c.protocol != 3 {
		return errors.New("binary request body")
	}
	rc := http.NewResponseController(w)
	// Where the response has no deadlines, those of the HTTP server have to do.
	bounded := rc.SetReadDeadline(time.Now().Add(c.srv.partialTime())) == nil
	c.mu.Lock()
	c.poll.reading = rc
	if c.state == stateClosed {
		c.poll.cutBody()
	}
	c.mu.Unlock()
	var err error
	*b, err = readAll((*b)[:0], r.Body, limit, func(n int) error { return c.srv.partials.set(c, partialBody, n) })
	c.mu.Lock()
	c.poll.reading = nil
	c.mu.Unlock()
	if e := c.srv.partials.set(c, partialBody, 0); err == nil {
		err = e
	}
	if bounded && err == nil {
		_ = rc.SetReadDeadline(time.Time{}) // a connection that has broken is found by its next reader
	}
	return err
}

// isBytes says whether a request's body is binary.
func isBytes(r *http.Request) bool {
	ct, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	return strings.TrimSpace(ct) == "application/octet-stream"
}

// readAll reads until the end into b, whose content must not grow beyond limit. It asks hold after
// each read whether b may be as long as it is.
func readAll(b []byte, r io.Reader, limit int, hold func(int) error) ([]byte, error) {
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		switch {
		case len(b) > limit:
			return b, errTooLarge
		case errors.Is(err, io.EOF):
			return b, nil
		case err != nil:
			return b, err
		}
		if err := hold(len(b)); err != nil {
			return b, err
		}
	}
}
