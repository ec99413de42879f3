package sample

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

const (
	defaultInterval = 2 * time.Second
	requestTimeout  = 5 * time.Second
	maxAnswer       = 1 << 20 // bytes of a REST answer
	keptMessages    = 40      // of those written here, per conversation; the oldest is deleted for each one more
	restSteps       = 3       // steps between two dialogues of a tenant
)

// TrafficOptions say what to keep alive.
type TrafficOptions struct {
	// SupabaseURL is the project's address, without a path, and ServiceKey its secret key.
	SupabaseURL string
	ServiceKey  string
	// SocketURL is the bridge's address, without a path. Colleagues connect there to be online and to
	// type; empty leaves that out.
	SocketURL string
	// Users are the people of the page. The last of each tenant that has several is played here; the
	// others are for whoever watches.
	Users []User
	// Token makes an access token for a user when a colleague connects. Nil takes the tokens in Users.
	Token func(userID string) (string, error)
	// Interval is the time between two steps, in each of which every tenant says or types one thing
	// and messages on their way come one status further. Zero is 2 s.
	Interval time.Duration
	// Failed is told what went wrong in a step; the next step tries again. Nil keeps it quiet.
	Failed func(error)
}

// RunTraffic plays a conversation in every tenant until ctx ends, and returns nil then: customers
// write, a colleague types and answers, agents' messages become delivered and read (those that
// somebody wrote on the page too, and the customer replies). Of what it writes it keeps the last 40
// messages of a conversation and deletes what is older.
//
// It returns an error only for addresses that cannot work. A project or bridge that does not answer
// is tried again at each step.
func RunTraffic(ctx context.Context, o TrafficOptions) error {
	t, err := newTraffic(o)
	if err != nil {
		return err
	}
	defer t.close()
	if o.Interval <= 0 {
		o.Interval = defaultInterval
	}
	ticker := time.NewTicker(o.Interval)
	defer ticker.Stop()
	for {
		if err := t.step(ctx); err != nil && ctx.Err() == nil && o.Failed != nil {
			o.Failed(err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// traffic is owned by the goroutine that calls step and close.
type traffic struct {
	o      TrafficOptions
	rest   *url.URL // <project>/rest/v1/
	client *http.Client
	stages []*stage            // one a tenant; empty until the conversations were read
	ours   map[string]bool     // ids of the agents' messages written here and not yet deleted
	wrote  map[string][]string // ids of all messages written here by conversation, oldest first; at most keptMessages each
}

// stage is one tenant and the dialogue played in it.
type stage struct {
	conversations []string
	colleague     *colleague // nil where nobody is played

	at      int    // index into conversations
	rounds  int    // how often all conversations have had their turn
	line    int    // of the dialogue
	typing  bool   // the colleague is typing the line
	resting int    // steps still to rest
	replies []call // what customers owe to somebody on the page
	replied int    // replies owed so far; each one has other words than the one before
}

// call is something to say in a conversation.
type call struct{ conversation, text string }

func newTraffic(o TrafficOptions) (*traffic, error) {
	rest, err := url.Parse(strings.TrimRight(o.SupabaseURL, "/") + "/rest/v1/")
	if err != nil || rest.Host == "" {
		return nil, fmt.Errorf("sample: traffic: %q is no address of a project", o.SupabaseURL)
	}
	if o.SocketURL != "" {
		if u, err := url.Parse(o.SocketURL); err != nil || u.Host == "" {
			return nil, fmt.Errorf("sample: traffic: %q is no address of a bridge", o.SocketURL)
		}
	}
	return &traffic{
		o:    o,
		rest: rest,
		client: &http.Client{
			Timeout:   requestTimeout,
			Transport: &http.Transport{MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute},
		},
		ours:  make(map[string]bool),
		wrote: make(map[string][]string),
	}, nil
}

func (t *traffic) close() {
	for _, s := range t.stages {
		if s.colleague != nil {
			s.colleague.close()
		}
	}
	t.client.CloseIdleConnections()
}

// step moves everything on by one: statuses first, so that each is seen for a step, then every
// tenant.
func (t *traffic) step(ctx context.Context) error {
	if len(t.stages) == 0 {
		if err := t.setStages(ctx); err != nil {
			return err
		}
	}
	if err := t.deliver(ctx); err != nil {
		return err
	}
	var failed error
	for _, s := range t.stages {
		if err := t.play(ctx, s); err != nil {
			failed = errors.Join(failed, err)
		}
	}
	return failed
}

// setStages reads the conversations and gives each tenant of the users a stage.
func (t *traffic) setStages(ctx context.Context) error {
	var rows []struct {
		ID     string `json:"id"`
		Tenant string `json:"distributor_id"`
	}
	if err := t.ask(ctx, http.MethodGet, "conversations?select=id,distributor_id&order=id&limit=1000", nil, &rows); err != nil {
		return err
	}
	conversations := make(map[string][]string)
	for _, row := range rows {
		conversations[row.Tenant] = append(conversations[row.Tenant], row.ID)
	}
	members := make(map[string][]User)
	var tenants []string // in the order of the users, so that a run is like the one before
	for _, user := range t.o.Users {
		if len(members[user.Tenant]) == 0 {
			tenants = append(tenants, user.Tenant)
		}
		members[user.Tenant] = append(members[user.Tenant], user)
	}
	for _, tenant := range tenants {
		if len(conversations[tenant]) == 0 {
			continue
		}
		s := &stage{conversations: conversations[tenant]}
		if users := members[tenant]; len(users) > 1 && t.o.SocketURL != "" {
			s.colleague = newColleague(t.o.SocketURL, users[len(users)-1], t.o.Token)
		}
		t.stages = append(t.stages, s)
	}
	if len(t.stages) == 0 {
		return errors.New("sample: traffic: no user's tenant has a conversation")
	}
	return nil
}

// deliver takes the agents' messages on their way one status further. Customers reply to what
// somebody on the page wrote once they have read it.
func (t *traffic) deliver(ctx context.Context) error {
	var read []struct {
		ID           string `json:"id"`
		Conversation string `json:"conversation_id"`
	}
	delivered := "messages?is_from_customer=is.false&status=eq.DELIVERED&select=id,conversation_id"
	if err := t.ask(ctx, http.MethodPatch, delivered, map[string]any{"status": "READ"}, &read); err != nil {
		return err
	}
	for _, message := range read {
		if !t.ours[message.ID] {
			t.oweReply(message.Conversation)
		}
	}
	return t.ask(
		ctx,
		http.MethodPatch,
		"messages?is_from_customer=is.false&status=eq.SENT",
		map[string]any{"status": "DELIVERED"},
		nil,
	)
}

// oweReply has the customer of a conversation answer at the next step, once however much they were
// told.
func (t *traffic) oweReply(conversation string) {
	for _, s := range t.stages {
		if !slices.Contains(s.conversations, conversation) {
			continue
		}
		if !slices.ContainsFunc(s.replies, func(owed call) bool { return owed.conversation == conversation }) {
			s.replies = append(s.replies, call{conversation, replies[s.replied%len(replies)]})
			s.replied++
		}
		return
	}
}

// play does one thing in one tenant.
func (t *traffic) play(ctx context.Context, s *stage) error {
	if len(s.replies) > 0 {
		reply := s.replies[0]
		if err := t.write(ctx, reply, true); err != nil {
			return err
		}
		s.replies = s.replies[1:]
		return nil
	}
	if s.colleague != nil {
		if err := s.colleague.arrive(ctx); err != nil {
			return err
		}
	}
	if s.resting > 0 {
		s.resting--
		return nil
	}
	conversation := s.conversations[s.at]
	dialogue := dialogues[(s.at+s.rounds)%len(dialogues)]
	line := dialogue[s.line]
	if !line.customer && s.colleague != nil && !s.typing {
		s.typing = true
		return s.colleague.startTyping(conversation)
	}
	if err := t.write(ctx, call{conversation, line.text}, line.customer); err != nil {
		return err
	}
	var err error
	if s.typing {
		err = s.colleague.stopTyping(conversation)
	}
	s.typing = false
	s.line++
	if s.line == len(dialogue) {
		s.line, s.resting = 0, restSteps
		s.at++
		if s.at == len(s.conversations) {
			s.at = 0
			s.rounds++
		}
	}
	return err
}

// write inserts a message, notes it on its conversation as the webhook of a real application would,
// and deletes what is too old.
func (t *traffic) write(ctx context.Context, say call, byCustomer bool) error {
	id := uuid.NewString()
	status := "SENT"
	if byCustomer {
		status = "RECEIVED"
	}
	if err := t.ask(ctx, http.MethodPost, "messages", map[string]any{
		"id": id, "conversation_id": say.conversation, "content": say.text, "is_from_customer": byCustomer,
		"message_type": "TEXT", "status": status,
	}, nil); err != nil {
		return err
	}
	if !byCustomer {
		t.ours[id] = true
	}
	t.wrote[say.conversation] = append(t.wrote[say.conversation], id)
	if err := t.ask(ctx, http.MethodPatch, "conversations?id=eq."+url.QueryEscape(say.conversation), map[string]any{
		"last_message_id": id, "last_message_at": time.Now().UTC(),
	}, nil); err != nil {
		return err
	}
	for ids := t.wrote[say.conversation]; len(ids) > keptMessages; ids = t.wrote[say.conversation] {
		if err := t.ask(ctx, http.MethodDelete, "messages?id=eq."+ids[0], nil, nil); err != nil {
			return err
		}
		delete(t.ours, ids[0])
		t.wrote[say.conversation] = ids[1:]
	}
	return nil
}

// ask makes one REST request with the service key. Without an answer to decode it asks for none.
func (t *traffic) ask(ctx context.Context, method, path string, body, answer any) error {
	failed := func(err error) error {
		table, _, _ := strings.Cut(path, "?")
		return fmt.Errorf("sample: traffic: %s %s: %w", method, table, err)
	}
	target, err := t.rest.Parse(path)
	if err != nil {
		return failed(err)
	}
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return failed(err)
		}
		content = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, target.String(), content)
	if err != nil {
		return failed(err)
	}
	request.Header.Set("apikey", t.o.ServiceKey)
	if !strings.HasPrefix(t.o.ServiceKey, "sb_") { // such a key is no JWT
		request.Header.Set("Authorization", "Bearer "+t.o.ServiceKey)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Prefer", "return=minimal")
	if answer != nil {
		request.Header.Set("Prefer", "return=representation")
	}
	response, err := t.client.Do(request)
	if err != nil {
		return failed(err)
	}
	defer response.Body.Close()
	if response.StatusCode >= 300 {
		return failed(errors.New(response.Status))
	}
	if answer == nil {
		return nil
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, maxAnswer)).Decode(answer); err != nil {
		return failed(err)
	}
	return nil
}
