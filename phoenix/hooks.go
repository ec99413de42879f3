package phoenix

import (
	"context"
	"log/slog"
	"time"
)

// Hooks are called as things happen, for metrics and logs. Every one may be nil.
// They run on the client's own goroutine: they must return at once and not call
// the client or its channels.
type Hooks struct {
	// Connected: the WebSocket is open; took is how long the handshake needed.
	Connected func(took time.Duration)
	// Disconnected: the connection, or an attempt at one, ended. err is an *Error,
	// nil when the client closed it itself. retryIn is when the next attempt starts.
	Disconnected func(err error, retryIn time.Duration)
	// Heartbeat: the server answered a heartbeat after rtt.
	Heartbeat func(rtt time.Duration)
	// StageChanged: a channel went from one stage to another.
	StageChanged func(topic string, from, to Stage)
	// Retrying: a join failed, or a joined channel was lost; the next attempt is in delay.
	Retrying func(topic string, err error, delay time.Duration)
	// FrameIn and FrameOut: a frame of n bytes was read, or handed to the writer.
	FrameIn, FrameOut func(n int, binary bool)
	// FrameDropped: a frame could not be read, or belonged to nothing.
	FrameDropped func(err error)
	// EventsLost: the consumer of a channel fell behind, and n events were dropped.
	EventsLost func(topic string, n int)
	// TokenRenewed: a channel's token was renewed ahead of its end (err nil), or
	// could not be.
	TokenRenewed func(topic string, err error)
}

func (c *Client) logf(level slog.Level, msg string, attrs ...slog.Attr) {
	if c.opts.Logger != nil {
		c.opts.Logger.LogAttrs(context.Background(), level, msg, attrs...)
	}
}

func (c *Client) dropped(err error) {
	if h := c.opts.Hooks.FrameDropped; h != nil {
		h(err)
	}
	c.logf(slog.LevelDebug, "realtime frame dropped", slog.Any("error", err))
}
