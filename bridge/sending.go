package bridge

import (
	"encoding/json"

	"github.com/supabridge/supabridge/bridge/row"
	"github.com/supabridge/supabridge/bridge/supabase"
	"github.com/supabridge/supabridge/bridge/vocabulary"
	"github.com/supabridge/supabridge/config"
	"github.com/supabridge/supabridge/socketio"
)

var (
	failNoText    = failure{"bad_request", "the message has no text"}
	failNoSend    = failure{"forbidden", "you are not allowed to write to this conversation"}
	failSendToken = failure{
		"unauthorized",
		"messages are written with a user's own token, and Supabase takes this one's no more, or there is none",
	}
	failNotStored = failure{"refused", "Supabase did not take the message as it is"}
)

// sendMessage writes a message with the user's own token, so that Row Level Security decides. The
// row then comes to everybody by the feed, as every other does; the answer has it too.
func (c *client) sendMessage(e *socketio.Event) {
	s := c.b.cfg().Sending
	if !s.Enabled {
		c.fail(e, failNoWrite)
		return
	}
	if !c.who.Verified {
		c.fail(e, failSendToken)
		return
	}
	id, ok := c.b.words().ConversationID(c.intent, e.Args, &c.speaker)
	if !ok {
		id = vocabulary.NewID(c.impliedConversation(e))
	}
	if id.Text == "" {
		c.fail(e, failBadRequest)
		return
	}
	text, ok := c.b.words().MessageText(e.Args, &c.speaker)
	if !ok {
		c.fail(e, failNoText)
		return
	}
	if asStored, ok := c.conversations.get(id.Text); ok {
		id = vocabulary.ID{Text: asStored, JSON: idPayload(id, asStored)}
	}
	stored, err := c.b.rows.InsertAs(
		c.socket.Context(),
		c.who.Token,
		c.b.cfg().Tables.Messages.Name,
		c.b.messageRow(c, e, id, text),
	)
	if err != nil {
		c.notSent(e, err)
		return
	}
	c.b.typing.Wrote(id.Text, c.who.UserID)
	c.about.conversation = id
	written, err := row.Parse(stored)
	if err != nil {
		stored = nil
	}
	key := c.b.cfg().Tables.Messages.ID
	messageID := vocabulary.IDOf(written, key, written.Text(key)).JSON
	c.succeed(e, "conversationId", id.JSON, "messageId", messageID, "id", messageID, "message", stored)
}

// messageRow is the row of a message that is sent. What the bridge itself writes, a browser can't.
func (b *Bridge) messageRow(
	c *client,
	e *socketio.Event,
	conversation vocabulary.ID,
	text string,
) map[string]json.RawMessage {
	s := b.cfg().Sending
	message := make(map[string]json.RawMessage, len(s.Fields)+len(s.Set)+3)
	for _, field := range s.Fields {
		if value, ok := b.words().SentField(e.Args, field); ok {
			message[field] = value
		}
	}
	for _, set := range s.Set {
		if column, value, ok := config.SetColumn(set); ok {
			message[column] = value
		}
	}
	if s.Sender != "" {
		message[s.Sender] = vocabulary.NewID(c.who.UserID).JSON
	}
	message[b.cfg().Tables.Messages.Conversation] = conversation.JSON
	message[s.Content] = vocabulary.NewID(text).JSON
	return message
}

// notSent tells why a message was not written. What Supabase says of a row is for the log: it may
// quote others' values.
func (c *client) notSent(e *socketio.Event, err error) {
	f := failUnavailable
	if told, ok := supabase.AsError(err); ok {
		switch told.Class {
		case supabase.ClassDenied:
			f = failNoSend
		case supabase.ClassToken:
			f = failSendToken
		case supabase.ClassPermanent:
			f = failNotStored
		}
	}
	c.b.log.Warn().Err(err).Str("socket", c.socket.ID()).Str("user", c.who.UserID).Msg("a message could not be written")
	c.fail(e, f)
}
