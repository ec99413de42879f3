package bridge

import (
	"testing"
	"time"

	"github.com/supabridge/supabridge/bridge/emit"
	"github.com/supabridge/supabridge/bridge/vocabulary"
)

func TestASocketThatEntersARoomWhileAMessageIsToldThereIsNotReadItOut(t *testing.T) {
	t.Parallel()
	w := unready(t, nil)
	tell, entered := w.bridge.router.emit, make(chan struct{})
	var ana *browser
	w.bridge.router.emit = func(to emit.Audience, o *vocabulary.Occasion) {
		if o.Event == vocabulary.MessageCreated && ana != nil {
			c := w.bridge.spaces[0].Socket(ana.sid).Data().(*client)
			ana = nil
			go func() {
				defer close(entered)
				c.join("tenant:" + harbour)
			}()
			select {
			case <-entered:
			case <-time.After(50 * time.Millisecond): // it waits for the message to have been told
			}
		}
		tell(to, o)
	}
	w.run()
	first := w.write(bakery, "seen")
	seen := w.rest("GET", "messages?id=eq."+first, "")[0]
	watcher := w.as(benID)
	watcher.must("join_conversation", bakery)
	between := w.write(bakery, "before the other came")
	for watcher.event("new_message")["id"] != between {
	}
	joining := w.as(anaID)
	w.must(w.bridge.upstream.feed.Do(t.Context(), func() { ana = joining }))
	told := w.write(bakery, "told while it enters")
	<-entered
	joining.must("join_conversation", map[string]any{"conversationId": bakery, "since": seen})
	got := map[any]int{joining.event("new_message")["id"]: 1}
	got[joining.event("new_message")["id"]]++
	joining.sync()
	if got[between] != 1 || got[told] != 1 || joining.heard("new_message") {
		t.Errorf("it was told of %v and, further, %q, want each of %s and %s once", got, joining.held, between, told)
	}
}
