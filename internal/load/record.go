package load

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"
)

// The range of a histogram, in microseconds, and its digits.
const (
	shortest = 1
	longest  = int64(10 * time.Minute / time.Microsecond)
	digits   = 3
)

// maxPoints bounds what is kept of a run's course: the seconds of a day.
const maxPoints = 86_400

func newHistogram() *hdr.Histogram { return hdr.New(shortest, longest, digits) }

// record is what a run has measured so far. The mutex guards everything.
type record struct {
	mu        sync.Mutex
	messages  *hdr.Histogram
	second    *hdr.Histogram // since the last point
	typing    *hdr.Histogram
	connects  *hdr.Histogram
	points    []Point
	connected int
	published int
	expected  int
	had       int
	typed     int
	broken    int
	back      int
	recovered int
	problems  map[string]int
}

func newRecord() *record {
	return &record{
		messages: newHistogram(),
		second:   newHistogram(),
		typing:   newHistogram(),
		connects: newHistogram(),
		problems: make(map[string]int),
	}
}

func note(h *hdr.Histogram, d time.Duration) {
	_ = h.RecordValue(min(max(d.Microseconds(), shortest), longest)) // it is in range
}

func (r *record) add(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
}

// problem counts what went wrong, by its kind: not by addresses, of which there are many.
func (r *record) problem(err error) {
	text := err.Error()
	var op *net.OpError
	var call *os.SyscallError
	switch {
	case errors.As(err, &call):
		text = call.Syscall + ": " + call.Err.Error()
	case errors.As(err, &op):
		text = op.Op + ": " + op.Err.Error()
	}
	r.add(func() {
		if len(r.problems) < 100 || r.problems[text] > 0 {
			r.problems[text]++
		}
	})
}

// point ends a second.
func (r *record) point(at time.Duration, length time.Duration) Point {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := Point{
		At:        at,
		Connected: r.connected,
		Rate:      float64(r.second.TotalCount()) / length.Seconds(),
		P50:       at50(r.second),
		P99:       at99(r.second),
	}
	r.second.Reset()
	if len(r.points) < maxPoints {
		r.points = append(r.points, p)
	}
	return p
}

func at50(h *hdr.Histogram) time.Duration { return quantile(h, 50) }
func at99(h *hdr.Histogram) time.Duration { return quantile(h, 99) }

func quantile(h *hdr.Histogram, percent float64) time.Duration {
	if h.TotalCount() == 0 {
		return 0
	}
	return time.Duration(h.ValueAtQuantile(percent)) * time.Microsecond
}
