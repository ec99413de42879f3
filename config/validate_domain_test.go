package config

import (
	"strings"
	"testing"
)

func TestWhatBrowsersDoWithEachOtherIsChecked(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*Config)
		key    string // "" for what is fine
	}{
		"as it is":                     {func(*Config) {}, ""},
		"notifications for nobody":     {func(c *Config) { c.Tables.Notifications = NotificationsTable{Name: "n", ID: "id"} }, "tables.notifications.user"},
		"a set column":                 {func(c *Config) { c.Sending.Enabled, c.Sending.Set = true, []string{"status=SENT", "data:={\"a\":1}"} }, ""},
		"a set column that is none":    {func(c *Config) { c.Sending.Enabled, c.Sending.Set = true, []string{"status"} }, "sending.set"},
		"a set column that is no JSON": {func(c *Config) { c.Sending.Enabled, c.Sending.Set = true, []string{"data:={"} }, "sending.set"},
		"a field the bridge writes": {func(c *Config) {
			c.Sending.Enabled, c.Sending.Sender, c.Sending.Fields = true, "sender_id", []string{"sender_id"}
		}, "sending.fields"},
		"no column for the text":      {func(c *Config) { c.Sending.Enabled, c.Sending.Content = true, "" }, "sending.content"},
		"presence of all tenants":     {func(c *Config) { c.Realtime.Presence.Share, c.Realtime.Presence.Topic = "in", "online" }, "realtime.presence.topic"},
		"a topic with two ids":        {func(c *Config) { c.Realtime.Typing.Topic = "{tenant}:{conversation}" }, "realtime.typing.topic"},
		"a topic that is too long":    {func(c *Config) { c.Realtime.Typing.Topic = strings.Repeat("x", 201) }, "realtime.typing.topic"},
		"typing without a name":       {func(c *Config) { c.Realtime.Typing.Share, c.Realtime.Typing.Event = "out", "" }, "realtime.typing.event"},
		"one name for start and stop": {func(c *Config) { c.Realtime.Typing.StopEvent = "typing" }, "realtime.typing.stop_event"},
		"one topic, private and public": {func(c *Config) {
			r := &c.Realtime
			r.Typing = RealtimeTyping{"both", "t:{tenant}", "typing", "", true}
			r.Presence.Share, r.Presence.Topic = "in", "t:{tenant}"
		}, "realtime.presence.private"},
	} {
		c := Default()
		c.Supabase.URL, c.Supabase.ServiceRoleKey, c.Supabase.AnonKey = "https://x.supabase.co", "sb_secret_x", "sb_publishable_x"
		test.change(c)
		err := c.Validate()
		switch {
		case test.key == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case test.key != "" && (err == nil || !strings.Contains(err.Error(), test.key)):
			t.Errorf("%s: %v, want a fault of %s", name, err, test.key)
		}
	}
}
