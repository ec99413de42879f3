package bed

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// Latencies collects durations. It is safe for concurrent use.
type Latencies struct {
	mu  sync.Mutex
	all []time.Duration
}

// Add notes one.
func (l *Latencies) Add(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, d)
}

// Quantiles of a list.
type Quantiles struct {
	Count                    int
	P50, P95, P99, Max, Mean time.Duration
}

// Quantiles gives those of what was noted until now; all zero where nothing was.
func (l *Latencies) Quantiles() (q Quantiles) {
	l.mu.Lock()
	sorted := slices.Clone(l.all)
	l.mu.Unlock()
	if len(sorted) == 0 {
		return q
	}
	slices.Sort(sorted)
	at := func(percent int) time.Duration { return sorted[min(len(sorted)-1, len(sorted)*percent/100)] }
	var sum time.Duration
	for _, d := range sorted {
		sum += d
	}
	return Quantiles{len(sorted), at(50), at(95), at(99), sorted[len(sorted)-1], sum / time.Duration(len(sorted))}
}

func (q Quantiles) String() string {
	return fmt.Sprintf(
		"p50 %s, p95 %s, p99 %s, longest %s",
		Milliseconds(q.P50),
		Milliseconds(q.P95),
		Milliseconds(q.P99),
		Milliseconds(q.Max),
	)
}

// Milliseconds writes a duration with three digits or so.
func Milliseconds(d time.Duration) string {
	switch ms := float64(d) / float64(time.Millisecond); {
	case ms >= 100:
		return fmt.Sprintf("%.0f ms", ms)
	case ms >= 10:
		return fmt.Sprintf("%.1f ms", ms)
	default:
		return fmt.Sprintf("%.2f ms", ms)
	}
}

// Medians are those of each quantile over several rounds; Count is the sum.
func Medians(rounds []Quantiles) (m Quantiles) {
	if len(rounds) == 0 {
		return m
	}
	of := func(get func(Quantiles) time.Duration) time.Duration {
		var all []time.Duration
		for _, r := range rounds {
			all = append(all, get(r))
		}
		slices.Sort(all)
		return all[len(all)/2]
	}
	for _, r := range rounds {
		m.Count += r.Count
	}
	m.P50, m.P95, m.P99 = of(
		func(q Quantiles) time.Duration { return q.P50 },
	), of(
		func(q Quantiles) time.Duration { return q.P95 },
	), of(
		func(q Quantiles) time.Duration { return q.P99 },
	)
	m.Max, m.Mean = of(
		func(q Quantiles) time.Duration { return q.Max },
	), of(
		func(q Quantiles) time.Duration { return q.Mean },
	)
	return m
}
