package phoenix

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/supabridge/supabridge/phoenix/internal/wire"
)

// The server closes a channel that makes more than 5 presence calls within 30 s;
// presenceWindow leaves a second for the way there.
const (
	presenceCalls  = 5
	presenceWindow = 31 * time.Second
)

const (
	maxPendingDiffs = 256     // diffs that came before the state
	maxPresent      = 100_000 // presences a channel keeps
)

// PresenceOptions configures who is here.
type PresenceOptions struct {
	// Enabled asks for the state after each join, and for the differences.
	Enabled bool
	// Key names this channel among the present. Empty: the server makes one up at
	// each join. Several may share a key, such as one user's windows.
	Key string
}

// Presence is one who is here.
type Presence struct {
	Key string
	// Ref tells apart those that share a key; it changes with every update.
	Ref string
	// Meta is what was tracked, a JSON object without the server's own fields.
	Meta json.RawMessage
}

// PresenceChange is an update: the same presence with other content.
type PresenceChange struct {
	Key           string
	Before, After Presence
}

// PresenceState is everybody who is here, after a join. Joins, Leaves and Updates
// are the differences to what was known before, none for those who just stayed, or
// came back meanwhile under the same key with the same content.
type PresenceState struct {
	Present []Presence // by key, then in the server's order
	PresenceDiff
}

// PresenceDiff is who came, went, or changed. An update, which the server tells as
// a join and a leave, is in Updates alone.
type PresenceDiff struct {
	Joins, Leaves []Presence
	Updates       []PresenceChange
}

// presence is a channel's view of who is here, and its own part in it. Owned by the
// loop.
type presence struct {
	metas   map[string][]meta
	count   int
	synced  bool
	pending []rawDiff // until synced

	by      *Channel        // who tracked
	tracked json.RawMessage // to announce again after each join; nil when not tracking
	dirty   bool            // the server hasn't been told of tracked, or of its end
	sent    []time.Time     // of the last calls, at most presenceCalls
	busy    bool            // a call is unanswered
	waiters []chan error    // buffered; of the state as it is now
	timer   *alarm
}

type meta struct {
	ref, prev string
	body      json.RawMessage
}

type rawDiff struct {
	joins, leaves map[string][]meta
}

func (p *presence) stop() {
	p.timer.stop()
	p.busy = false
}

// joined prepares for a new join. Only with enabled will the server send a state;
// otherwise differences apply to nothing known.
func (p *presence) joined(enabled bool) {
	p.synced, p.pending = !enabled, nil
	p.sent = nil
	if !enabled {
		p.metas, p.count = nil, 0
	}
}

// parsePresences reads {key: {"metas": [{phx_ref, …}]}}.
func parsePresences(raw []byte) (map[string][]meta, error) {
	all := make(map[string][]meta)
	it := wire.WalkObject(raw)
	for it.Next() {
		key := string(it.Key)
		entry, ok := member(it.Value, "metas")
		if !ok {
			continue
		}
		list := wire.WalkArray(entry)
		for list.Next() {
			m, err := parseMeta(list.Value)
			if err != nil {
				return nil, err
			}
			all[key] = append(all[key], m)
		}
		if err := list.Err(); err != nil {
			return nil, err
		}
	}
	return all, it.Err()
}

// parseMeta parts the server's own fields from what was tracked.
func parseMeta(raw []byte) (meta, error) {
	var m meta
	body := []byte{'{'}
	it := wire.WalkObject(raw)
	for it.Next() {
		switch string(it.Key) {
		case "phx_ref":
			m.ref, _ = wire.Unquote(it.Value)
		case "phx_ref_prev":
			m.prev, _ = wire.Unquote(it.Value)
		default:
			if len(body) > 1 {
				body = append(body, ',')
			}
			body = append(wire.AppendString(body, string(it.Key)), ':')
			body = append(body, it.Value...)
		}
	}
	m.body = append(body, '}')
	return m, it.Err()
}

func (ch *channel) receivePresenceState(payload []byte) {
	p := &ch.presence
	state, err := parsePresences(payload)
	if err != nil {
		ch.c.dropped(fmt.Errorf("realtime: presence state: %w", err))
		return
	}
	d := p.replace(state)
	p.synced = true
	for _, pending := range p.pending {
		d.add(p.apply(pending))
	}
	p.pending = nil
	ch.deliver(&PresenceState{Present: p.list(), PresenceDiff: d})
}

func (ch *channel) receivePresenceDiff(payload []byte) {
	p := &ch.presence
	var diff rawDiff
	var err error
	for it := wire.WalkObject(payload); it.Next() && err == nil; {
		switch string(it.Key) {
		case "joins":
			diff.joins, err = parsePresences(it.Value)
		case "leaves":
			diff.leaves, err = parsePresences(it.Value)
		}
	}
	if err != nil {
		ch.c.dropped(fmt.Errorf("realtime: presence diff: %w", err))
		return
	}
	if !p.synced {
		if len(p.pending) >= maxPendingDiffs {
			ch.c.dropped(errors.New("realtime: presence state overdue, diff dropped"))
			return
		}
		p.pending = append(p.pending, diff)
		return
	}
	if d := p.apply(diff); !d.empty() {
		ch.deliver(&d)
	}
}

// replace makes state the state, and tells the difference. Refs are new where somebody
// joined again, as all do when a server restarts: of one key, who is gone and who is
// new are paired, and those whose content stayed are no news.
func (p *presence) replace(state map[string][]meta) PresenceDiff {
	diff := rawDiff{joins: make(map[string][]meta), leaves: make(map[string][]meta)}
	for key, old := range p.metas {
		for _, m := range old {
			if !hasRef(state[key], m.ref) {
				diff.leaves[key] = append(diff.leaves[key], m)
			}
		}
	}
	for key, now := range state {
		for _, m := range now {
			if !hasRef(p.metas[key], m.ref) {
				diff.joins[key] = append(diff.joins[key], m)
			}
		}
		pair(diff.joins[key], diff.leaves[key])
	}
	d := p.apply(diff)
	d.Updates = slices.DeleteFunc(
		d.Updates,
		func(u PresenceChange) bool { return bytes.Equal(u.Before.Meta, u.After.Meta) },
	)
	return d
}

// pair makes each join that follows nothing follow a leave that nothing follows,
// preferably one of the same content.
func pair(joins, leaves []meta) {
	followed := func(ref string) bool {
		return slices.ContainsFunc(joins, func(j meta) bool { return j.prev == ref })
	}
	for _, sameContent := range []bool{true, false} {
		for i, j := range joins {
			if hasRef(leaves, j.prev) {
				continue
			}
			at := slices.IndexFunc(leaves, func(l meta) bool {
				return (!sameContent || bytes.Equal(l.body, j.body)) && !followed(l.ref)
			})
			if at >= 0 {
				joins[i].prev = leaves[at].ref
			}
		}
	}
}

func hasRef(list []meta, ref string) bool {
	return slices.ContainsFunc(list, func(m meta) bool { return m.ref == ref })
}

// apply changes the state by diff: joins first, then leaves. What it returns leaves
// out what was known already and pairs up updates.
func (p *presence) apply(diff rawDiff) PresenceDiff {
	var d PresenceDiff
	if p.metas == nil {
		p.metas = make(map[string][]meta)
	}
	for _, key := range slices.Sorted(maps.Keys(diff.joins)) {
		for _, m := range diff.joins[key] {
			if hasRef(p.metas[key], m.ref) || p.count >= maxPresent {
				continue
			}
			p.metas[key] = append(p.metas[key], m)
			p.count++
			d.Joins = append(d.Joins, Presence{Key: key, Ref: m.ref, Meta: m.body})
			// An update names the ref it follows, and the same diff has that leave.
			if m.prev == "" || !hasRef(diff.leaves[key], m.prev) {
				continue
			}
			if at := slices.IndexFunc(p.metas[key], func(o meta) bool { return o.ref == m.prev }); at >= 0 {
				before := p.metas[key][at]
				d.Joins = d.Joins[:len(d.Joins)-1]
				d.Updates = append(d.Updates, PresenceChange{
					Key:    key,
					Before: Presence{Key: key, Ref: before.ref, Meta: before.body},
					After:  Presence{Key: key, Ref: m.ref, Meta: m.body},
				})
				p.remove(key, at)
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(diff.leaves)) {
		for _, m := range diff.leaves[key] {
			at := slices.IndexFunc(p.metas[key], func(o meta) bool { return o.ref == m.ref })
			if at < 0 {
				continue
			}
			gone := p.metas[key][at]
			p.remove(key, at)
			d.Leaves = append(d.Leaves, Presence{Key: key, Ref: gone.ref, Meta: gone.body})
		}
	}
	return d
}

func (p *presence) remove(key string, at int) {
	// A new slice: list's results may share the old one.
	p.metas[key] = append(slices.Clone(p.metas[key][:at]), p.metas[key][at+1:]...)
	p.count--
	if len(p.metas[key]) == 0 {
		delete(p.metas, key)
	}
}

func (p *presence) list() []Presence {
	all := make([]Presence, 0, p.count)
	for _, key := range slices.Sorted(maps.Keys(p.metas)) {
		for _, m := range p.metas[key] {
			all = append(all, Presence{Key: key, Ref: m.ref, Meta: m.body})
		}
	}
	return all
}

func (d *PresenceDiff) empty() bool { return len(d.Joins)+len(d.Leaves)+len(d.Updates) == 0 }

// add joins a later difference to d.
func (d *PresenceDiff) add(o PresenceDiff) {
	d.Joins = append(d.Joins, o.Joins...)
	d.Leaves = append(d.Leaves, o.Leaves...)
	d.Updates = append(d.Updates, o.Updates...)
}

// Present is who is here as far as the channel knows, by key. While the channel is
// not joined it is who was here last.
func (ch *Channel) Present() []Presence {
	var all []Presence
	ch.c.call(context.Background(), func() { all = ch.presence.list() })
	return all
}

// Track announces this channel as present with meta, anything that encodes to a
// JSON object, until Untrack; after a rejoin the client announces it again. Track
// returns when the server has taken it or ctx ends. The server closes channels that
// call too often, so calls are spaced to 5 in 30 s, and of several waiting ones only
// the latest is sent; all of them return with its outcome.
func (ch *Channel) Track(ctx context.Context, meta any) error {
	body, err := encodePayload(meta)
	if err != nil {
		return err
	}
	if body = bytes.TrimSpace(body); len(body) == 0 || body[0] != '{' {
		return errors.New("realtime: what is tracked must be a JSON object")
	}
	return ch.say(ctx, body)
}

// Untrack ends what Track announced. It returns when the server has taken it or
// ctx ends, within the same spacing.
func (ch *Channel) Untrack(ctx context.Context) error { return ch.say(ctx, nil) }

func (ch *Channel) say(ctx context.Context, body json.RawMessage) error {
	p := &ch.presence
	result := make(chan error, 1)
	if err := ch.c.call(ctx, func() {
		switch {
		case ch.closed || ch.stage == StageLeaving:
			result <- ErrClosed
			return
		case !ch.subscribed:
			result <- ErrNotJoined
			return
		}
		if len(p.waiters) >= ch.maxAnnouncers() {
			result <- ErrQueueFull
			return
		}
		p.by, p.tracked, p.dirty = ch, body, true
		p.waiters = append(p.waiters, result)
		ch.flushPresence()
	}); err != nil {
		return err
	}
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		ch.c.post(func() {
			p.waiters = slices.DeleteFunc(p.waiters, func(w chan error) bool { return w == result })
		})
		return ctx.Err()
	case <-ch.c.done:
		return ErrClosed
	}
}

func (ch *channel) maxAnnouncers() int { return max(ch.opts.PushQueue, 1) }

// flushPresence makes the presence call that is due, when it may be made.
func (ch *channel) flushPresence() {
	p := &ch.presence
	if !p.dirty || p.busy || ch.stage != StageJoined && ch.stage != StageLive {
		return
	}
	now := ch.c.now()
	if len(p.sent) >= presenceCalls {
		if wait := presenceWindow - now.Sub(p.sent[0]); wait > 0 {
			p.timer.stop()
			p.timer = ch.c.agenda.after(wait, ch.flushPresence)
			return
		}
		p.sent = p.sent[1:]
	}
	payload := []byte(`{"type":"presence","event":"untrack"}`)
	if p.tracked != nil {
		payload = append([]byte(`{"type":"presence","event":"track","payload":`), p.tracked...)
		payload = append(payload, '}')
	}
	p.sent = append(p.sent, now)
	p.dirty, p.busy = false, true
	waiters := p.waiters
	p.waiters = nil
	call := &push{ch: ch, msg: wire.Message{Topic: ch.topic, Event: wire.EventPresence, Payload: payload}, wantReply: true}
	call.settle = func(r *reply, err error) {
		if errors.Is(err, ErrDisconnected) || errors.Is(err, ErrClosed) && ch.stage != StageClosed {
			// The rejoin announces it again: the waiters wait for that.
			p.waiters = append(waiters, p.waiters...)
			return
		}
		p.timer.stop()
		p.busy = false
		outcome := ch.outcome(r, err)
		for _, w := range waiters {
			w <- outcome
		}
		ch.flushPresence()
	}
	p.timer.stop()
	p.timer = ch.c.agenda.after(ch.opts.JoinTimeout, func() {
		ch.withdraw(call)
		p.busy = false
		for _, w := range waiters {
			w <- ErrDisconnected
		}
		ch.flushPresence()
	})
	ch.transmit(call)
}

// retrack announces again, after a join, what the server has forgotten.
func (ch *channel) retrack() {
	p := &ch.presence
	p.busy = false
	p.dirty = p.dirty || p.tracked != nil || len(p.waiters) > 0
	ch.flushPresence()
}

// closePresence ends the waits of a closed channel.
func (ch *channel) closePresence() {
	for _, w := range ch.presence.waiters {
		w <- ErrClosed
	}
	ch.presence.waiters = nil
}
