package phoenix

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/supabridge/supabridge/phoenix/internal/wire"
)

// maxReplay is the server's bound on replayed messages.
const maxReplay = 25

// replayOverlap is how much further back than the gap a rejoin asks for replay, for
// messages stored late and clocks that differ.
const replayOverlap = time.Minute

// BroadcastOptions configures the messages between clients of a channel.
type BroadcastOptions struct {
	// Self delivers the channel's own broadcasts to it too.
	Self bool
	// Ack makes the server confirm every broadcast; SendAck needs it.
	Ack bool
	// ReplicationReady holds Live back until the server streams broadcasts that come
	// from the database.
	ReplicationReady bool
	// Replay asks for stored broadcasts after each join; private channels only.
	Replay *Replay
}

// Replay asks for the newest stored broadcasts. Only messages sent from the
// database are stored, for three days.
type Replay struct {
	// Since is the earliest instant of interest. A rejoin asks only for what may have
	// been missed; messages delivered before are not delivered again.
	Since time.Time
	// Limit is at most 25, the default.
	Limit int
}

type joinBroadcast struct {
	Ack              bool        `json:"ack"`
	Self             bool        `json:"self"`
	ReplicationReady bool        `json:"replication_ready,omitempty"`
	Replay           *joinReplay `json:"replay,omitempty"`
}

type joinReplay struct {
	Since int64 `json:"since"` // unix milliseconds
	Limit int   `json:"limit,omitempty"`
}

type joinPresence struct {
	Key     string `json:"key"`
	Enabled bool   `json:"enabled"`
}

// joinBroadcast is the broadcast part of the join of now.
func (ch *channel) joinBroadcast() joinBroadcast {
	o := ch.opts.Broadcast
	j := joinBroadcast{Ack: o.Ack, Self: o.Self, ReplicationReady: o.ReplicationReady}
	if o.Replay != nil {
		since := o.Replay.Since
		if missing := ch.gapSince(); ch.joined && !missing.IsZero() {
			if from := missing.Add(-replayOverlap); from.After(since) {
				since = from
			}
		}
		j.Replay = &joinReplay{Since: since.UnixMilli(), Limit: o.Replay.Limit}
	}
	return j
}

// BroadcastMessage is a message of another client, of the REST API or of the database.
type BroadcastMessage struct {
	// Event is the sender's name for it. The server doesn't insist on one.
	Event string
	// Payload is JSON text as the server sent it, or raw bytes when Binary; nil when
	// the sender's message had none.
	Payload []byte
	Binary  bool
	// ID is set on messages from the database, and on REST messages that were given one.
	ID string
	// Replayed marks a stored message from before the join.
	Replayed bool
	// Meta is the message's metadata, JSON text or nil.
	Meta json.RawMessage
	// Raw is the whole message where it came as JSON: a sender may send anything,
	// also what has neither event nor payload. Nil for binary frames.
	Raw json.RawMessage
}

// Decode decodes the payload into dst. Numbers decoded into an any are json.Number.
func (m *BroadcastMessage) Decode(dst any) error {
	if m.Binary {
		return fmt.Errorf("realtime: broadcast %q has a binary payload", m.Event)
	}
	return decodeLossless(m.Payload, dst)
}

var errBadPayload = errors.New("realtime: broadcast payload is not JSON")

func (ch *channel) receiveBroadcast(m *wire.Message) {
	ev := &BroadcastMessage{}
	if m.Kind == wire.Text {
		ev.Raw = m.Payload
		for it := wire.WalkObject(m.Payload); it.Next(); {
			switch string(it.Key) {
			case "event":
				if name, err := wire.Unquote(it.Value); err == nil {
					ev.Event = name
				}
			case "payload":
				ev.Payload = it.Value
			case "meta":
				ev.Meta = it.Value
			}
		}
	} else {
		ev.Event, ev.Payload, ev.Binary = m.UserEvent, m.Payload, m.Binary
		if len(m.Metadata) > 0 && wire.Valid(m.Metadata) {
			ev.Meta = m.Metadata
		}
		// The server passes on what the sender called JSON without looking.
		if !ev.Binary && (!wire.Valid(ev.Payload) || !utf8.Valid(ev.Payload)) {
			ch.c.dropped(errBadPayload)
			return
		}
	}
	for it := wire.WalkObject(ev.Meta); it.Next(); {
		switch string(it.Key) {
		case "id":
			if id, err := wire.Unquote(it.Value); err == nil {
				ev.ID = id
			}
		case "replayed":
			ev.Replayed = string(it.Value) == "true"
		}
	}
	if ch.opts.Broadcast.Replay != nil && ev.ID != "" && !ch.replayed.first(ev.ID) && ev.Replayed {
		return
	}
	ch.deliver(ev)
}

// replayed remembers the ids of the last messages, so that a replay after a rejoin
// doesn't repeat them. It holds a few times what one replay can bring.
type replayed struct {
	ids  [4 * maxReplay]string
	next int
}

// first notes id and reports whether it was unknown.
func (r *replayed) first(id string) bool {
	if slices.Contains(r.ids[:], id) {
		return false
	}
	r.ids[r.next] = id
	r.next = (r.next + 1) % len(r.ids)
	return true
}

// Send broadcasts payload, anything encoding/json can encode, under the event's
// name. It returns once the message is handed to the connection; while the channel
// isn't joined it waits for that, within PushQueue and until ctx ends. Without an
// acknowledgement nobody learns whether the server took it: messages over a limit
// or without write permission vanish. A json.RawMessage is sent byte for byte.
func (ch *Channel) Send(ctx context.Context, event string, payload any) error {
	return ch.broadcast(ctx, event, payload, false)
}

// SendAck is Send, and waits until the server has accepted the message for
// delivery or ctx ends. The channel needs BroadcastOptions.Ack. On a private
// channel without write permission the server stays silent, so give ctx a deadline.
// Errors: ErrPayloadTooLarge, ErrDisconnected, ErrNotJoined, ErrQueueFull, ErrClosed.
func (ch *Channel) SendAck(ctx context.Context, event string, payload any) error {
	if !ch.opts.Broadcast.Ack {
		return ErrNoAck
	}
	return ch.broadcast(ctx, event, payload, true)
}

// SendBinary broadcasts raw bytes, with an acknowledgement when the channel has
// BroadcastOptions.Ack. It needs V2 and an event name of at most 255 bytes, else it
// returns ErrBinaryUnsupported; receivers on V1 get nothing.
func (ch *Channel) SendBinary(ctx context.Context, event string, data []byte) error {
	return ch.push(
		ctx,
		wire.Message{
			Kind:      wire.UserBroadcastPush,
			Topic:     ch.topic,
			UserEvent: event,
			Payload:   bytes.Clone(data),
			Binary:    true,
		},
		ch.opts.Broadcast.Ack,
	)
}

// maxFrameName is the longest event name of a binary frame, in bytes.
const maxFrameName = 255

func (ch *Channel) broadcast(ctx context.Context, event string, payload any, ack bool) error {
	body, err := encodePayload(payload)
	if err != nil {
		return err
	}
	// In V2 JSON too goes as a binary frame: the server passes its bytes on, where it
	// would re-encode the text form's numbers and order.
	m := wire.Message{Kind: wire.UserBroadcastPush, Topic: ch.topic, UserEvent: event, Payload: body}
	if ch.c.opts.Version == V2 && len(event) > maxFrameName {
		text := append([]byte(`{"type":"broadcast","event":`), wire.AppendString(nil, event)...)
		text = append(append(append(text, `,"payload":`...), body...), '}')
		m = wire.Message{Topic: ch.topic, Event: wire.EventBroadcast, Payload: text}
	}
	return ch.push(ctx, m, ack)
}

// encodePayload is the JSON of a payload; a RawMessage is checked and kept as it is.
func encodePayload(payload any) ([]byte, error) {
	if raw, ok := payload.(json.RawMessage); ok {
		if !wire.Valid(raw) || !utf8.Valid(raw) {
			return nil, errors.New("realtime: payload is not JSON")
		}
		return bytes.Clone(raw), nil
	}
	body, err := json.Marshal(payload)
	if err != nil {
		return nil, fmt.Errorf("realtime: encode payload: %w", err)
	}
	return body, nil
}
