package realtimeshare

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/supabridge/supabridge/bridge/row"
	"github.com/supabridge/supabridge/phoenix"
)

// flush sends what waits, as far as its channels are joined and the budget allows.
func (s *Sharer) flush(ctx context.Context) {
	s.mu.Lock()
	keys := slices.Clone(s.order)
	s.mu.Unlock()
	for _, key := range keys {
		p := s.peek(key)
		switch r := s.roomOf(ctx, key.conversation); {
		case time.Since(p.at) > sendWithin:
			s.take(key)
			s.metrics.sent.WithLabelValues("dropped").Inc()
		case r == nil || !r.joined:
		default:
			reservation := s.limiter.Reserve()
			if wait := reservation.Delay(); wait > 0 {
				reservation.Cancel()
				s.retry.Reset(wait)
				return
			}
			s.send(ctx, r, key.conversation, s.take(key))
		}
	}
}

func (s *Sharer) peek(key sign) pending {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.waiting[key]
}

// take gives what waits and has it wait no more.
func (s *Sharer) take(key sign) pending {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.waiting[key]
	delete(s.waiting, key)
	s.order = slices.DeleteFunc(s.order, func(k sign) bool { return k == key })
	return p
}

// roomOf is the channel of a conversation's typing; nil where it is not joined, or its tenant is
// not known.
func (s *Sharer) roomOf(ctx context.Context, conversation string) *room {
	topic := s.opts.Typing.Topic
	tenant := ""
	if strings.Contains(topic, "{tenant}") {
		if tenant = s.tenantOf(ctx, conversation); tenant == "" {
			return nil
		}
	}
	return s.rooms[expand(topic, conversation, tenant)]
}

func (s *Sharer) tenantOf(ctx context.Context, conversation string) string {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	tenant, err := s.opts.House.TenantOf(ctx, conversation)
	if err != nil {
		s.opts.Log.Warn().Err(err).Msg("typing is not shared: the tenant of a conversation is not known")
		return ""
	}
	return tenant
}

// typingPayload has the fields that supabase-js frontends look for, in both of their styles.
type typingPayload struct {
	ConversationID  string `json:"conversationId"`
	ConversationID2 string `json:"conversation_id"`
	UserID          string `json:"userId"`
	UserID2         string `json:"user_id"`
	UserName        string `json:"userName,omitempty"`
	UserName2       string `json:"user_name,omitempty"`
	IsTyping        bool   `json:"isTyping"`
	IsTyping2       bool   `json:"is_typing"`
	Via             string `json:"via"`
}

func (s *Sharer) send(ctx context.Context, r *room, conversation string, p pending) {
	event := s.opts.Event
	if !p.on && s.opts.StopEvent != "" {
		event = s.opts.StopEvent
	}
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	err := r.channel.Send(
		ctx,
		event,
		typingPayload{conversation, conversation, p.user.ID, p.user.ID, p.user.Name, p.user.Name, p.on, p.on, s.id},
	)
	if err != nil {
		s.opts.Log.Debug().Err(err).Str("topic", r.topic).Msg("a sign of typing was not sent")
		s.metrics.sent.WithLabelValues("dropped").Inc()
		return
	}
	s.metrics.sent.WithLabelValues("sent").Inc()
}

// The fields in which others name what they tell.
var (
	userFields         = []string{"userId", "user_id", "senderId", "sender_id", "id"}
	nameFields         = []string{"userName", "user_name", "username", "displayName", "display_name", "name"}
	conversationFields = []string{
		"conversationId",
		"conversation_id",
		"roomId",
		"room_id",
		"chatId",
		"chat_id",
		"threadId",
		"thread_id",
		"room",
	}
	typingFields = []string{"isTyping", "is_typing", "typing"}
	statusFields = []string{"status", "state", "presence"}
)

// hearTyping takes that somebody elsewhere types. What can't be told whose it is, or is about a
// conversation in which nobody is, is dropped.
func (s *Sharer) hearTyping(ctx context.Context, r *room, m *phoenix.BroadcastMessage) {
	on := m.Event == s.opts.Event
	if !on && (m.Event != s.opts.StopEvent || m.Event == "") || m.Binary {
		return
	}
	payload, err := row.Parse(m.Payload)
	if err != nil || payload.Text("via") == s.id {
		return
	}
	user := person(payload)
	conversation := r.conversation
	if conversation == "" {
		conversation = text(payload, conversationFields)
	}
	if on {
		on = text(payload, typingFields) != "false"
	}
	if user.ID == "" || !s.occupied[conversation] || !r.admits(user.ID, on, s.opts.Expiry()) ||
		r.tenant != "" && s.tenantOf(ctx, conversation) != r.tenant {
		s.metrics.received.WithLabelValues("typing", "dropped").Inc()
		return
	}
	s.metrics.received.WithLabelValues("typing", "taken").Inc()
	s.opts.House.Typing(conversation, user, on)
}

// admits bounds the users elsewhere who type in one channel.
func (r *room) admits(user string, on bool, expiry time.Duration) bool {
	if !on {
		delete(r.typers, user)
		return true
	}
	now := time.Now()
	if _, known := r.typers[user]; !known && len(r.typers) >= maxTypers {
		for other, until := range r.typers {
			if now.After(until) {
				delete(r.typers, other)
			}
		}
		if len(r.typers) >= maxTypers {
			return false
		}
	}
	r.typers[user] = now.Add(expiry)
	return true
}

// person reads who is meant, in the object itself or a `user` within.
func person(object row.Row) User {
	u := User{ID: text(object, userFields), Name: text(object, nameFields), Status: text(object, statusFields)}
	if inner, err := row.Parse(object.Get("user")); err == nil {
		if u.ID = text(inner, userFields); u.Name == "" {
			u.Name = text(inner, nameFields)
		}
	}
	return u
}

// text is the first of some fields that has a short one.
func text(object row.Row, names []string) string {
	for _, name := range names {
		if value := object.Text(name); value != "" && len(value) <= maxText {
			return value
		}
	}
	return ""
}
