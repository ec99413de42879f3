package phxserver_test

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/supabridge/supabridge/phoenix/phxserver"
)

func TestHandshakeIsRefusedWithReason(t *testing.T) {
	inBed(t, phxserver.Options{Timing: phxserver.RealTiming()}, func(b *bed) {
		for _, c := range []struct {
			vsn, key string
			status   int
			body     string
		}{
			{"2.0.0", "", 401, `{"error":"API key is missing"}`},
			{"2.0.0", "broken", 500, `{"error":"Error connecting to Realtime"}`},
			{"3.0.0", token("anon", ""), 403, ""},
			{"2.1.0", token("anon", ""), 403, ""},
		} {
			start := time.Now()
			_, resp, err := b.handshake(c.vsn, c.key)
			if err == nil || resp == nil {
				b.t.Fatalf("vsn %s key %q: %v, want a refusal", c.vsn, c.key, err)
			}
			body, _ := io.ReadAll(resp.Body)
			if resp.StatusCode != c.status || string(body) != c.body {
				b.t.Errorf("vsn %s key %q: %d %s, want %d %s", c.vsn, c.key, resp.StatusCode, body, c.status, c.body)
			}
			if waited := time.Since(start); c.body != "" && waited != 2*time.Second {
				b.t.Errorf("vsn %s key %q: answered after %s, want 2s", c.vsn, c.key, waited)
			}
		}
	})
}

func TestHeaderKeyWinsOverQuery(t *testing.T) {
	inBed(t, phxserver.Options{}, func(b *bed) {
		dialer := websocket.Dialer{NetDialContext: b.dial}
		ws, _, err := dialer.Dial("ws://project.test/socket/websocket?apikey=broken", map[string][]string{"X-Api-Key": {token("anon", "")}})
		if err != nil {
			b.t.Fatal(err)
		}
		newClient(b.t, ws).send(`{"topic":"phoenix","event":"heartbeat","payload":{},"ref":"1"}`)
	})
}

func TestHeartbeatIsAnsweredInBothVersions(t *testing.T) {
	inBed(t, phxserver.Options{}, func(b *bed) {
		c := b.connect(token("anon", ""))
		c.send(`[null,"7","phoenix","heartbeat",{}]`)
		c.expect(`[null,"7","phoenix","phx_reply",{"status":"ok","response":{}}]`)
		old := b.connectVersion("1.0.0", token("anon", ""))
		old.send(`{"topic":"phoenix","event":"heartbeat","payload":{},"ref":"7","join_ref":null}`)
		old.expect(`{"ref":"7","event":"phx_reply","payload":{"status":"ok","response":{}},"topic":"phoenix"}`)
	})
}

func TestJoinEchoesBindingsWithIDs(t *testing.T) {
	inBed(t, phxserver.Options{}, func(b *bed) {
		c := b.connect(token("service_role", ""))
		got := c.join("room", `"postgres_changes":[{"event":"*","schema":"public","table":"messages"},null,{"schema":"public","table":"messages","extra":"kept?"}]`)
		want := `["1","1","realtime:room","phx_reply",{"status":"ok","response":{"postgres_changes":[` +
			`{"id":72696871,"event":"*","schema":"public","table":"messages"},{"id":120486142,"extra":"kept?","schema":"public","table":"messages"}]}}]`
		if got != want {
			b.t.Errorf("reply\n got %s\nwant %s", got, want)
		}
	})
}

func TestSecondJoinClosesFirstAfterItsOwnAnswer(t *testing.T) {
	inBed(t, phxserver.Options{}, func(b *bed) {
		c := b.connect(token("anon", ""))
		c.join("room", "")
		c.send(`["2","2","realtime:room","phx_join",{"config":{"presence":{"enabled":true}}}]`)
		c.expect(
			`["2","2","realtime:room","phx_reply",{"status":"ok","response":{"postgres_changes":[]}}]`,
			`["1","1","realtime:room","phx_close",{}]`,
			`["2",null,"realtime:room","presence_state",{}]`,
		)
	})
}

func TestLeaveCountsOnlyWithItsJoinRef(t *testing.T) {
	inBed(t, phxserver.Options{}, func(b *bed) {
		c := b.connect(token("anon", ""))
		c.join("room", "")
		c.send(`["0","2","realtime:room","phx_leave",{}]`)
		c.silent(time.Second)
		c.send(`["1","3","realtime:room","phx_leave",{}]`)
		c.expect(`["1","3","realtime:room","phx_reply",{"status":"ok","response":{}}]`, `["1","1","realtime:room","phx_close",{}]`)
		c.send(`["1","4","realtime:room","phx_leave",{}]`)
		c.expect(`["1","4","realtime:room","phx_reply",{"status":"ok","response":{}}]`)
		c.send(`["1","5","realtime:room","broadcast",{}]`)
		c.expect(`[null,"5","realtime:room","phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]`)
	})
}

func TestRefusedJoinHoldsUpTheSocket(t *testing.T) {
	inBed(t, phxserver.Options{Timing: phxserver.RealTiming()}, func(b *bed) {
		c := b.connect(token("anon", ""))
		start := time.Now()
		c.send(`["1","1","realtime:room","phx_join",{"config":{},"access_token":"abc"}]`)
		c.sendLater(`[null,"2","phoenix","heartbeat",{}]`)
		c.expect(
			`["1","1","realtime:room","phx_reply",{"status":"error","response":{"reason":"MalformedJWT: The token provided is not a valid JWT"}}]`,
			`[null,"2","phoenix","phx_reply",{"status":"ok","response":{}}]`,
		)
		if waited := time.Since(start); waited != 5*time.Second {
			b.t.Errorf("the heartbeat waited %s, want 5s", waited)
		}
	})
}

func TestJoinPayloadsThatAreRefused(t *testing.T) {
	inBed(t, phxserver.Options{}, func(b *bed) {
		c := b.connect(token("anon", ""))
		for i, test := range []struct{ topic, payload, reason string }{
			{"realtime:", `{"config":{}}`, "TopicNameRequired: You must provide a topic name"},
			{"realtime:a", `null`, "UnknownErrorOnChannel: expected params to be a :map, got: `nil`"},
			{"realtime:a", `"s"`, "UnknownErrorOnChannel: expected params to be a :map, got: `\\\"s\\\"`"},
			{"realtime:a", `{"config":"x"}`, "UnknownErrorOnChannel: no function clause matching in Access.get/3"},
			{"realtime:a", `{"config":{"broadcast":{"replay":{"since":1}}}}`, "UnableToReplayMessages: Replay is not allowed for public channels"},
			{"realtime:a", `{"config":{"private":true}}`, "Unauthorized: You do not have permissions to read from this Channel topic: a"},
		} {
			c.send(fmt.Sprintf(`["%d","%d","%s","phx_join",%s]`, i, i, test.topic, test.payload))
			want := fmt.Sprintf(`["%d","%d","%s","phx_reply",{"status":"error","response":{"reason":"%s"}}]`, i, i, test.topic, test.reason)
			if got := c.next(); got != want {
				b.t.Errorf("join with %s\n got %s\nwant %s", test.payload, got, want)
			}
		}
	})
}

func TestPrivateOnlyProjectRefusesPublicChannels(t *testing.T) {
	inBed(t, phxserver.Options{PrivateOnly: true}, func(b *bed) {
		c := b.connect(token("anon", ""))
		c.send(`["1","1","realtime:room","phx_join",{"config":{}}]`)
		c.expect(`["1","1","realtime:room","phx_reply",{"status":"error","response":{"reason":"PrivateOnly: This project only allows private channels"}}]`)
	})
}

func TestIdleSocketIsClosedWith1000(t *testing.T) {
	inBed(t, phxserver.Options{Timing: phxserver.RealTiming()}, func(b *bed) {
		start := time.Now()
		c := b.connect(token("anon", ""))
		if code := c.closed(); code != 1000 || time.Since(start) != 66*time.Second {
			b.t.Errorf("closed with %d after %s, want 1000 after 66s", code, time.Since(start))
		}
	})
}

func TestPingsKeepASocketAlive(t *testing.T) {
	inBed(t, phxserver.Options{Timing: phxserver.RealTiming()}, func(b *bed) {
		c := b.connect(token("anon", ""))
		for range 5 {
			c.silent(30 * time.Second)
			if err := c.ws.WriteControl(websocket.PingMessage, nil, time.Now().Add(time.Second)); err != nil {
				b.t.Fatal(err)
			}
		}
	})
}

func TestMalformedFramesAreDropped(t *testing.T) {
	inBed(t, phxserver.Options{}, func(b *bed) {
		c := b.connect(token("anon", ""))
		for _, frame := range []string{"", "5", "{", `["1","2"]`, `{"topic":"phoenix","event":"heartbeat","payload":{},"ref":"1"}`} {
			c.send(frame)
		}
		if err := c.ws.WriteMessage(websocket.BinaryMessage, []byte{9, 1, 2}); err != nil {
			b.t.Fatal(err)
		}
		c.send(`[null,"2","phoenix","heartbeat",{}]`)
		c.expect(`[null,"2","phoenix","phx_reply",{"status":"ok","response":{}}]`)
	})
}

func TestTokenExpiryEndsTheChannelNotTheSocket(t *testing.T) {
	inBed(t, phxserver.Options{}, func(b *bed) {
		c := b.connect(token("anon", ""))
		start := time.Now()
		c.send(`["1","1","realtime:room","phx_join",{"config":{},"access_token":"` + tokenFor("authenticated", "u1", 6*time.Second) + `"}]`)
		c.next()
		c.expect(
			`["1",null,"realtime:room","system",{"message":"Token has expired 0 seconds ago","status":"error","extension":"system","channel":"room"}]`,
			`["1","1","realtime:room","phx_close",{}]`,
		)
		if waited := time.Since(start); waited != 6*time.Second {
			b.t.Errorf("expired after %s, want 6s", waited)
		}
		c.send(`[null,"2","phoenix","heartbeat",{}]`)
		c.expect(`[null,"2","phoenix","phx_reply",{"status":"ok","response":{}}]`)
	})
}

func TestRenewedTokenOutlivesTheFirst(t *testing.T) {
	inBed(t, phxserver.Options{}, func(b *bed) {
		c := b.connect(token("anon", ""))
		c.send(`["1","1","realtime:room","phx_join",{"config":{},"access_token":"` + tokenFor("authenticated", "u1", 6*time.Second) + `"}]`)
		c.next()
		c.send(`["1","2","realtime:room","access_token",{"access_token":"` + tokenFor("authenticated", "u1", time.Minute) + `"}]`)
		c.silent(10 * time.Second) // never answered, and the first token's end passes
		for _, ignored := range []string{`{"access_token":null}`, `{"access_token":"sb_publishable_x"}`, `{}`, `5`} {
			c.send(`["1","3","realtime:room","access_token",` + ignored + `]`)
		}
		c.silent(time.Second)
		c.send(`["1","4","realtime:room","access_token",{"access_token":"abc"}]`)
		c.expect(
			`["1",null,"realtime:room","system",{"message":"The token provided is not a valid JWT","status":"error","extension":"system","channel":"room"}]`,
			`["1","1","realtime:room","phx_close",{}]`,
		)
	})
}

func TestPrivateChannelFollowsItsPolicies(t *testing.T) {
	inBed(t, phxserver.Options{}, func(b *bed) {
		all := phxserver.Access{ReadBroadcast: true, WriteBroadcast: true, ReadPresence: true, WritePresence: true}
		b.project.policies = map[string]phxserver.Access{"member room": all, "reader room": {ReadBroadcast: true}}
		const config = `"private":true,"broadcast":{"ack":true,"self":true},"presence":{"enabled":true,"key":"k"}`
		member, reader := b.connect(token("member", "")), b.connect(token("reader", ""))
		public := b.connect(token("anon", ""))
		member.join("room", config)
		member.expect(`["1",null,"realtime:room","presence_state",{}]`)
		reader.join("room", config)
		public.join("room", "")

		reader.send(`["1","2","realtime:room","broadcast",{"event":"e"}]`)
		reader.send(`["1","3","realtime:room","presence",{"event":"track","payload":{}}]`)
		reader.expect(`["1","3","realtime:room","phx_reply",{"status":"error","response":{}}]`)
		member.send(`["1","2","realtime:room","broadcast",{"event":"e"}]`)
		member.expect(
			`[null,null,"realtime:room","broadcast",{"event":"e"}]`,
			`["1","2","realtime:room","phx_reply",{"status":"ok","response":{}}]`,
		)
		reader.expect(`[null,null,"realtime:room","broadcast",{"event":"e"}]`)
		public.silent(time.Second)

		member.send(`["1","3","realtime:room","access_token",{"access_token":"` + token("stranger", "") + `"}]`)
		if got := member.next(); !strings.Contains(got, "You do not have permissions to read from this Channel topic: room") {
			b.t.Errorf("after a token without rights: %s", got)
		}
		member.expect(`["1","1","realtime:room","phx_close",{}]`)
	})
}

func TestPresenceRightsChangeWhileDiffsAreTold(t *testing.T) {
	inBed(t, phxserver.Options{}, func(b *bed) {
		all := phxserver.Access{ReadBroadcast: true, WriteBroadcast: true, ReadPresence: true, WritePresence: true}
		b.project.policies = map[string]phxserver.Access{"member room": all, "deaf room": {ReadBroadcast: true}}
		speaker, listener := b.connect(token("member", "")), b.connect(token("member", ""))
		speaker.join("room", `"private":true`)
		listener.join("room", `"private":true`)
		for i := range 50 {
			role := []string{"deaf", "member"}[i%2]
			speaker.sendLater(fmt.Sprintf(`["1","2","realtime:room","presence",{"event":"track","payload":{"i":%d}}]`, i))
			listener.send(fmt.Sprintf(`["1","3","realtime:room","access_token",{"access_token":%q}]`, token(role, fmt.Sprint(i))))
			speaker.settle()
			listener.settle()
		}
		listener.send(`["1","3","realtime:room","access_token",{"access_token":"` + token("deaf", "at last") + `"}]`)
		listener.settle()
		speaker.send(`["1","4","realtime:room","presence",{"event":"untrack"}]`)
		listener.silent(time.Second)
	})
}

func TestSocketThatLeftItsChannelsIsCut(t *testing.T) {
	inBed(t, phxserver.Options{Timing: phxserver.Timing{Empty: 10 * time.Minute}}, func(b *bed) {
		start := time.Now()
		left, stayed, never := b.connect(token("anon", "")), b.connect(token("anon", "")), b.connect(token("anon", ""))
		left.join("room", "")
		stayed.join("room", "")
		left.send(`["1","2","realtime:room","phx_leave",{}]`)
		<-left.end
		if waited := time.Since(start); waited != 10*time.Minute || left.code != websocket.CloseAbnormalClosure {
			b.t.Errorf("closed with %d after %s, want no code after 10m", left.code, waited)
		}
		stayed.silent(time.Second)
		never.silent(time.Second)
	})
}
