package bridge

import (
	"strings"
	"testing"
	"time"
)

func TestABridgeThatStopsTellsItsBrowsersWhatComesUntilTheirTurn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	var browsers []*browser
	for range 40 { // two for each of the slices in which they are closed
		ana := w.as(anaID)
		ana.must("join_conversation", bakery)
		browsers = append(browsers, ana)
	}
	feed := w.pause()
	id := w.write(bakery, "while it stops")
	w.stop()
	closed := make(chan int, len(browsers)) // how many were told
	for _, b := range browsers {
		go func() {
			told := 0
			for p := range b.packets {
				if strings.Contains(p, id) {
					told++
				}
			}
			closed <- told
		}()
	}
	told, left := 0, len(browsers)
	select {
	case told = <-closed:
		left--
	case <-time.After(patience):
		t.Error("it waits for the feed before it closes a connection")
	}
	feed.goOn()
	for range left {
		told += <-closed
	}
	if told == 0 || told >= len(browsers) {
		t.Errorf("%d of %d browsers were told of a row that came once the first had been closed, want those that were not closed yet", told, len(browsers))
	}
}
