package phxserver_test

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/supabridge/supabridge/phoenix/phxserver"
)

var refs = regexp.MustCompile(`"phx_ref(_prev)?":"([^"]{16})"`)

// nextRefs is the next frame with its presence refs taken out, and the refs.
func (c *client) nextRefs() (string, []string) {
	c.t.Helper()
	frame := c.next()
	var found []string
	for _, m := range refs.FindAllStringSubmatch(frame, -1) {
		found = append(found, m[2])
	}
	return refs.ReplaceAllString(frame, `"phx_ref$1":"?"`), found
}

func TestPresenceIsToldAsStateAndDiffs(t *testing.T) {
	inBed(t, phxserver.Options{}, func(b *bed) {
		const alice = `"presence":{"enabled":true,"key":"alice"}`
		a, other := b.connect(token("anon", "")), b.connect(token("anon", ""))
		a.join("room", alice)
		a.expect(`["1",null,"realtime:room","presence_state",{}]`)
		a.send(`["1","2","realtime:room","presence",{"type":"presence","event":"TRACK","payload":{"b":1,"a":2}}]`)
		a.expect(`["1","2","realtime:room","phx_reply",{"status":"ok","response":{}}]`)
		diff, first := a.nextRefs()
		if want := `[null,null,"realtime:room","presence_diff",{"joins":{"alice":{"metas":[{"phx_ref":"?","a":2,"b":1}]}},"leaves":{}}]`; diff != want {
			b.t.Errorf("track\n got %s\nwant %s", diff, want)
		}
		other.join("room", alice)
		state, _ := other.nextRefs()
		if want := `["1",null,"realtime:room","presence_state",{"alice":{"metas":[{"phx_ref":"?","a":2,"b":1}]}}]`; state != want {
			b.t.Errorf("state\n got %s\nwant %s", state, want)
		}
		a.send(`["1","3","realtime:room","presence",{"event":"track","payload":{"b":1,"a":2}}]`)
		a.expect(`["1","3","realtime:room","phx_reply",{"status":"ok","response":{}}]`)
		other.silent(time.Second) // the same again changes nothing
		a.send(`["1","4","realtime:room","presence",{"event":"track","payload":{"a":3}}]`)
		a.expect(`["1","4","realtime:room","phx_reply",{"status":"ok","response":{}}]`)
		diff, update := other.nextRefs()
		if want := `[null,null,"realtime:room","presence_diff",{"joins":{"alice":{"metas":[{"phx_ref":"?","phx_ref_prev":"?","a":3}]}},"leaves":{"alice":{"metas":[{"phx_ref":"?","a":2,"b":1}]}}}]`; diff != want {
			b.t.Errorf("update\n got %s\nwant %s", diff, want)
		}
		if update[1] != first[0] || update[2] != first[0] || update[0] == first[0] {
			b.t.Errorf("refs of the update %q, of the first track %q", update, first)
		}
		a.ws.NetConn().Close()
		diff, _ = other.nextRefs()
		if want := `[null,null,"realtime:room","presence_diff",{"joins":{},"leaves":{"alice":{"metas":[{"phx_ref":"?","phx_ref_prev":"?","a":3}]}}}]`; diff != want {
			b.t.Errorf("cut\n got %s\nwant %s", diff, want)
		}
	})
}

func TestPresenceRequestsThatAreRefused(t *testing.T) {
	inBed(t, phxserver.Options{}, func(b *bed) {
		c := b.connect(token("anon", ""))
		c.join("room", "")
		for _, test := range []struct{ payload, answer string }{
			{`{"event":"bogus"}`, `{"status":"error","response":{}}`},
			{`{"event":"track","payload":"notamap"}`, `{"status":"error","response":{"reason":"Presence track payload must be a map"}}`},
			{`{"type":"presence"}`, `{"status":"ok","response":{}}`},
			{`{"event":"untrack"}`, `{"status":"ok","response":{}}`},
		} {
			c.send(`["1","2","realtime:room","presence",` + test.payload + `]`)
			c.expect(`["1","2","realtime:room","phx_reply",` + test.answer + `]`)
		}
		c.send(`["1","3","realtime:room","presence",[]]`)
		c.expect(`["1","1","realtime:room","phx_error",{"reason":"channel_crash"}]`)
	})
}

func TestSixthPresenceCallInHalfAMinuteEndsTheChannel(t *testing.T) {
	inBed(t, phxserver.Options{Limits: phxserver.Limits{PresenceCalls: 5}}, func(b *bed) {
		c := b.connect(token("anon", ""))
		track := func() {
			c.send(`["1","2","realtime:room","presence",{"event":"track","payload":{}}]`)
		}
		c.join("room", "")
		for range 3 {
			for range 5 {
				track()
				c.next()
			}
			c.settle()
			c.silent(31 * time.Second)
		}
		for range 5 {
			track()
			c.settle()
		}
		track()
		c.expect(
			`["1",null,"realtime:room","system",{"message":"Client presence rate limit exceeded","status":"error","extension":"system","channel":"room"}]`,
			`["1","1","realtime:room","phx_close",{}]`,
		)
	})
}

func TestPresenceRateEndsTheChannel(t *testing.T) {
	inBed(t, phxserver.Options{Limits: phxserver.Limits{PresencePerSecond: 2}}, func(b *bed) {
		c := b.connect(token("anon", ""))
		c.join("room", "")
		for i := range 20 {
			c.send(`["1","2","realtime:room","presence",{"event":"track","payload":{"i":` + strconv.Itoa(i) + `}}]`)
			c.send(`["1","2","realtime:room","presence",{"event":"untrack"}]`)
			c.next()
		}
		<-time.After(5 * time.Second)
		c.settle()
		c.send(`["1","2","realtime:room","presence",{"event":"untrack"}]`)
		if got := c.next(); !strings.Contains(got, "Too many presence messages per second") {
			b.t.Errorf("got %s", got)
		}
		c.expect(`["1","1","realtime:room","phx_close",{}]`)
		// A join that asks for the state is refused the same way, one without it is not.
		c.send(`["2","2","realtime:other","phx_join",{"config":{"presence":{"enabled":true}}}]`)
		c.expect(`["2","2","realtime:other","phx_reply",{"status":"ok","response":{"postgres_changes":[]}}]`,
			`["2",null,"realtime:other","system",{"message":"Too many presence messages per second","status":"error","extension":"system","channel":"other"}]`,
			`["2","2","realtime:other","phx_close",{}]`)
		c.join("third", "")
	})
}
