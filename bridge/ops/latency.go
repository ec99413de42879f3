package ops

import (
	"math"
	"sync"
	"time"
)

// A latency log covers a quarter of an hour, in slots of five seconds. Latencies are kept in steps
// of a quarter.
const (
	slotLength = 5 * time.Second
	slotCount  = 180
	stepFactor = 1.25
	firstStep  = 100 * time.Microsecond
	stepCount  = 64 // up to 130 s
)

// latencyLog records how long the changes of the last quarter of an hour took from commit to emit,
// for the status page. It is safe for concurrent use.
type latencyLog struct {
	now func() time.Time

	mu    sync.Mutex
	slots [slotCount]slot
}

// slot is what happened within slotLength.
type slot struct {
	number int64 // slots since 1970
	count  int
	steps  [stepCount]uint16
}

func (h *latencyLog) observe(took time.Duration) {
	step := 0
	if took > firstStep {
		step = min(stepCount-1, int(math.Ceil(math.Log(float64(took)/float64(firstStep))/math.Log(stepFactor))))
	}
	number := h.now().UnixNano() / int64(slotLength)
	h.mu.Lock()
	defer h.mu.Unlock()
	s := &h.slots[number%slotCount]
	if s.number != number {
		*s = slot{number: number}
	}
	s.count++
	if s.steps[step] < math.MaxUint16 {
		s.steps[step]++
	}
}

// Moment is a slot as the status page draws it. Latencies are in milliseconds, at most a quarter
// too long.
type Moment struct {
	At      time.Time `json:"at"`
	Changes int       `json:"changes"`
	Median  float64   `json:"median_ms"`
	P99     float64   `json:"p99_ms"`
}

// recent lists the slots with changes, oldest first.
func (h *latencyLog) recent() []Moment {
	newest := h.now().UnixNano() / int64(slotLength)
	h.mu.Lock()
	defer h.mu.Unlock()
	list := []Moment{}
	for number := newest - slotCount + 1; number <= newest; number++ {
		if s := &h.slots[number%slotCount]; s.number == number {
			list = append(
				list,
				Moment{
					At:      time.Unix(0, number*int64(slotLength)).UTC(),
					Changes: s.count,
					Median:  s.quantile(0.5),
					P99:     s.quantile(0.99),
				},
			)
		}
	}
	return list
}

func (s *slot) quantile(q float64) float64 {
	total := 0
	for _, n := range s.steps {
		total += int(n)
	}
	rank, sum := int(math.Ceil(q*float64(total))), 0
	for step, n := range s.steps {
		if sum += int(n); sum >= rank {
			return float64(firstStep) * math.Pow(stepFactor, float64(step)) / float64(time.Millisecond)
		}
	}
	return 0
}
