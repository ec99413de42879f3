package phoenix

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/websocket"

	"github.com/supabridge/supabridge/phoenix/internal/wire"
)

// in sends a recorded frame to the client, with its refs in place of the recorded
// ones, and expects the events that the frame means.
func (a *actor) in(n int, frame []byte, binary bool) {
	a.frames++
	select {
	case <-a.dropped:
	default:
	}
	decode, kind := wire.DecodeServerText, websocket.TextMessage
	if binary {
		decode, kind = wire.DecodeServerBinary, websocket.BinaryMessage
	}
	m, err := decode(a.v, frame)
	if err != nil {
		// Broken by the server, or cut short in the recording.
		a.p.write(kind, frame)
		a.expectDrop(n)
		return
	}
	if binary {
		a.p.write(kind, frame)
	} else {
		a.asSent(&m)
		a.p.write(kind, a.translate(&m))
	}
	a.expectMeaning(n, &m)
	if m.Topic == wire.TopicPhoenix {
		return
	}
	select {
	case <-a.beats:
	default:
	}
	a.settle()
	for topic, r := range a.rooms {
		if len(r.ch.Events()) > 0 {
			ev := <-r.ch.Events()
			a.t.Errorf("line %d: unexpected %T %+v on %s", n, ev, ev, topic)
		}
	}
}

// asSent cuts the bindings in the reply to a join down to those this client sent:
// the recorded one also sent repeats, null, and what is no binding.
func (a *actor) asSent(m *wire.Message) {
	r := a.rooms[m.Topic]
	if r == nil || m.Event != wire.EventReply || m.Ref != r.join || r.joined {
		return
	}
	var reply struct {
		Status   string `json:"status"`
		Response struct {
			Changes []json.RawMessage `json:"postgres_changes"`
		} `json:"response"`
	}
	sent := newBindings(r.bindings).sent
	if json.Unmarshal(m.Payload, &reply) != nil || reply.Status != "ok" || len(reply.Response.Changes) == len(sent) {
		return
	}
	kept := make([]json.RawMessage, len(sent))
	for _, raw := range reply.Response.Changes {
		var b Binding
		if json.Unmarshal(raw, &b) != nil || b.validate() != nil {
			continue
		}
		if i := slices.IndexFunc(sent, b.equal); i >= 0 && kept[i] == nil {
			kept[i] = raw
		}
	}
	reply.Response.Changes = kept
	m.Payload, _ = json.Marshal(reply)
}

// translate puts the client's refs in place of the recorded ones and leaves the
// payload's bytes alone.
func (a *actor) translate(m *wire.Message) []byte {
	out := *m
	out.Ref, out.JoinRef = a.ref(m.Ref), a.ref(m.JoinRef)
	text, _, err := wire.AppendServer(nil, a.v, &out)
	if err != nil {
		a.t.Fatalf("translate %+v: %v", m, err)
	}
	return text
}

func (a *actor) ref(recorded wire.Ref) wire.Ref {
	if recorded.IsNull() {
		return recorded
	}
	if r, ok := a.refs[recorded.String()]; ok {
		return r
	}
	return wire.StringRef("unknown " + recorded.Text())
}

// expectMeaning reads the recorded frame by itself and expects its events.
func (a *actor) expectMeaning(n int, m *wire.Message) {
	r := a.rooms[m.Topic]
	switch {
	case m.Topic == wire.TopicPhoenix:
		return
	case r == nil:
		if m.Event != wire.EventReply || bytes.Contains(m.Payload, []byte(`"error"`)) {
			a.expectDrop(n)
		}
		return
	}
	switch m.Event {
	case wire.EventReply:
		a.expectReply(n, m, r)
	case wire.EventClose, wire.EventError:
		ref := m.JoinRef
		if ref.IsNull() {
			ref = m.Ref
		}
		switch {
		case ref != r.join:
			a.expectDrop(n)
		case r.leaving:
			a.expect(r, "Closed")
			delete(a.rooms, m.Topic)
		case r.joined:
			a.expect(r, "Lost", "Retrying")
			r.joined, r.live = false, false
		}
	default:
		if !r.joined || r.leaving {
			return
		}
		a.expectPush(n, m, r)
	}
}

func (a *actor) expectReply(n int, m *wire.Message, r *room) {
	var reply struct {
		Status   string          `json:"status"`
		Response json.RawMessage `json:"response"`
	}
	if err := json.Unmarshal(m.Payload, &reply); err != nil {
		a.t.Fatal(err)
	}
	if _, known := a.refs[m.Ref.String()]; !known {
		if reply.Status != "ok" {
			a.expectDrop(n)
		}
		return
	}
	switch {
	case m.Ref == r.join && !r.joined && !r.leaving:
		if reply.Status != "ok" {
			a.expect(r, "Retrying")
			return
		}
		var response struct {
			Changes []struct {
				Binding
				ID int64 `json:"id"`
			} `json:"postgres_changes"`
		}
		if err := json.Unmarshal(reply.Response, &response); err != nil {
			a.t.Fatal(err)
		}
		distinct := newBindings(r.bindings).sent
		r.ids = make(map[int64][]Binding)
		for _, b := range response.Changes {
			r.ids[b.ID] = append(r.ids[b.ID], b.Binding)
		}
		r.joined = true
		r.synced, r.pending, r.present = false, nil, presence{}
		a.expect(r, "Joined")
		if len(distinct) == 0 && !r.ch.opts.Broadcast.ReplicationReady {
			a.goLive(r)
		}
	case r.leaving:
		a.expect(r, "Closed")
		delete(a.rooms, m.Topic)
	case reply.Status != "ok" && strings.Contains(string(reply.Response), reasonUnmatched):
		a.expect(r, "Lost", "Retrying")
		r.joined, r.live = false, false
	}
}

func (a *actor) goLive(r *room) {
	if r.wasLive {
		a.expect(r, "Gap")
	}
	a.expect(r, "Live")
	r.live, r.wasLive = true, true
}

func (a *actor) expectPush(n int, m *wire.Message, r *room) {
	switch {
	case m.Binary, m.Kind == wire.UserBroadcast, m.Event == wire.EventBroadcast:
		ev, ok := a.next(r).(*BroadcastMessage)
		if !ok {
			a.t.Errorf("line %d: %T for a broadcast", n, ev)
			return
		}
		if m.Kind != wire.Text {
			if ev.Event != m.UserEvent || !bytes.Equal(ev.Payload, m.Payload) || ev.Binary != m.Binary || !bytes.Equal(ev.Meta, m.Metadata) {
				a.t.Errorf("line %d: broadcast %+v, want that of %+v", n, ev, m)
			}
			return
		}
		var p struct {
			Event   string          `json:"event"`
			Payload json.RawMessage `json:"payload"`
			Meta    json.RawMessage `json:"meta"`
		}
		json.Unmarshal(m.Payload, &p) // anything may come
		if ev.Event != p.Event || !bytes.Equal(ev.Payload, p.Payload) || !bytes.Equal(ev.Meta, p.Meta) || !bytes.Equal(ev.Raw, m.Payload) {
			a.t.Errorf("line %d: broadcast %+v, want that of %s", n, ev, m.Payload)
		}
	case m.Event == wire.EventChanges:
		a.expectChange(n, m, r)
	case m.Event == wire.EventSystem:
		a.expectSystem(n, m, r)
	case m.Event == wire.EventPresenceState:
		a.expectPresence(n, m, r)
	case m.Event == wire.EventPresenceDiff:
		a.expectPresence(n, m, r)
	default:
		if ev, ok := a.next(r).(*Message); !ok || ev.Event != m.Event || !bytes.Equal(ev.Payload, m.Payload) {
			a.t.Errorf("line %d: %+v for %s", n, ev, m.Event)
		}
	}
}

func (a *actor) expectChange(n int, m *wire.Message, r *room) {
	var p struct {
		Data struct {
			Type, Schema, Table string
			Record              json.RawMessage
			OldRecord           json.RawMessage `json:"old_record"`
			Columns             []Column
			Errors              []string
			Commit              *time.Time `json:"commit_timestamp"`
		}
		IDs []int64
	}
	if err := json.Unmarshal(m.Payload, &p); err != nil {
		a.t.Fatal(err)
	}
	fits := slices.ContainsFunc(p.IDs, func(id int64) bool {
		return slices.ContainsFunc(r.ids[id], func(b Binding) bool { return b.Event == All || string(b.Event) == p.Data.Type })
	})
	if !fits {
		a.expectDrop(n)
		return
	}
	ev, ok := a.next(r).(*Change)
	if !ok {
		a.t.Errorf("line %d: %T for a change", n, ev)
		return
	}
	d := p.Data
	if string(ev.Type) != d.Type || ev.Schema != d.Schema || ev.Table != d.Table || !bytes.Equal(ev.Record, d.Record) || !bytes.Equal(ev.OldRecord, d.OldRecord) ||
		!slices.Equal(ev.Columns, d.Columns) || !slices.Equal(ev.Errors, d.Errors) || (d.Commit == nil) != ev.CommitTime.IsZero() || d.Commit != nil && !d.Commit.Equal(ev.CommitTime) {
		a.t.Errorf("line %d: change %+v\nfrom %s", n, ev, m.Payload)
	}
	for _, i := range ev.Bindings {
		b := r.bindings[i]
		if b.Event != All && string(b.Event) != d.Type || b.Table != "" && b.Table != "*" && b.Table != d.Table {
			a.t.Errorf("line %d: %s of %s for binding %+v", n, d.Type, d.Table, b)
		}
	}
	if len(ev.Bindings) == 0 || len(ev.Record) > 0 && !json.Valid(ev.Record) {
		a.t.Errorf("line %d: change %+v", n, ev)
	}
	var row map[string]any
	if ev.Record != nil {
		if err := ev.Decode(&row); err != nil {
			a.t.Errorf("line %d: %v", n, err)
		}
	}
}

func (a *actor) expectSystem(n int, m *wire.Message, r *room) {
	var p struct{ Extension, Status, Message string }
	if err := json.Unmarshal(m.Payload, &p); err != nil {
		a.t.Fatal(err)
	}
	switch {
	case p.Status == "error":
		ev, ok := a.next(r).(*SystemError)
		if !ok || ev.Message != p.Message || ev.Extension != p.Extension {
			a.t.Errorf("line %d: %+v for %s", n, ev, m.Payload)
		}
		if p.Extension == extensionChanges && r.live {
			r.live = false
		}
	case p.Message == messageSubscribed && len(r.bindings) > 0, p.Message == messageReplicating && !r.live:
		a.goLive(r)
	}
}

// expectPresence applies the frame to a view of its own with the reference
// algorithm's two steps, and compares who is here afterwards.
func (a *actor) expectPresence(n int, m *wire.Message, r *room) {
	apply := func(d rawDiff) (changed bool) {
		for key, list := range d.joins {
			for _, x := range list {
				if !hasRef(r.present.metas[key], x.ref) {
					r.present.metas[key] = append(r.present.metas[key], x)
					changed = true
				}
			}
		}
		for key, list := range d.leaves {
			for _, x := range list {
				before := len(r.present.metas[key])
				r.present.metas[key] = slices.DeleteFunc(r.present.metas[key], func(y meta) bool { return y.ref == x.ref })
				changed = changed || len(r.present.metas[key]) != before
				if len(r.present.metas[key]) == 0 {
					delete(r.present.metas, key)
				}
			}
		}
		return changed
	}
	if r.present.metas == nil {
		r.present.metas = make(map[string][]meta)
	}
	if m.Event == wire.EventPresenceState {
		state, err := parsePresences(m.Payload)
		if err != nil {
			a.t.Fatal(err)
		}
		r.present.metas, r.synced = state, true
		for _, d := range r.pending {
			apply(d)
		}
		r.pending = nil
		if _, ok := a.next(r).(*PresenceState); !ok {
			a.t.Errorf("line %d: no PresenceState", n)
		}
	} else {
		var p struct{ Joins, Leaves json.RawMessage }
		if err := json.Unmarshal(m.Payload, &p); err != nil {
			a.t.Fatal(err)
		}
		joins, _ := parsePresences(p.Joins)
		leaves, _ := parsePresences(p.Leaves)
		d := rawDiff{joins, leaves}
		if r.ch.opts.Presence.Enabled && !r.synced {
			r.pending = append(r.pending, d)
			return
		}
		if apply(d) {
			if ev, ok := a.next(r).(*PresenceDiff); !ok {
				a.t.Errorf("line %d: %T for a diff", n, ev)
			}
		} else {
			a.settle()
		}
	}
	if got, want := entries(r.ch.Present()), entries(r.present.list()); got != want {
		a.t.Errorf("line %d: present %s, want %s", n, got, want)
	}
}

// next is the room's next event.
func (a *actor) next(r *room) Event {
	a.t.Helper()
	a.events++
	select {
	case ev := <-r.ch.Events():
		return ev
	case err := <-a.dropped:
		a.t.Errorf("frame dropped: %v", err)
		return nil
	case <-time.After(5 * time.Second):
		a.t.Error("no event")
		return nil
	}
}

func (a *actor) expect(r *room, names ...string) {
	a.t.Helper()
	for _, name := range names {
		if got := fmt.Sprintf("%T", a.next(r)); got != "*phoenix."+name {
			a.t.Errorf("%s, want %s", got, name)
		}
	}
}

func (a *actor) expectDrop(n int) {
	a.t.Helper()
	select {
	case <-a.dropped:
	case <-time.After(5 * time.Second):
		a.t.Errorf("line %d: frame not dropped", n)
	}
}

// settle waits until the client has handled all it was sent, by a heartbeat.
func (a *actor) settle() {
	a.t.Helper()
	a.c.call(context.Background(), func() { a.c.beat(a.c.link.conn) })
	a.p.reply(a.p.nextAny(), "ok", `{}`)
	select {
	case <-a.beats:
	case <-time.After(5 * time.Second):
		a.t.Error("heartbeat not taken for answered")
	}
}

// closed ends the connection as recorded.
func (a *actor) closed(l *line) {
	if a.p == nil {
		a.stop()
		return
	}
	if l.By != "server" {
		a.stop()
		return
	}
	a.frames++
	if l.Code == websocket.CloseAbnormalClosure {
		a.p.ws.NetConn().Close()
	} else {
		a.p.closeWith(l.Code)
	}
	for _, r := range a.rooms {
		switch {
		case r.leaving:
			a.expect(r, "Closed")
		case r.joined:
			a.expect(r, "Lost", "Retrying")
		default:
			a.expect(r, "Retrying")
		}
	}
	a.stop()
}
