package phxserver_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/supabridge/supabridge/phoenix/phxserver"
)

func TestBroadcastReachesTheOthersAndIsAcknowledged(t *testing.T) {
	for _, test := range []struct {
		config    string
		self, ack bool
	}{
		{`"broadcast":{"self":false,"ack":false}`, false, false},
		{`"broadcast":{"self":true,"ack":false}`, true, false},
		{`"broadcast":{"self":false,"ack":true}`, false, true},
		{`"broadcast":{"self":"TRUE","ack":true}`, true, true},
	} {
		inBed(t, phxserver.Options{}, func(b *bed) {
			sender, other := b.connect(token("anon", "")), b.connect(token("anon", ""))
			other.join("room", "")
			sender.join("room", test.config)
			sender.send(`["1","2","realtime:room","broadcast",{"type":"broadcast","event":"e","payload":{"b":1,"a":"é"}}]`)
			const frame = `[null,null,"realtime:room","broadcast",{"event":"e","payload":{"a":"é","b":1},"type":"broadcast"}]`
			other.expect(frame)
			if test.self {
				sender.expect(frame)
			}
			if test.ack {
				sender.expect(`["1","2","realtime:room","phx_reply",{"status":"ok","response":{}}]`)
			}
			sender.silent(time.Second)
		})
	}
}

func TestBroadcastOfNoObjectCrashesTheChannel(t *testing.T) {
	inBed(t, phxserver.Options{}, func(b *bed) {
		c := b.connect(token("anon", ""))
		c.join("room", "")
		c.send(`["1","2","realtime:room","broadcast",[1,2]]`)
		c.expect(`["1","1","realtime:room","phx_error",{"reason":"channel_crash"}]`)
		c.send(`["1","3","realtime:room","broadcast",{}]`)
		c.expect(`[null,"3","realtime:room","phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]`)
	})
}

func TestBinaryBroadcastCrossesVersions(t *testing.T) {
	inBed(t, phxserver.Options{}, func(b *bed) {
		v2, other, v1 := b.connect(token("anon", "")), b.connect(token("anon", "")), b.connectVersion("1.0.0", token("anon", ""))
		v2.join("x", "")
		other.join("x", "")
		v1.send(`{"topic":"realtime:x","event":"phx_join","payload":{"config":{}},"ref":"1","join_ref":"1"}`)
		v1.next()
		push := func(encoding byte, payload string) {
			frame := append([]byte{3, 1, 1, 10, 1, 0, encoding}, "12realtime:xe"+payload...)
			if err := v2.ws.WriteMessage(websocket.BinaryMessage, frame); err != nil {
				b.t.Fatal(err)
			}
		}
		push(1, `{"a":1}`)
		other.expect("\x04\x0a\x01\x00\x01realtime:xe" + `{"a":1}`)
		v1.expect(`{"ref":null,"event":"broadcast","payload":{"event":"e","payload":{"a":1},"type":"broadcast"},"topic":"realtime:x"}`)
		push(0, "\x00\xff")
		other.expect("\x04\x0a\x01\x00\x00realtime:xe\x00\xff")
		v1.silent(time.Second)
	})
}

func (b *bed) post(path, contentType, key, body string) (int, string) {
	b.t.Helper()
	status, answer, _ := b.request(path, contentType, key, body)
	return status, answer
}

func (b *bed) request(path, contentType, key, body string) (int, string, http.Header) {
	b.t.Helper()
	req, err := http.NewRequest(http.MethodPost, "http://project.test"+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	client := http.Client{Transport: &http.Transport{DialContext: b.dial, DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, strings.TrimSpace(string(answer)), resp.Header
}

func TestRESTBroadcastCountsInTheRateAndSaysSo(t *testing.T) {
	inBed(t, phxserver.Options{Limits: phxserver.Limits{EventsPerSecond: 2}}, func(b *bed) {
		send := func() (int, string, string) {
			status, answer, header := b.request("/api/broadcast", "application/json", token("anon", ""), `{"messages":[{"topic":"room","event":"e","payload":{}}]}`)
			return status, answer, header.Get("X-Rate-Rolling") + " of " + header.Get("X-Rate-Limit") + ", left " + header.Get("X-Rate-Limit-Remaining")
		}
		for range 20 {
			if status, _, rate := send(); status != 202 || rate != "0 of 2, left 2" {
				b.t.Fatalf("%d, %s", status, rate)
			}
		}
		<-time.After(5 * time.Second)
		if status, answer, rate := send(); status != 429 || answer != `{"message":"You have exceeded your rate limit"}` || rate != "4 of 2, left 0" {
			b.t.Errorf("%d %s, %s", status, answer, rate)
		}
	})
}

func TestRESTBroadcast(t *testing.T) {
	inBed(t, phxserver.Options{Limits: phxserver.Limits{PayloadBytes: 100}}, func(b *bed) {
		c := b.connect(token("anon", ""))
		c.join("room", "")
		key := token("anon", "")
		const batch, single = "/api/broadcast", "/api/broadcast/room/events/e%20x"
		for _, test := range []struct {
			path, kind, key, body string
			status                int
			answer, frame         string
		}{
			{batch, "application/json", key, `{"messages":[{"topic":"room","event":"e","payload":{"a":1}}]}`, 202, "", `[null,null,"realtime:room","broadcast",{"event":"e","payload":{"a":1},"type":"broadcast"}]`},
			{batch, "application/json", key, `{"messages":[{"topic":"room","event":"e","payload":{},"id":"i"}]}`, 202, "", `[null,null,"realtime:room","broadcast",{"event":"e","meta":{"id":"i"},"payload":{},"type":"broadcast"}]`},
			{batch, "application/json", key, `{"messages":[{"topic":"room","event":"e","payload":{},"private":true}]}`, 202, "", ""},
			{batch, "application/json", "", `{"messages":[]}`, 401, `{"message":"Unauthorized"}`, ""},
			{batch, "application/json", key, `{"messages":[]}`, 422, `{"errors":{"messages":["can't be blank"]}}`, ""},
			{batch, "application/json", key, `{"messages":[{"topic":"room","payload":{}}]}`, 422, `{"errors":{"messages":[{"event":["can't be blank"]}]}}`, ""},
			{batch, "application/json", key, `{"messages":[{"topic":"room","event":"e","payload":"s"}]}`, 422, `{"errors":{"messages":[{"payload":["is invalid"]}]}}`, ""},
			{batch, "application/json", key, `{"messages":[{"topic":"room","event":"e","payload":{"a":"` + strings.Repeat("x", 200) + `"}}]}`, 422, `{"errors":{"messages":[{"payload":["Payload size exceeds tenant limit"]}]}}`, ""},
			{batch, "application/json", key, `{nope`, 400, "Bad Request", ""},
			{single, "application/json", key, `{"a":1}`, 202, "", "\x04\x0d\x03\x00\x01realtime:roome x" + `{"a":1}`},
			{single, "application/json", key, `[1]`, 202, "", "\x04\x0d\x03\x00\x01realtime:roome x" + `{"_json":[1]}`},
			{single, "application/octet-stream", key, "\x01\x02", 202, "", "\x04\x0d\x03\x00\x00realtime:roome x\x01\x02"},
			{single, "text/plain", key, "x", 415, `{"error":"Unsupported Media Type"}`, ""},
			{single + "?private=true", "application/json", key, `{}`, 403, `{"message":"Unauthorized"}`, ""},
			{batch + "/room", "application/json", key, `{}`, 404, "404 page not found", ""},
		} {
			status, answer := b.post(test.path, test.kind, test.key, test.body)
			if status != test.status || answer != test.answer {
				b.t.Errorf("POST %s %.60s: %d %s, want %d %s", test.path, test.body, status, answer, test.status, test.answer)
			}
			if test.frame != "" {
				c.expect(test.frame)
			}
		}
		c.silent(time.Second)
	})
}

func TestRESTBroadcastMeetsFaults(t *testing.T) {
	inBed(t, phxserver.Options{}, func(b *bed) {
		c := b.connect(token("anon", ""))
		c.join("room", "")
		send := func() (int, string) {
			return b.post("/api/broadcast", "application/json", token("anon", ""), `{"messages":[{"topic":"room","event":"e","payload":{}}]}`)
		}
		for _, test := range []struct {
			status  int
			message string
		}{{429, "Too many requests"}, {500, "Error connecting to Realtime"}, {503, "down"}} {
			i := b.inject(phxserver.Fault{Action: phxserver.Refuse, Event: "rest", Status: test.status, Message: test.message})
			if status, answer := send(); status != test.status || answer != `{"message":"`+test.message+`"}` {
				b.t.Errorf("got %d %s, want %d %s", status, answer, test.status, test.message)
			}
			b.connect(token("anon", "")) // handshakes are not concerned
			i.Stop()
		}
		c.silent(time.Second)
		b.inject(phxserver.Fault{Action: phxserver.Delay, Event: "rest", Delay: 3 * time.Second})
		start := time.Now()
		if status, _ := send(); status != 202 || time.Since(start) != 3*time.Second {
			b.t.Errorf("answered %d after %s, want 202 after 3s", status, time.Since(start))
		}
		c.expect(`[null,null,"realtime:room","broadcast",{"event":"e","payload":{},"type":"broadcast"}]`)
	})
}

func TestDatabaseMessagesAreReplayedOnce(t *testing.T) {
	inBed(t, phxserver.Options{}, func(b *bed) {
		b.project.policies = map[string]phxserver.Access{"anon room": {ReadBroadcast: true}}
		for _, payload := range []string{`{"n":1}`, `{"n":2,"id":"own"}`} {
			if _, err := b.server.Send(phxserver.DatabaseMessage{Topic: "room", Event: "e", Private: true, Payload: []byte(payload)}); err != nil {
				b.t.Fatal(err)
			}
		}
		c := b.connect(token("anon", ""))
		c.join("room", `"private":true,"broadcast":{"replay":{"since":0,"limit":1}}`)
		got := c.next()
		if !strings.HasPrefix(got, `["1",null,"realtime:room","broadcast",{"event":"e","meta":{"id":"`) || !strings.HasSuffix(got, `"replayed":true},"payload":{"id":"own","n":2},"type":"broadcast"}]`) {
			b.t.Errorf("replayed %s", got)
		}
		id, err := b.server.Send(phxserver.DatabaseMessage{Topic: "room", Event: "e", Private: true, Payload: []byte(`{"n":3}`)})
		if err != nil {
			b.t.Fatal(err)
		}
		c.expect("\x04\x0d\x01\x2d\x01realtime:roome" + `{"id":"` + id + `"}{"n": 3, "id": "` + id + `"}`)
		if _, err := b.server.Send(phxserver.DatabaseMessage{Topic: "room", Payload: []byte("{")}); err == nil {
			b.t.Error("a payload that isn't JSON was sent")
		}
	})
}

func TestEventRateEndsReceivers(t *testing.T) {
	inBed(t, phxserver.Options{Limits: phxserver.Limits{EventsPerSecond: 10}}, func(b *bed) {
		sender, receiver := b.connect(token("anon", "")), b.connect(token("anon", ""))
		sender.join("room", `"broadcast":{"ack":true}`)
		receiver.join("room", "")
		for range 100 {
			sender.send(`["1","2","realtime:room","broadcast",{}]`)
			sender.next()
			receiver.next()
		}
		sender.silent(5 * time.Second) // the server looks at the rate every five seconds
		sender.send(`["1","3","realtime:room","broadcast",{}]`)
		receiver.expect(
			`[null,null,"realtime:room","broadcast",{}]`,
			`["1",null,"realtime:room","system",{"message":"Too many messages per second","status":"error","extension":"system","channel":"room"}]`,
			`["1","1","realtime:room","phx_close",{}]`,
		)
		sender.expect(`["1","3","realtime:room","phx_reply",{"status":"ok","response":{}}]`)
		if status, answer := b.post("/api/broadcast", "application/json", token("anon", ""), `{"messages":[{"topic":"room","event":"e","payload":{}}]}`); status != 429 {
			b.t.Errorf("REST answered %d %s, want 429", status, answer)
		}
		sender.silent(2 * time.Minute) // and the rate falls
		receiver.join("room", "")
		sender.send(`["1","4","realtime:room","broadcast",{}]`)
		receiver.expect(`[null,null,"realtime:room","broadcast",{}]`)
		receiver.silent(time.Second)
	})
}

func TestPayloadTooLargeIsAnsweredWithAString(t *testing.T) {
	inBed(t, phxserver.Options{Limits: phxserver.Limits{PayloadBytes: 100}}, func(b *bed) {
		c := b.connect(token("anon", ""))
		c.join("room", `"broadcast":{"ack":true}`)
		c.send(`["1","2","realtime:room","broadcast",{"x":"` + strings.Repeat("x", 200) + `"}]`)
		c.expect(`["1","2","realtime:room","phx_reply",{"status":"error","response":"payload_size_exceeded"}]`)
	})
}
