package vocabulary

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestExplainTellsWhatBecomesOfAnEvent(t *testing.T) {
	v := compile(t, Options{TenantNoun: "distributor", ConversationRoom: "conversation:{id}", TenantRoom: "tenant:{id}"})
	for _, test := range []struct {
		event, arg string
		want       []string
	}{
		{"conversation:join", `{"conversationId":42}`, []string{"intent:       join\n", "style:        colon\n", "conversation: 42\n", "room:         conversation:42\n",
			`colon        conversation:joined {"conversationId":42`, "to socket\n"}},
		{"typing", `{"roomId":"a","isTyping":false}`, []string{"intent:       typing\n", "not revealed", `underscore   user_stopped_typing {"conversationId":"a"`, "conversation except the sender"}},
		{"join", `"tenant:5"`, []string{"intent:       join_tenant\n", "room:         tenant:5\n"}},
		{"open_thread", `1`, []string{"unknown", "vocabulary.in.INTENT.events"}},
		{"join_conversation", `{}`, []string{"none found"}},
		{"message:read", `{"messageId":"m"}`, []string{"intent:       mark_read\n", "none named", `colon        message:read {"conversationId":"CONVERSATION"`}},
		{"presence:busy", `{}`, []string{"intent:       set_status\n", `"status":"busy"`, "to tenant\n"}},
		{"send_message", `{"conversationId":"c","text":"hi"}`, []string{"conversation: \"c\"\n", "text:         hi\n", "sending.enabled"}},
		{"join", `"user_5"`, []string{"the own one of user 5"}},
		{"notification", `{"id":1,"title":"x"}`, []string{`notification {"id":1,"title":"x"`, "to the user that the row names, else the conversation, else the tenant\n"}},
		{"message.created", `{"id":1,"conversation_id":9}`, []string{`kebab        new-message {"id":1,"conversation_id":9`, `whaticket    appMessage {"action":"create"`, "to conversation+tenant\n"}},
		{"message.status", `{"id":1,"status":"READ"}`, []string{`message_status_update {"conversationId":"CONVERSATION"`, `"status":"READ"`}},
		{"user.online", `{"userId":"u"}`, []string{`camel        userOnline {"userId":"u"}`, "whaticket    nothing"}},
	} {
		var b strings.Builder
		if err := v.Explain(&b, test.event, raws(t, test.arg)); err != nil {
			t.Errorf("%s: %v", test.event, err)
		}
		for _, want := range test.want {
			if !strings.Contains(b.String(), want) {
				t.Errorf("%s %s: %q is not in\n%s", test.event, test.arg, want, b.String())
			}
		}
	}
	if err := v.Explain(&strings.Builder{}, "join", []json.RawMessage{json.RawMessage("42x")}); err == nil {
		t.Error("an argument that is not JSON gave no error")
	}
}
