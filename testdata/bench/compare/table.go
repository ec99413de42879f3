package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/supabridge/supabridge/testdata/bench/bed"
)

func (r result) String() string {
	s := fmt.Sprintf(
		"%d browsers, %s: %d of %d deliveries, %s",
		r.Browsers,
		r.Way,
		r.Deliveries,
		r.Deliveries+r.Missing,
		r.Latency,
	)
	for _, what := range slices.Sorted(maps.Keys(r.Problems)) {
		s += fmt.Sprintf("\n    %d: %s", r.Problems[what], what)
	}
	return s
}

// table writes results as Markdown: a table for each number of browsers, and each way against
// polling.
func table(results []result) string {
	var b strings.Builder
	for _, n := range numbers(results) {
		var base *result
		fmt.Fprintf(
			&b,
			"\n%d browsers\n\n| | reads/min | asked/min | latency p50 | p95 | p99 | KiB/min each | CPU Supabase, bridge (s/min) | wake-ups/min each | Realtime connections | missing |\n|---|---|---|---|---|---|---|---|---|---|---|\n",
			n,
		)
		for _, r := range results {
			if r.Browsers != n {
				continue
			}
			if r.Way == "polling" {
				base = &r
			}
			fmt.Fprintf(
				&b,
				"| %s | %.0f | %.0f | %s | %s | %s | %.1f | %.2f, %.2f | %.0f | %d | %d |\n",
				r.Way,
				r.Reads,
				r.Asked,
				bed.Milliseconds(r.Latency.P50),
				bed.Milliseconds(r.Latency.P95),
				bed.Milliseconds(r.Latency.P99),
				r.Bytes/1024,
				r.CPU.Supabase,
				r.CPU.Bridge,
				r.Wakeups,
				r.Connections,
				r.Missing,
			)
		}
		if base == nil {
			continue
		}
		for _, r := range results {
			if r.Browsers == n && r.Way != "polling" {
				fmt.Fprintf(
					&b,
					"\n%s against polling: reads %s, bytes %s, wake-ups %s, CPU %s; %s as fast (p50).",
					r.Way,
					change(r.Reads, base.Reads),
					change(r.Bytes, base.Bytes),
					change(
						r.Wakeups,
						base.Wakeups,
					),
					change(r.CPU.Supabase+r.CPU.Bridge, base.CPU.Supabase+base.CPU.Bridge),
					times(base.Latency.P50, r.Latency.P50),
				)
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}

// times says how often one goes into another.
func times(before, now time.Duration) string {
	if now <= 0 {
		return "–"
	}
	return fmt.Sprintf("%.1f times", float64(before)/float64(now))
}

// change says how much larger or smaller one is than another.
func change(now, before float64) string {
	if before == 0 {
		return "–"
	}
	return fmt.Sprintf("%+.1f %%", (now/before-1)*100)
}

func numbers(results []result) (all []int) {
	for _, r := range results {
		if !slices.Contains(all, r.Browsers) {
			all = append(all, r.Browsers)
		}
	}
	return all
}
