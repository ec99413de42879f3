package webhook_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/supabridge/supabridge/bridge/outbox"
	"github.com/supabridge/supabridge/bridge/twilio"
	"github.com/supabridge/supabridge/bridge/webhook"
	"github.com/supabridge/supabridge/config"
	"github.com/supabridge/supabridge/internal/hooktest"
)

// added is a message that somebody wrote in a Twilio Conversation.
func added(sid, conversation, author, source, body string) url.Values {
	return url.Values{
		"EventType": {"onMessageAdded"}, "MessageSid": {sid}, "ConversationSid": {conversation}, "Author": {author}, "Source": {source},
		"ParticipantSid": {"MB" + author}, "Body": {body}, "Index": {"0"}, "AccountSid": {"AC1"}, "ChatServiceSid": {"IS1"}, "RetryCount": {"0"},
	}
}

// mappedConversations says everything that a message of a Twilio Conversation needs. The stand-in's
// tables have no columns of these names, so others hold the values.
func mappedConversations(c *config.Config) {
	s := &c.Webhooks.Twilio.Store
	s.Columns = []string{"conversation_id={conversation}", "content={Body}", "is_from_customer:={from_customer}", "status={status}",
		"attachments:={media}", "ai_extracted_intent={Author}"}
	s.ConversationFind = []string{"customer_name={ConversationSid}"}
	s.ConversationCreate = []string{"customer_phone={FromNumber}", "distributor_id=" + harbour}
}

func TestAConversationsMessagesKeepTheirAuthorsApart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, twilioModes(t, mappedConversations, "store"))
	for _, m := range []url.Values{
		added("IM1", "CH1", "whatsapp:+15550111", "WHATSAPP", "of the first customer"),
		added("IM2", "CH1", "+15550222", "SMS", "of the second"),
		added("IM3", "CH1", "ana", "SDK", "of our own"),
		added("IM4", "CH1", "+15550100", "API", "by the API"),
		added("IM5", "CH2", "whatsapp:+15550111", "WHATSAPP", "elsewhere"),
	} {
		if code, body := w.twilioPosts(m); code != 200 || body != "" {
			t.Fatalf("%d %q, want 200 and nothing", code, body)
		}
	}
	photo := added("IM6", "CH1", "+15550222", "SMS", "")
	photo.Del("Body")
	photo.Set("Media", `[{"Sid":"ME1","ContentType":"image/jpeg","Filename":"a.jpg","Size":1}]`)
	w.twilioPosts(photo)
	w.delivered()
	if dead := w.dead(); len(dead) != 0 {
		t.Fatalf("dead letters: %q", dead)
	}
	of := make(map[any]int)
	for sid, want := range map[string]struct {
		customer bool
		author   string
	}{
		"IM1": {true, "whatsapp:+15550111"}, "IM2": {true, "+15550222"}, "IM3": {false, "ana"}, "IM4": {false, "+15550100"},
		"IM5": {true, "whatsapp:+15550111"}, "IM6": {true, "+15550222"},
	} {
		rows := w.rest("GET", "messages?external_message_id=eq."+sid, "")
		if len(rows) != 1 || rows[0]["is_from_customer"] != want.customer || rows[0]["ai_extracted_intent"] != want.author {
			t.Errorf("%s is %v, want from a customer %t, by %s", sid, rows, want.customer, want.author)
			continue
		}
		of[rows[0]["conversation_id"]]++
		if wanted := map[bool]string{true: "DELIVERED", false: "SENT"}[want.customer]; rows[0]["status"] != wanted {
			t.Errorf("%s has status %v, want %s", sid, rows[0]["status"], wanted)
		}
	}
	if len(of) != 2 {
		t.Errorf("messages by conversation: %v, want 5 and 1", of)
	}
	if rows := w.rest("GET", "messages?external_message_id=eq.IM6", ""); !strings.Contains(fmt.Sprint(rows[0]["attachments"]), "/Services/IS1/Media/ME1") {
		t.Errorf("the photo is %v", rows[0])
	}
	w.twilioPosts(url.Values{"EventType": {"onDeliveryUpdated"}, "MessageSid": {"IM3"}, "ConversationSid": {"CH1"}, "ParticipantSid": {"MB1"}, "Status": {"read"}})
	w.delivered()
	if rows := w.rest("GET", "messages?external_message_id=eq.IM3", ""); rows[0]["status"] != "READ" {
		t.Errorf("after its delivery receipt the message is %v", rows[0])
	}
}

func TestAConversationsMessageThatIsNotMappedIsADeadLetterThatSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*config.Config)
		want   string
	}{
		"as configured by default": {nil, "{ConversationSid} in conversation_find"},
		"by author alone": {func(c *config.Config) {
			c.Webhooks.Twilio.Store.ConversationFind = []string{"customer_phone={FromNumber}"}
			c.Webhooks.Twilio.Store.Columns = append(c.Webhooks.Twilio.Store.Columns, "ai_extracted_intent={Author}")
		}, "{ConversationSid} in conversation_find"},
		"by author, and the Sid for new ones alone": {func(c *config.Config) {
			mappedConversations(c)
			c.Webhooks.Twilio.Store.ConversationFind = []string{"customer_phone={FromNumber}"}
			c.Webhooks.Twilio.Store.ConversationCreate = []string{"customer_name={ConversationSid}", "distributor_id=" + harbour}
		}, "{ConversationSid} in conversation_find"},
		"by author, and the Sid in another column": {func(c *config.Config) {
			mappedConversations(c)
			c.Webhooks.Twilio.Store.ConversationFind = []string{"customer_phone={FromNumber}"}
			c.Webhooks.Twilio.Store.Columns = append(c.Webhooks.Twilio.Store.Columns, "sender_id?={ConversationSid}")
		}, "{ConversationSid} in conversation_find"},
		"by author, and the Sid in a lookup for something else": {func(c *config.Config) {
			mappedConversations(c)
			c.Webhooks.Twilio.Store.ConversationFind = []string{"customer_phone={FromNumber}"}
			c.Webhooks.Twilio.Store.Lookups = []string{"ours = conversations.distributor_id where customer_name={ConversationSid}"}
		}, "{ConversationSid} in conversation_find"},
		"a function that isn't given it": {func(c *config.Config) {
			mappedConversations(c)
			c.Webhooks.Twilio.Store.ConversationFunction = "conversation_of"
		}, "{ConversationSid} in conversation_create"},
		"no author": {func(c *config.Config) {
			mappedConversations(c)
			c.Webhooks.Twilio.Store.Columns = c.Webhooks.Twilio.Store.Columns[:5]
		}, "{Author} or {ParticipantSid} in columns"},
		"no side": {func(c *config.Config) {
			mappedConversations(c)
			c.Webhooks.Twilio.Store.Columns[2] = "is_from_customer:=true"
		}, "{from_customer} or {Source} in columns"},
	} {
		w := newWorld(t, twilioModes(t, c.change, "store"))
		before := len(w.rest("GET", "messages", ""))
		for i, m := range []url.Values{
			added("IM1", "CH1", "whatsapp:+15550111", "WHATSAPP", "of the first customer"),
			added("IM2", "CH1", "whatsapp:+15550222", "WHATSAPP", "of the second"),
			added("IM3", "CH1", "ana", "SDK", "of our own"),
		} {
			if code, _ := w.twilioPosts(m); code != 200 {
				t.Errorf("%s: message %d: %d", name, i, code)
			}
		}
		w.delivered()
		dead := w.dead()
		if len(dead) != 3 || !strings.Contains(dead[0], c.want) {
			t.Errorf("%s: dead letters %q, want 3 with %q", name, dead, c.want)
		}
		if rows := w.rest("GET", "messages", ""); len(rows) != before {
			t.Errorf("%s: %d messages were stored", name, len(rows)-before)
		}
	}
}

func TestNothingIsTakenAndDropped(t *testing.T) {
	t.Parallel()
	conversation := func(event string) url.Values {
		return url.Values{"EventType": {event}, "ConversationSid": {"CH1"}, "Body": {"hello"}, "Author": {"ana"}}
	}
	withSid := func(v url.Values) url.Values { v.Set("MessageSid", "IM1"); return v }
	for name, c := range map[string]struct {
		form   url.Values
		modes  []string
		code   int
		dead   string // a part of the dead letter's reason; "" for none
		metric string
	}{
		"no message":                   {url.Values{"CallSid": {"CA1"}, "From": {"+1"}}, []string{"store"}, 422, "", "refused"},
		"only a sid":                   {url.Values{"MessageSid": {"SM1"}}, []string{"store"}, 422, "", "refused"},
		"an empty form":                {url.Values{}, []string{"store"}, 400, "", "refused"},
		"a participant":                {conversation("onParticipantAdded"), []string{"store"}, 422, "", "refused"},
		"a conversation":               {conversation("onConversationStateUpdated"), []string{"store"}, 422, "", "refused"},
		"an event of tomorrow":         {conversation("onSomethingMoved"), []string{"store"}, 422, "", "refused"},
		"an edit":                      {withSid(conversation("onMessageUpdated")), []string{"store"}, 200, "onMessageUpdated is not stored", "taken"},
		"a removal":                    {withSid(conversation("onMessageRemoved")), []string{"store"}, 200, "onMessageRemoved is not stored", "taken"},
		"a message that is asked for":  {conversation("onMessageAdd"), []string{"store"}, 200, "onMessageAdd is not stored", "taken"},
		"another that is asked for":    {conversation("onParticipantAdd"), []string{"store"}, 200, "", "unneeded"},
		"asked for, emit":              {conversation("onMessageAdd"), []string{"emit"}, 200, "", "unneeded"},
		"a receipt without a status":   {withSid(conversation("onDeliveryUpdated")), []string{"store"}, 200, "onDeliveryUpdated is not stored", "taken"},
		"a status of tomorrow":         {hooktest.Status("SM1", "teleported"), []string{"store"}, 200, `status "teleported"`, "taken"},
		"a status without a word":      {hooktest.Status("SM1", "queued"), []string{"store"}, 200, "", "unneeded"},
		"a status, emit":               {hooktest.Status("SM1", "read"), []string{"emit"}, 422, "", "refused"},
		"a message not mapped, emit":   {added("IM1", "CH1", "ana", "SDK", "x"), []string{"emit"}, 422, "", "refused"},
		"without its conversation":     {added("IM1", "", "+15550111", "SMS", "x"), []string{"store"}, 200, "no ConversationSid", "taken"},
		"a conversation's, emit":       {conversation("onParticipantAdded"), []string{"emit"}, 422, "", "refused"},
		"a conversation's, with store": {conversation("onParticipantAdded"), []string{"forward", "store"}, 200, "", "taken"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := hooktest.NewApp(t)
			w := newWorld(t, twilioModes(t, func(cfg *config.Config) { cfg.Webhooks.Twilio.ForwardURL = a.URL }, c.modes...))
			code, body := w.twilioPosts(c.form)
			if code != c.code || code >= 400 && strings.TrimSpace(body) == "" {
				t.Errorf("answered %d %q, want %d", code, body, c.code)
			}
			if strings.HasPrefix(c.form.Get("EventType"), "on") && code == 200 && body != "" {
				t.Errorf("an event of Conversations is answered %q", body)
			}
			if w.hooks.Outbox() != nil {
				w.delivered()
				dead := w.dead()
				if c.dead == "" && len(dead) != 0 || c.dead != "" && (len(dead) != 1 || !strings.Contains(dead[0], c.dead)) {
					t.Errorf("dead letters %q, want %q", dead, c.dead)
				}
			}
			if want := fmt.Sprintf(`supabridge_webhooks_total{result=%q,source="twilio"} 1`, c.metric); !strings.Contains(w.scrape(), want) {
				t.Errorf("the metrics lack %s", want)
			}
		})
	}
}

func TestEventStreamsAreRefusedUnlessTheApplicationGetsThem(t *testing.T) {
	t.Parallel()
	const events = `[{"specversion":"1.0","type":"com.twilio.messaging.inbound-message.received","id":"EZ1","data":{"messageSid":"SM1"}}]`
	target := "/webhooks/twilio?bodySHA256=" + sha256Hex(events)
	header := []string{"Content-Type", "application/json", twilio.SignatureHeader, twilio.Sign(hooktest.AuthToken, hooktest.Base+target, nil)}
	w := newWorld(t, twilioModes(t, nil, "store"))
	if code, body := w.post(target, events, header...); code != http.StatusUnsupportedMediaType || !strings.Contains(body, "Event Streams") {
		t.Errorf("%d %q, want 415", code, body)
	}
	a := hooktest.NewApp(t)
	w = newWorld(t, twilioModes(t, func(c *config.Config) { c.Webhooks.Twilio.ForwardURL = a.URL }, "forward"))
	if code, _ := w.post(target, events, header...); code != 200 {
		t.Errorf("with forward: %d", code)
	}
	a.Await(t, 1)
}

func TestAStatusWhoseMessageNeverComesIsADeadLetter(t *testing.T) {
	t.Parallel()
	w := newWorld(t, twilioModes(t, nil, "store"))
	w.twilioPosts(hooktest.Status("SM404", "read"))
	var entry outbox.Item
	w.eventually("it waits, with a reason", func() bool {
		entry, _ = w.hooks.Outbox().Oldest()
		return strings.Contains(entry.Reason, "not stored yet")
	})
	late := entry
	late.Since = late.Since.Add(-webhook.StatusWait)
	if err := w.hooks.Store(t.Context(), late); err == nil || !strings.Contains(err.Error(), "none of this application's") {
		t.Errorf("after a quarter of an hour: %v, want that it is given up with a reason", err)
	}
	// One that only waited while Supabase was away is not given up for that.
	waited := entry
	waited.At, waited.Reason = waited.At.Add(-2*webhook.StatusWait), "no answer"
	waited.Since = waited.At
	if err := w.hooks.Store(t.Context(), waited); err == nil || strings.Contains(err.Error(), "none of this application's") {
		t.Errorf("after an outage of half an hour: %v, want that it goes on waiting", err)
	}
}

func TestTextThatPostgresCantHoldArrives(t *testing.T) {
	t.Parallel()
	const raw = "MessageSid=SM1&SmsStatus=received&From=whatsapp%3A%2B15550111&To=whatsapp%3A%2B15550100&NumMedia=1&MediaUrl0=u&MediaContentType0=image%2F%00" +
		"&ProfileName=A%00B&Body=a%00b%FFc%ED%A0%80d%C3"
	w := newWorld(t, twilioModes(t, func(c *config.Config) {
		c.Webhooks.Twilio.Store.Columns = append(c.Webhooks.Twilio.Store.Columns, "ai_extracted_intent={ProfileName}")
	}, "store"))
	if code, _ := w.post("/webhooks/twilio", raw, hooktest.Header(t, hooktest.AuthToken, "/webhooks/twilio", raw)...); code != 200 {
		t.Fatalf("answered %d", code)
	}
	w.delivered()
	if dead := w.dead(); len(dead) != 0 {
		t.Fatalf("dead letters: %q", dead)
	}
	row := w.rest("GET", "messages?external_message_id=eq.SM1", "")[0]
	if row["content"] != "a\uFFFDb\uFFFDc\uFFFDd\uFFFD" || row["ai_extracted_intent"] != "A\uFFFDB" {
		t.Errorf("stored as %q by %q", row["content"], row["ai_extracted_intent"])
	}
}

func TestAPhotoWhoseTypePostgresCantHoldArrives(t *testing.T) {
	t.Parallel()
	w := newWorld(t, twilioModes(t, mappedConversations, "store"))
	photo := added("IM1", "CH1", "+15550222", "SMS", "")
	photo.Set("Media", `[{"Sid":"ME\u00001","ContentType":"image/\u0000jpeg"},{"Sid":"ME2","ContentType":"\ud800"}]`)
	photo.Set("ChatServiceSid", "IS\x001")
	w.twilioPosts(photo)
	w.delivered()
	if dead := w.dead(); len(dead) != 0 {
		t.Fatalf("dead letters: %q", dead)
	}
	row := w.rest("GET", "messages?external_message_id=eq.IM1", "")[0]
	if got := fmt.Sprint(row["attachments"]); !strings.Contains(got, "image/\uFFFDjpeg") || !strings.Contains(got, "Media/ME\uFFFD1") {
		t.Errorf("stored as %s", got)
	}
}

func TestALookupMayFindTheConversation(t *testing.T) {
	t.Parallel()
	w := newWorld(t, twilioModes(t, func(c *config.Config) {
		mappedConversations(c)
		s := &c.Webhooks.Twilio.Store
		s.ConversationFind, s.ConversationCreate = nil, nil
		s.Lookups = []string{
			"customer = conversations.customer_phone where id={ConversationSid}",
			"its = conversations.id where customer_phone={customer}",
		}
		s.Columns[0] = "conversation_id={its}"
	}, "store"))
	w.twilioPosts(added("IM1", bakery, "ana", "SDK", "x"))
	w.delivered()
	if dead := w.dead(); len(dead) != 0 {
		t.Fatalf("dead letters: %q", dead)
	}
	if rows := w.rest("GET", "messages?external_message_id=eq.IM1", ""); len(rows) != 1 || rows[0]["conversation_id"] != bakery {
		t.Errorf("stored as %v", rows)
	}
}

func sha256Hex(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}
