package phxserver_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/supabridge/supabridge/phoenix/phxserver"
)

func (b *bed) inject(f phxserver.Fault) *phxserver.Injection {
	b.t.Helper()
	i, err := b.server.Inject(f)
	if err != nil {
		b.t.Fatal(err)
	}
	return i
}

const heartbeat, heartbeatReply = `[null,"9","phoenix","heartbeat",{}]`, `[null,"9","phoenix","phx_reply",{"status":"ok","response":{}}]`

func TestFaultsOfAMoment(t *testing.T) {
	for _, test := range []struct {
		fault  phxserver.Fault
		frames []string
		code   int // of the close; 0 for a socket that stays
	}{
		{phxserver.Fault{Action: phxserver.Cut}, nil, websocket.CloseAbnormalClosure},
		{phxserver.Fault{Action: phxserver.Cut, Topic: "room"}, nil, websocket.CloseAbnormalClosure},
		{phxserver.Fault{Action: phxserver.Cut, Topic: "other"}, nil, 0},
		{phxserver.Fault{Action: phxserver.Close, Code: 1011}, nil, 1011},
		{phxserver.Fault{Action: phxserver.Close}, nil, 1012},
		{phxserver.Fault{Action: phxserver.Disconnect}, []string{`[null,null,"realtime:room","system",{"message":"Server requested disconnect","status":"ok","extension":"system"}]`}, 1012},
		{phxserver.Fault{Action: phxserver.Expire}, []string{
			`["1",null,"realtime:room","system",{"message":"Token has expired 0 seconds ago","status":"error","extension":"system","channel":"room"}]`,
			`["1","1","realtime:room","phx_close",{}]`}, 0},
		{phxserver.Fault{Action: phxserver.Crash}, []string{`["1","1","realtime:room","phx_error",{"reason":"channel_crash"}]`}, 0},
		{phxserver.Fault{Action: phxserver.Leave}, []string{`["1","1","realtime:room","phx_close",{}]`}, 0},
		{phxserver.Fault{Action: phxserver.Resubscribe}, []string{`["1",null,"realtime:room","system",` + subscribed + `]`}, 0},
		{phxserver.Fault{Action: phxserver.System, Extension: "postgres_changes", Message: "Too many database timeouts"}, []string{
			`["1",null,"realtime:room","system",{"message":"Too many database timeouts","status":"error","extension":"postgres_changes","channel":"room"}]`}, 0},
		{phxserver.Fault{Action: phxserver.Send, Event: "presence_diff", Payload: json.RawMessage(`{"joins":{}}`)}, []string{`[null,null,"realtime:room","presence_diff",{"joins":{}}]`}, 0},
	} {
		t.Run(string(test.fault.Action)+" "+test.fault.Topic, func(t *testing.T) {
			inBed(t, phxserver.Options{}, func(b *bed) {
				c := b.connect(token("service_role", ""))
				c.watch(`{"schema":"public","table":"notes"}`)
				i := b.inject(test.fault)
				select {
				case <-i.Done():
				default:
					b.t.Error("a fault of a moment isn't over")
				}
				c.expect(test.frames...)
				if test.code != 0 {
					if code := c.closed(); code != test.code {
						b.t.Errorf("closed with %d, want %d", code, test.code)
					}
					return
				}
				c.send(heartbeat)
				c.expect(heartbeatReply)
			})
		})
	}
}

func TestDroppedHeartbeatIsNeverAnswered(t *testing.T) {
	inBed(t, phxserver.Options{}, func(b *bed) {
		c := b.connect(token("anon", ""))
		i := b.inject(phxserver.Fault{Action: phxserver.Drop, Topic: "phoenix", Direction: "out", Count: 2})
		c.send(heartbeat)
		c.send(heartbeat)
		c.silent(time.Minute)
		c.send(heartbeat)
		c.expect(heartbeatReply)
		<-i.Done()
		if i.Hits() != 2 {
			b.t.Errorf("%d hits, want 2", i.Hits())
		}
	})
}

func TestDelayHoldsBackWhatComesAfter(t *testing.T) {
	inBed(t, phxserver.Options{}, func(b *bed) {
		c := b.connect(token("anon", ""))
		i := b.inject(phxserver.Fault{Action: phxserver.Delay, Event: "phx_join", Direction: "in", Delay: 3 * time.Second})
		start := time.Now()
		c.send(`["1","1","realtime:room","phx_join",{"config":{}}]`)
		c.sendLater(heartbeat)
		c.expect(`["1","1","realtime:room","phx_reply",{"status":"ok","response":{"postgres_changes":[]}}]`, heartbeatReply)
		if waited := time.Since(start); waited != 3*time.Second {
			b.t.Errorf("waited %s, want 3s", waited)
		}
		i.Stop()
		i.Stop()
	})
}

func TestHangingSocketGoesOnWhenTheFaultIsOver(t *testing.T) {
	inBed(t, phxserver.Options{}, func(b *bed) {
		c := b.connect(token("anon", ""))
		b.inject(phxserver.Fault{Action: phxserver.Hang, Event: "heartbeat", For: 10 * time.Second})
		start := time.Now()
		c.send(heartbeat)
		c.expect(heartbeatReply)
		if waited := time.Since(start); waited != 10*time.Second {
			b.t.Errorf("hung for %s, want 10s", waited)
		}
	})
}

func TestStalledFeedLosesChangesWhileHeartbeatsGoOn(t *testing.T) {
	inBed(t, phxserver.Options{}, func(b *bed) {
		c := b.connect(token("service_role", ""))
		c.watch(`{"schema":"public","table":"notes"}`)
		i := b.inject(phxserver.Fault{Action: phxserver.Stall})
		b.project.commit(inserted(notes, 1, "u1", "lost"))
		c.silent(time.Minute)
		c.send(heartbeat)
		c.expect(heartbeatReply)
		i.Stop()
		b.project.commit(inserted(notes, 2, "u1", "told"))
		if got := c.change(); !strings.Contains(string(got.Data.Record), "told") || i.Hits() != 1 {
			b.t.Errorf("got %s after %d hits", got.Data.Record, i.Hits())
		}
	})
}

func TestRefusedHandshakesAndJoins(t *testing.T) {
	inBed(t, phxserver.Options{}, func(b *bed) {
		b.inject(phxserver.Fault{Action: phxserver.Refuse, Status: 429, Message: "Too many connected users", Count: 1})
		if _, resp, err := b.handshake("2.0.0", token("anon", "")); err == nil || resp.StatusCode != 429 {
			b.t.Fatalf("handshake: %v, want status 429", err)
		}
		c := b.connect(token("anon", ""))
		b.inject(phxserver.Fault{Action: phxserver.RefuseJoin, Topic: "room", Code: 1001, Message: "TenantNotFound: Tenant with the given ID does not exist"})
		c.join("other", "")
		c.send(`["1","1","realtime:room","phx_join",{"config":{}}]`)
		c.expect(`["1","1","realtime:room","phx_reply",{"status":"error","response":{"reason":"TenantNotFound: Tenant with the given ID does not exist"}}]`)
		if code := c.closed(); code != 1001 {
			b.t.Errorf("closed with %d, want 1001", code)
		}
		if n := len(b.server.Faults()); n != 1 {
			b.t.Errorf("%d faults hold, want 1", n)
		}
		b.server.ClearFaults()
		b.connect(token("anon", "")).join("room", "")
	})
}

func TestThrottleEndsReceiversOfBroadcasts(t *testing.T) {
	inBed(t, phxserver.Options{}, func(b *bed) {
		sender, receiver := b.connect(token("anon", "")), b.connect(token("anon", ""))
		sender.join("room", "")
		receiver.join("room", "")
		b.inject(phxserver.Fault{Action: phxserver.Throttle, Topic: "room"})
		sender.send(`["1","2","realtime:room","broadcast",{}]`)
		receiver.expect(`[null,null,"realtime:room","broadcast",{}]`)
		if got := receiver.next(); !strings.Contains(got, "Too many messages per second") {
			b.t.Errorf("got %s", got)
		}
		receiver.expect(`["1","1","realtime:room","phx_close",{}]`)
		sender.silent(time.Second)
	})
}

func TestFaultIsPutOffAndEndsInTime(t *testing.T) {
	inBed(t, phxserver.Options{}, func(b *bed) {
		c := b.connect(token("anon", ""))
		i := b.inject(phxserver.Fault{Action: phxserver.Drop, Event: "heartbeat", Direction: "in", After: 10 * time.Second, For: 5 * time.Second})
		for _, answered := range []bool{true, false, true} { // at 0, 11 and 22 s
			c.send(heartbeat)
			if answered {
				c.expect(heartbeatReply)
			}
			c.silent(11 * time.Second)
		}
		<-i.Done()
		off := b.inject(phxserver.Fault{Action: phxserver.Drop, After: time.Minute})
		off.Stop()
		c.silent(2 * time.Minute)
		c.send(heartbeat)
		c.expect(heartbeatReply)
		if n := len(b.server.Faults()); n != 0 {
			t.Errorf("%d faults are left", n)
		}
	})
}

func TestFaultOfAMomentIsRepeated(t *testing.T) {
	for _, test := range []struct {
		fault phxserver.Fault
		at    []time.Duration
	}{
		{phxserver.Fault{Every: 10 * time.Second, Count: 3}, []time.Duration{10 * time.Second, 20 * time.Second, 30 * time.Second}},
		{phxserver.Fault{Every: 10 * time.Second, After: time.Second, For: 15 * time.Second}, []time.Duration{time.Second, 11 * time.Second}},
		{phxserver.Fault{After: 7 * time.Second}, []time.Duration{7 * time.Second}},
	} {
		inBed(t, phxserver.Options{}, func(b *bed) {
			c := b.connect(token("service_role", ""))
			c.watch(`{"schema":"public","table":"notes"}`)
			test.fault.Action = phxserver.Resubscribe
			i := b.inject(test.fault)
			var passed time.Duration
			for _, at := range test.at {
				c.silent(at - passed - time.Millisecond)
				<-time.After(2 * time.Millisecond)
				c.expect(`["1",null,"realtime:room","system",` + subscribed + `]`)
				passed = at + time.Millisecond
			}
			c.silent(time.Minute)
			<-i.Done()
			if i.Hits() != len(test.at) || len(b.server.Faults()) != 0 {
				b.t.Errorf("%+v hit %d times, want %d; %d faults are left", test.fault, i.Hits(), len(test.at), len(b.server.Faults()))
			}
		})
	}
}

func TestParseFault(t *testing.T) {
	for _, test := range []struct {
		text string
		want phxserver.Fault
	}{
		{"cut", phxserver.Fault{Action: phxserver.Cut}},
		{"drop,event=heartbeat,direction=out,count=2", phxserver.Fault{Action: phxserver.Drop, Event: "heartbeat", Direction: "out", Count: 2}},
		{"close,code=1011", phxserver.Fault{Action: phxserver.Close, Code: 1011}},
		{`refuse, status=429, message="Too many, really", for=30s`, phxserver.Fault{Action: phxserver.Refuse, Status: 429, Message: "Too many, really", For: 30 * time.Second}},
		{"delay,delay=250ms,topic=a:b=c", phxserver.Fault{Action: phxserver.Delay, Delay: 250 * time.Millisecond, Topic: "a:b=c"}},
		{"cut,every=1m,count=3", phxserver.Fault{Action: phxserver.Cut, Every: time.Minute, Count: 3}},
		{"stall,after=10s,for=2m", phxserver.Fault{Action: phxserver.Stall, After: 10 * time.Second, For: 2 * time.Minute}},
		{"drop,event=postgres_changes,share=0.25", phxserver.Fault{Action: phxserver.Drop, Event: "postgres_changes", Share: 0.25}},
		{"stall,event=broadcast", phxserver.Fault{Action: phxserver.Stall, Event: "broadcast"}},
		{`send,event=x,payload={"a":1,"b":2}`, phxserver.Fault{Action: phxserver.Send, Event: "x", Payload: json.RawMessage(`{"a":1,"b":2}`)}},
	} {
		got, err := phxserver.ParseFault(test.text)
		if err != nil || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: %+v, %v, want %+v", test.text, got, err, test.want)
			continue
		}
		encoded, err := json.Marshal(got)
		var again phxserver.Fault
		if err == nil {
			err = json.Unmarshal(encoded, &again)
		}
		if err != nil || !reflect.DeepEqual(got, again) {
			t.Errorf("%s as JSON %s: %+v, %v", test.text, encoded, again, err)
		}
	}
	for _, bad := range []string{"", "explode", "drop,count=-1", "drop,count=x", "delay", "close,code=1006", "close,code=99", "refuse,status=200",
		"drop,direction=up", "send", "send,event=x,payload={", "stall,topic=room", "drop,what=1", "drop,event", "stall,every=1m", "cut,every=1ns", "cut,after=-1s", "cut,after=soon",
		"drop,share=1.1", "drop,share=-1", "drop,share=NaN", "drop,share=x", "stall,share=0.5", "cut,share=0.5", "stall,event=heartbeat"} {
		if f, err := phxserver.ParseFault(bad); err == nil {
			t.Errorf("%q is taken for %+v", bad, f)
		}
	}
}

func FuzzParseFault(f *testing.F) {
	f.Add("drop,event=heartbeat,direction=out,count=2")
	f.Add(`refuse,status=429,message="a,b",for=1h`)
	f.Add(`send,event=x,payload={"a":[1,2]}`)
	f.Fuzz(func(t *testing.T, text string) {
		fault, err := phxserver.ParseFault(text)
		if err != nil {
			return
		}
		encoded, err := json.Marshal(fault)
		if err != nil {
			t.Fatalf("%+v can't be written: %v", fault, err)
		}
		var again phxserver.Fault
		if err := json.Unmarshal(encoded, &again); err != nil {
			t.Fatalf("%s can't be read: %v", encoded, err)
		}
	})
}
