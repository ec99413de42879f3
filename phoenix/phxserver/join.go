package phxserver

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/gorilla/websocket"
	"github.com/supabridge/supabridge/phoenix/internal/wire"
)

// joinConfig is the payload of phx_join as the server understood it.
type joinConfig struct {
	ack, self   bool
	ready       bool // broadcast.replication_ready
	replay      any  // broadcast.replay as sent
	presence    bool
	presenceKey string
	private     bool
	bindings    []map[string]any
	token       *string // nil: the socket's key
	// legacy is a join without config: the topic is the subscription and events are
	// named after the change.
	legacy bool
}

// joinError is a refused join: what the client is told, and the code the socket
// is closed with after, if any.
type joinError struct {
	reason string
	close  int
}

func (e *joinError) Error() string { return e.reason }

func refuse(format string, args ...any) error {
	return &joinError{reason: fmt.Sprintf(format, args...)}
}

// join answers phx_join. A second join of a topic ends the first channel, whose
// phx_close comes after the answer to the second.
func (s *socket) join(m *wire.Message) {
	old := s.channels[m.Topic]
	if old != nil {
		old.drop()
	}
	ch, err := s.open(m)
	if err == nil {
		err = s.srv.enterRoom(ch)
	}
	if err != nil {
		s.refuseJoin(m, err)
	} else {
		s.channels[ch.topic] = ch
		ch.reply(m.Ref, "ok", ch.bindingsReply())
	}
	if old != nil {
		old.push(wire.EventClose, emptyObject)
	}
	if err == nil {
		ch.greet()
	}
}

// refuseJoin answers late, and the socket stands still meanwhile.
func (s *socket) refuseJoin(m *wire.Message, err error) {
	s.srv.log.Info("join refused", "topic", m.Topic, "reason", err.Error())
	if !s.wait(s.srv.opts.Timing.JoinError) {
		return
	}
	s.reply(m.JoinRef, m.Ref, m.Topic, "error", reason(err.Error()))
	if e := (*joinError)(nil); errors.As(err, &e) && e.close != 0 {
		s.shut(e.close)
	}
}

// open makes the checks in the order of the real server; the first that fails is
// the answer.
func (s *socket) open(m *wire.Message) (*channel, error) {
	ch := &channel{socket: s, topic: m.Topic, sub: subTopic(m.Topic), joinRef: m.JoinRef}
	if ch.sub == "" {
		return nil, refuse("TopicNameRequired: You must provide a topic name")
	}
	if i := s.srv.faults.strike(ch.sub, m.Event, "in", RefuseJoin); i != nil {
		return nil, &joinError{reason: i.fault.Message, close: i.fault.Code}
	}
	var err error
	if ch.config, err = parseJoin(m.Payload, ch.sub); err != nil {
		return nil, err
	}
	srv := s.srv
	if srv.opts.PrivateOnly && !ch.config.private {
		return nil, refuse("PrivateOnly: This project only allows private channels")
	}
	if err := srv.limiter.admitJoin(len(s.channels)); err != nil {
		return nil, err
	}
	if err := ch.authenticate(); err != nil {
		return nil, err
	}
	if err := ch.authorize(); err != nil {
		return nil, err
	}
	if err := ch.checkReplay(); err != nil {
		return nil, err
	}
	ch.presenceKey = ch.config.presenceKey
	if ch.presenceKey == "" {
		id, err := uuid.NewUUID()
		if err != nil {
			return nil, refuse("UnknownErrorOnChannel: %s", err)
		}
		ch.presenceKey = id.String()
	}
	return ch, nil
}

// greet sends what follows the answer to a join.
func (ch *channel) greet() {
	srv := ch.socket.srv
	if ch.config.presence && ch.access.ReadPresence {
		if !srv.limiter.admitPresence(time.Now()) {
			ch.shutdown("Too many presence messages per second")
			return
		}
		ch.push(wire.EventPresenceState, srv.presenceState(ch))
	}
	ch.replay()
	if ch.config.ready {
		ch.system("system", "ok", "Replication connection established")
	}
	ch.armExpiry()
	if len(ch.config.bindings) > 0 {
		ch.subscribeAfter(srv.opts.Timing.Subscribe)
	}
}

// bindingsReply echoes the bindings with their ids.
func (ch *channel) bindingsReply() []byte {
	out := []byte(`{"postgres_changes":[`)
	for i, b := range ch.config.bindings {
		if i > 0 {
			out = append(out, ',')
		}
		out = fmt.Appendf(out, `{"id":%d`, bindingID(b))
		if len(b) > 0 {
			out = appendMembers(append(out, ','), b)
		}
		out = append(out, '}')
	}
	return append(out, "]}"...)
}

// parseJoin is as lenient as the real server: what has the wrong type deep inside
// is as if it weren't there.
func parseJoin(payload []byte, sub string) (joinConfig, error) {
	v, err := decodeJSON(payload)
	if err != nil {
		return joinConfig{}, refuse("UnknownErrorOnChannel: invalid payload")
	}
	params, ok := v.(map[string]any)
	if !ok {
		return joinConfig{}, refuse("UnknownErrorOnChannel: expected params to be a :map, got: `%s`", inspect(v))
	}
	c := joinConfig{token: joinToken(params)}
	raw, present := params["config"]
	if !present {
		c.legacy = true
		c.bindings = []map[string]any{legacyBinding(sub)}
		return c, nil
	}
	config, err := mapOrNil(raw)
	if err != nil {
		return c, err
	}
	broadcast, err := mapOrNil(config["broadcast"])
	if err != nil {
		return c, err
	}
	presence, err := mapOrNil(config["presence"])
	if err != nil {
		return c, err
	}
	c.ack, c.self, c.ready = truthy(broadcast["ack"]), truthy(broadcast["self"]), truthy(broadcast["replication_ready"])
	c.replay = broadcast["replay"]
	c.presence = truthy(presence["enabled"])
	c.presenceKey, _ = presence["key"].(string)
	c.private = truthy(config["private"])
	list, _ := config["postgres_changes"].([]any)
	for _, item := range list {
		if b, ok := item.(map[string]any); ok {
			c.bindings = append(c.bindings, b)
		}
	}
	return c, nil
}

func mapOrNil(v any) (map[string]any, error) {
	switch v := v.(type) {
	case nil:
		return nil, nil
	case map[string]any:
		return v, nil
	}
	return nil, refuse("UnknownErrorOnChannel: no function clause matching in Access.get/3")
}

// truthy takes true as a boolean or, in any case, as a string.
func truthy(v any) bool {
	switch v := v.(type) {
	case bool:
		return v
	case string:
		return strings.EqualFold(v, "true")
	}
	return false
}

// joinToken is the channel's own token; nil without one, or with an API key that
// isn't a JWT in its place.
func joinToken(params map[string]any) *string {
	v, ok := params["access_token"]
	if !ok {
		v = params["user_token"]
	}
	if token, ok := v.(string); ok && !strings.HasPrefix(token, "sb_") {
		return &token
	}
	return nil
}

// legacyBinding reads a topic schema:table:filter.
func legacyBinding(sub string) map[string]any {
	b := make(map[string]any)
	for i, part := range strings.SplitN(sub, ":", 3) {
		b[[]string{"schema", "table", "filter"}[i]] = part
	}
	return b
}

// authenticate verifies the token of a join.
func (ch *channel) authenticate() error {
	token := ch.socket.apikey
	if ch.config.token != nil {
		token = *ch.config.token
	}
	claims, err := ch.socket.srv.backend.Verify(ch.socket.ctx, token)
	if err != nil {
		return joinTokenError(err)
	}
	ch.token, ch.claims = token, claims
	return nil
}

func joinTokenError(err error) error {
	t := &TokenError{Code: "MalformedJWT", Message: "The token provided is not a valid JWT"}
	errors.As(err, &t)
	return refuse("%s: %s", t.Code, t.Message)
}

// authorize asks for the rights on a private channel. Without presence the right
// to read broadcasts is the only one that lets in.
func (ch *channel) authorize() error {
	if !ch.config.private {
		ch.access = Access{true, true, true, true}
		return nil
	}
	access, err := ch.socket.srv.backend.Authorize(ch.socket.ctx, ch.claims, ch.sub)
	if err != nil {
		return refuse("%s", err)
	}
	if !access.ReadBroadcast && !(ch.config.presence && access.ReadPresence) {
		return refuse("Unauthorized: %s", noReadRight(ch.sub))
	}
	ch.socket.srv.mu.Lock() // the room may be telling a diff
	ch.access = access
	ch.socket.srv.mu.Unlock()
	return nil
}

func noReadRight(sub string) string {
	return "You do not have permissions to read from this Channel topic: " + sub
}

// replayRequest reads broadcast.replay; since is in milliseconds since the epoch.
func replayRequest(v any) (since int64, limit int, ok bool) {
	m, isMap := v.(map[string]any)
	if !isMap {
		return 0, 0, false
	}
	n, isNumber := m["since"].(json.Number)
	since, err := n.Int64()
	if !isNumber || err != nil {
		return 0, 0, false
	}
	limit = maxReplay
	switch l := m["limit"].(type) {
	case nil:
	case json.Number:
		i, err := l.Int64()
		if err != nil {
			return 0, 0, false
		}
		limit = int(min(max(i, 1), maxReplay))
	default:
		return 0, 0, false
	}
	return since, limit, true
}

func (ch *channel) checkReplay() error {
	if ch.config.replay == nil {
		return nil
	}
	if !ch.config.private {
		return refuse("UnableToReplayMessages: Replay is not allowed for public channels")
	}
	if _, _, ok := replayRequest(ch.config.replay); !ok {
		return refuse("UnableToReplayMessages: Replay params are not valid")
	}
	return nil
}

// tooManyJoins closes the socket after the answer.
func tooManyJoins() error {
	return &joinError{reason: "ClientJoinRateLimitReached: Too many joins per second", close: websocket.CloseGoingAway}
}
