package config

import (
	"encoding/json"
	"slices"
	"strings"
)

// domain checks what browsers do with each other and with rows.
func (v *validator) domain() {
	if n := v.c.Tables.Notifications; n.Name != "" && n.User+n.Conversation+n.Tenant == "" {
		v.fail(
			"tables.notifications.user",
			"expected a column that says whom a notification is for: this, tables.notifications.conversation or tables.notifications.tenant",
		)
	}
	v.realtime()
	s := v.c.Sending
	if !s.Enabled {
		return
	}
	if s.Content == "" {
		v.fail("sending.content", "expected the name of a column, found nothing")
	}
	written := []string{s.Content, v.c.Tables.Messages.Conversation}
	if s.Sender != "" {
		written = append(written, s.Sender)
	}
	for _, set := range s.Set {
		name, _, ok := SetColumn(set)
		if !ok {
			v.fail("sending.set", "expected column=text or column:=json, found %s", shown(set))
		}
		written = append(written, name)
	}
	for _, field := range s.Fields {
		if slices.Contains(written, field) {
			v.fail("sending.fields", "holds %s, which the bridge writes itself", shown(field))
		}
	}
}

// maxTopic bounds a channel's name, in bytes: Realtime takes 255 with "realtime:" in front, of
// which a UUID takes 36.
const maxTopic = 200

func (v *validator) realtime() {
	typing, presence := v.c.Realtime.Typing, v.c.Realtime.Presence
	for path, topic := range map[string]string{"realtime.typing.topic": typing.Topic,
		"realtime.presence.topic": presence.Topic} {
		if topic == "" || len(topic) > maxTopic {
			v.fail(path, "expected the name of a channel of at most %d bytes, found %s", maxTopic, shown(topic))
		}
		if strings.Count(topic, "{conversation}")+strings.Count(topic, "{tenant}") > 1 {
			v.fail(path, "expected {conversation} or {tenant} at most once, found %s", shown(topic))
		}
	}
	if presence.Share != "off" && !strings.Contains(presence.Topic, "{tenant}") {
		v.fail("realtime.presence.topic", "expected a name with {tenant} in it, found %s", shown(presence.Topic))
	}
	if typing.Share != "off" && presence.Share != "off" && typing.Topic == presence.Topic &&
		typing.Private != presence.Private {
		v.fail(
			"realtime.presence.private",
			"expected the same as realtime.typing.private, since both have the topic %s",
			shown(typing.Topic),
		)
	}
	if typing.Share != "off" && typing.Event == "" {
		v.fail("realtime.typing.event", "expected the name of an event, found nothing")
	}
	if typing.StopEvent != "" && typing.StopEvent == typing.Event {
		v.fail(
			"realtime.typing.stop_event",
			"expected another name than that of realtime.typing.event, found %s for both",
			shown(typing.Event),
		)
	}
}

// SetColumn reads one of sending.set: the column and the JSON of its value.
func SetColumn(set string) (column string, value json.RawMessage, ok bool) {
	column, text, found := strings.Cut(set, "=")
	if !found || column == "" || column == ":" {
		return "", nil, false
	}
	if name, literal := strings.CutSuffix(column, ":"); literal {
		return name, json.RawMessage(text), json.Valid([]byte(text))
	}
	return column, quoted(text), true
}
