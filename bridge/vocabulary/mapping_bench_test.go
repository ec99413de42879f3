package vocabulary

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/supabridge/supabridge/bridge/row"
	"github.com/supabridge/supabridge/config"
)

// What an event costs on its way through the mapping, beside what a handler costs that is written
// for one frontend: it decodes a row into a struct and encodes the struct that its frontend
// expects. docs/mapping-cost.md has the numbers.
//
//	go test ./bridge/vocabulary -run '^$' -bench Mapping -benchmem -count 5

// A row of the sample inbox as Realtime brings it.
var benchRecord = json.RawMessage(`{"id":"e1000000-0000-4000-8000-000000000001","conversation_id":"c1000000-0000-4000-8000-000000000001","content":"Good morning! Can we get 20 kg of bread flour this week?","is_from_customer":true,` +
	`"message_type":"TEXT","status":"READ","attachments":[],"ai_processed":false,"ai_confidence":null,"ai_extracted_intent":null,"order_context_id":null,"thread_position":null,"reply_to_message_id":null,` +
	`"external_message_id":null,"external_metadata":{"channel":"whatsapp"},"created_at":"2030-01-01T10:00:00.123456+00:00","updated_at":"2030-01-01T10:05:00.123456+00:00"}`)

// message is what a hard-coded handler decodes, and sent what it sends.
type message struct {
	ID                string          `json:"id"`
	ConversationID    string          `json:"conversation_id"`
	Content           string          `json:"content"`
	IsFromCustomer    bool            `json:"is_from_customer"`
	MessageType       string          `json:"message_type"`
	Status            string          `json:"status"`
	Attachments       json.RawMessage `json:"attachments"`
	AIProcessed       bool            `json:"ai_processed"`
	AIConfidence      *json.Number    `json:"ai_confidence"`
	AIIntent          *string         `json:"ai_extracted_intent"`
	OrderContextID    *string         `json:"order_context_id"`
	ThreadPosition    *int            `json:"thread_position"`
	ReplyToMessageID  *string         `json:"reply_to_message_id"`
	ExternalMessageID *string         `json:"external_message_id"`
	ExternalMetadata  json.RawMessage `json:"external_metadata"`
	CreatedAt         string          `json:"created_at"`
	UpdatedAt         string          `json:"updated_at"`
}

type sent struct {
	ID                string          `json:"id"`
	ConversationID    string          `json:"conversationId"`
	Content           string          `json:"content"`
	IsFromCustomer    bool            `json:"isFromCustomer"`
	MessageType       string          `json:"messageType"`
	Status            string          `json:"status"`
	Attachments       json.RawMessage `json:"attachments"`
	AIProcessed       bool            `json:"aiProcessed"`
	AIConfidence      *json.Number    `json:"aiConfidence"`
	AIIntent          *string         `json:"aiExtractedIntent"`
	OrderContextID    *string         `json:"orderContextId"`
	ThreadPosition    *int            `json:"threadPosition"`
	ReplyToMessageID  *string         `json:"replyToMessageId"`
	ExternalMessageID *string         `json:"externalMessageId"`
	ExternalMetadata  json.RawMessage `json:"externalMetadata"`
	CreatedAt         string          `json:"createdAt"`
	UpdatedAt         string          `json:"updatedAt"`
	DistributorID     string          `json:"distributorId"`
}

func BenchmarkMappingOut(b *testing.B) {
	tenant := NewID("d1000000-0000-4000-8000-000000000001")
	b.Run("hard-coded", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var m message
			if err := json.Unmarshal(benchRecord, &m); err != nil {
				b.Fatal(err)
			}
			w := sent{m.ID, m.ConversationID, m.Content, m.IsFromCustomer, m.MessageType, m.Status, m.Attachments, m.AIProcessed, m.AIConfidence, m.AIIntent, m.OrderContextID,
				m.ThreadPosition, m.ReplyToMessageID, m.ExternalMessageID, m.ExternalMetadata, m.CreatedAt, m.UpdatedAt, tenant.Text}
			if _, err := json.Marshal(w); err != nil {
				b.Fatal(err)
			}
		}
	})
	template := config.OutRules{"message.created": {{Event: "${tenant.id}-appMessage", Payload: json.RawMessage(
		`{"action":"create","message":{"id":"${row.id}","body":"${row.content}","ack":"${row.status}","ticketId":"${conversation.id}"}}`),
		Map: map[string]map[string]json.RawMessage{"message.ack": {"SENT": json.RawMessage("1"), "READ": json.RawMessage("3")}}}}}
	reshaped := config.OutRules{"message.created": {{Event: "thread-message", Shape: string(Camel), Rename: map[string]string{"content": "text"}, Omit: []string{"aiProcessed"},
		Add: json.RawMessage(`{"threadId":"${conversation.id}"}`)}}}
	for _, bench := range []struct {
		name string
		opts Options
	}{
		{"row", Options{Shape: Row}}, {"camel", Options{Shape: Camel}}, {"superset", Options{Shape: Superset}}, {"wrapped", Options{Shape: Wrapped}},
		{"template", Options{Out: template}}, {"rename, omit, add", Options{Out: reshaped}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			v, err := New(bench.opts)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				r, err := row.Parse(benchRecord)
				if err != nil {
					b.Fatal(err)
				}
				conversation := IDOf(r, "conversation_id", r.Text("conversation_id"))
				o := &Occasion{Event: MessageCreated, Row: r, Nested: "message", Conversation: conversation, Tenant: tenant,
					Fields: []Extra{{"conversationId", conversation.JSON}, {"distributorId", tenant.JSON}}}
				if said := v.Say(StyleUnderscore, o); len(said) != 1 {
					b.Fatal(said)
				}
			}
		})
	}
}

func BenchmarkMappingIn(b *testing.B) {
	event, args := "conversation:join", []json.RawMessage{json.RawMessage(`{"conversationId":"c1000000-0000-4000-8000-000000000001","userId":"u"}`)}
	b.Run("hard-coded", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var join struct {
				ConversationID string `json:"conversationId"`
			}
			if event != "conversation:join" || json.Unmarshal(args[0], &join) != nil || join.ConversationID == "" {
				b.Fatal(join)
			}
		}
	})
	for _, bench := range []struct {
		name string
		opts Options
		args []json.RawMessage
	}{
		{"object", Options{ConversationRoom: "conversation:{id}"}, args},
		{"positional", Options{ConversationRoom: "conversation:{id}"}, []json.RawMessage{json.RawMessage(`"conversation_42"`)}},
		{"selector", Options{In: config.InRules{"join": {ID: []string{"$0.thread.id", "$0.conversationId"}}}}, args},
	} {
		b.Run(bench.name, func(b *testing.B) {
			v, err := New(bench.opts)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if v.Intent(event) != JoinConversation {
					b.Fatal(event)
				}
				if _, ok := v.ConversationID(JoinConversation, bench.args, nil); !ok {
					b.Fatal(bench.args)
				}
			}
		})
	}
}

// The mapping may not cost more allocations than this, the two of the occasion among them: it
// neither parses a template nor reflects.
func TestAnEventTakesFewAllocations(t *testing.T) {
	r, err := row.Parse(benchRecord)
	if err != nil {
		t.Fatal(err)
	}
	for shape, most := range map[Shape]float64{Row: 5, Camel: 7, Superset: 8, Wrapped: 8} {
		v := compile(t, Options{Shape: shape})
		say := func() {
			v.Say(StyleUnderscore, &Occasion{Event: MessageCreated, Row: r, Nested: "message", Fields: []Extra{{"conversationId", json.RawMessage(`"c"`)}}})
		}
		say() // the camelCase of columns is remembered
		if got := testing.AllocsPerRun(100, say); got > most {
			t.Errorf("%s takes %v allocations, want at most %v", shape, got, most)
		}
	}
}

func TestAShapeIsBuiltOnceForAllStyles(t *testing.T) {
	v := compile(t, Options{})
	o := &Occasion{Event: MessageCreated, Row: parsed(t, string(benchRecord)), Nested: "message", Fields: []Extra{String("conversationId", "c")}}
	first := v.Say(StyleUnderscore, o)[0].Args[0]
	for _, style := range []Style{StyleColon, StyleKebab, StyleCamel} {
		if again := v.Say(style, o)[0].Args[0]; !slices.Equal(first, again) || &first[0] != &again[0] {
			t.Errorf("%s built the payload again", style)
		}
	}
}
