package load

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"

	"github.com/supabridge/supabridge/internal/load/chart"
)

// Quantiles of a time that was measured often.
type Quantiles struct {
	Count              int64
	P50, P95, P99, Max time.Duration
}

func quantilesOf(h *hdr.Histogram) Quantiles {
	return Quantiles{h.TotalCount(), quantile(h, 50), quantile(h, 95), quantile(h, 99), quantile(h, 100)}
}

// Point is one second of a run.
type Point struct {
	At        time.Duration
	Connected int
	Rate      float64 // deliveries a second
	P50, P99  time.Duration
}

// Report is what a run measured. Durations are nanoseconds in JSON.
type Report struct {
	Connected  int // at the end
	Connecting time.Duration
	Connect    Quantiles // from the first byte to the answer of the join
	Published  int
	Expected   int // deliveries, as the bridge counted those it reached
	Delivered  int
	Message    Quantiles // from before the post to the browser
	Typed      int
	Typing     Quantiles // from before the sending to the browser
	Broken     int
	Back       int
	Recovered  int // of those that came back, without joining again
	Problems   map[string]int
	Points     []Point
}

func (r *record) report() *Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	return &Report{
		Connected: r.connected, Connect: quantilesOf(r.connects), Published: r.published, Expected: r.expected,
		Delivered: r.had, Message: quantilesOf(r.messages),
		Typed: r.typed, Typing: quantilesOf(r.typing), Broken: r.broken, Back: r.back, Recovered: r.recovered,
		Problems: maps.Clone(r.problems), Points: slices.Clone(r.points),
	}
}

// Table writes the report for people.
func (r *Report) Table() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "connected\t%d in %s\n", r.Connected, r.Connecting.Round(time.Millisecond))
	fmt.Fprintf(w, "published\t%d, delivered %d of %d\n", r.Published, r.Delivered, r.Expected)
	if r.Typed > 0 {
		fmt.Fprintf(w, "typing\t%d began, %d told\n", r.Typed, r.Typing.Count)
	}
	if r.Broken > 0 {
		fmt.Fprintf(w, "broken\t%d, back %d, of these recovered %d\n", r.Broken, r.Back, r.Recovered)
	}
	fmt.Fprintf(w, "\n\tp50\tp95\tp99\tlongest\n")
	for _, row := range []struct {
		name string
		q    Quantiles
	}{{"connect and join", r.Connect}, {"message", r.Message}, {"typing", r.Typing}} {
		if row.q.Count > 0 {
			fmt.Fprintf(
				w,
				"%s\t%s\t%s\t%s\t%s\n",
				row.name,
				short(row.q.P50),
				short(row.q.P95),
				short(row.q.P99),
				short(row.q.Max),
			)
		}
	}
	_ = w.Flush() // to memory
	for _, problem := range slices.Sorted(maps.Keys(r.Problems)) {
		fmt.Fprintf(&b, "%d times: %s\n", r.Problems[problem], problem)
	}
	return b.String()
}

// short writes a duration in milliseconds.
func short(d time.Duration) string {
	return fmt.Sprintf("%.2f ms", float64(d)/float64(time.Millisecond))
}

// Chart draws the course of the run: how long deliveries took, second by second.
func (r *Report) Chart(w io.Writer) error {
	c := chart.Chart{
		Title: fmt.Sprintf("%d connections, %d messages", r.Connected, r.Published),
		X:     "seconds",
		Y:     "milliseconds",
		LogY:  true,
	}
	p50, p99 := chart.Series{Name: "p50"}, chart.Series{Name: "p99"}
	for _, p := range r.Points {
		if p.P99 == 0 {
			continue // nothing came in that second
		}
		p50.Points = append(p50.Points, chart.Point{X: p.At.Seconds(), Y: p.P50.Seconds() * 1000})
		p99.Points = append(p99.Points, chart.Point{X: p.At.Seconds(), Y: p.P99.Seconds() * 1000})
	}
	c.Series = []chart.Series{p50, p99}
	return c.Write(w)
}
