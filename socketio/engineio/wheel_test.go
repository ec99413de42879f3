package engineio

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestWheelIsNeverEarlyAndAtMostATickLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWheel(10 * time.Second)
		start := time.Now()
		for _, d := range []time.Duration{0, time.Millisecond, w.tick, 3 * time.Second, 90 * time.Second} {
			c := &Conn{}
			c.beat.owner = c
			begun := time.Since(start)
			w.set(&c.beat, d)
			for {
				time.Sleep(w.tick)
				if slices.Contains(w.expired(nil), &c.beat) {
					break
				}
			}
			if took := time.Since(start) - begun; took < d || took > d+2*w.tick {
				t.Errorf("%v: expired after %v, tick %v", d, took, w.tick)
			}
		}
		if w.count != 0 {
			t.Errorf("%d entries left", w.count)
		}
	})
}

func TestWheelMovesAndRemovesEntries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWheel(10 * time.Second)
		a, b := &Conn{}, &Conn{}
		a.beat.owner, b.beat.owner = a, b
		w.set(&a.beat, time.Second)
		w.set(&b.beat, time.Second)
		w.set(&a.beat, 5*time.Second)
		w.remove(&b.beat)
		w.remove(&b.beat)
		time.Sleep(3 * time.Second)
		if due := w.expired(nil); len(due) != 0 {
			t.Errorf("%d expired too early", len(due))
		}
		time.Sleep(3 * time.Second)
		if due := w.expired(nil); len(due) != 1 || due[0] != &a.beat {
			t.Errorf("got %v", due)
		}
	})
}

func TestPoolDoesNotLetATaskWaitBehindOneThatBlocks(t *testing.T) {
	var p pool
	release, ran := make(chan struct{}), make(chan struct{})
	p.submit(taskFunc(func() { <-release }), taskFunc(func() { close(ran) }))
	<-ran
	close(release)
	p.close()
}

type taskFunc func()

func (f taskFunc) run() { f() }

func FuzzPollingPayload(f *testing.F) {
	f.Add([]byte("4hello\x1ebAQIDBA==\x1e3"))
	f.Add([]byte("\x1e\x1eb"))
	f.Fuzz(func(t *testing.T, body []byte) {
		var q queue
		var texts int
		err := decodePayload(body, func(data []byte, binary bool) error {
			if binary {
				q.put(NewBinary(data))
				return nil
			}
			texts++
			if len(data) > 0 && data[0] == textPrefix {
				q.put(NewText(data[1:]))
			}
			return nil
		})
		if err != nil {
			return
		}
		n := len(q.pending)
		again := 0
		if out := join(nil, q.pending); n > 0 {
			if err := decodePayload(out, func([]byte, bool) error { again++; return nil }); err != nil {
				t.Fatalf("%q written as %q: %v", body, out, err)
			}
			if again != n {
				t.Fatalf("%q: %d packets written, %d read", body, n, again)
			}
		}
	})
}

func FuzzPollingPayload3(f *testing.F) {
	f.Add([]byte("6:4hello10:b4AQIDBA==2:4\xc3\xbc"), false)
	f.Add([]byte("\x00\x06\xff4hello\x01\x05\xff\x04\x01\x02\x03\x04"), true)
	f.Fuzz(func(t *testing.T, body []byte, asBytes bool) {
		total := 0
		err := decodePayload3(body, asBytes, func(data []byte, _ bool) error { total += len(data); return nil })
		if err == nil && total > len(body) {
			t.Fatalf("%q: %d bytes of packets in %d", body, total, len(body))
		}
	})
}

func FuzzFrameHeader(f *testing.F) {
	f.Add(0)
	f.Add(125)
	f.Add(126)
	f.Add(65536)
	f.Fuzz(func(t *testing.T, n int) {
		if n < 0 || n > 1<<18 {
			return
		}
		m := NewBinary(make([]byte, n))
		if len(m.frame)-int(m.head) != n || m.frame[0] != opBinary {
			t.Fatalf("%d bytes: frame of %d, head %d", n, len(m.frame), m.head)
		}
	})
}
