package load

import (
	"encoding/json"
	"testing"
)

func TestOffsetIsTheTextAfterTheArguments(t *testing.T) {
	for frame, want := range map[string]string{
		`42["new_message",{"id":1},"a1"]`: "a1",
		`42["hello","a1"]`:                "a1", // of a server that can recover every event has one
		`42["new_message",{"id":"x"}]`:    "",
		`42["new_message",["x"]]`:         "",
		`42["new_message"]`:               "",
	} {
		var name string
		c := &Client{session: Session{PID: "p"}, event: func(n string, _ []byte) { name = n }}
		if err := c.take([]byte(frame)); err != nil || c.session.Offset != want || name == "" {
			t.Errorf("%s: offset %q, event %q (%v), want offset %q", frame, c.session.Offset, name, err, want)
		}
	}
}

func FuzzTake(f *testing.F) {
	for _, frame := range []string{`42["a",1,"x"]`, `42[`, `42["`, `430[{"success":true}]`, `43[`, `41`, `1`, `42["a","]`, `42["load_message",{"sent":12}]`, ``} {
		f.Add([]byte(frame))
	}
	f.Fuzz(func(_ *testing.T, frame []byte) {
		if len(frame) > 0 && frame[0] == '2' {
			return // a ping is answered, and there is no connection here
		}
		c := &Client{session: Session{PID: "p"}, event: func(_ string, args []byte) { sent(args) }, acks: map[uint64]chan json.RawMessage{0: make(chan json.RawMessage, 1)}}
		_ = c.take(frame) // it may end the connection; it must not panic
	})
}
