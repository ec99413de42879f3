package main

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/supabridge/supabridge/internal/load/chart"
)

// plot draws what grows with the number of browsers: the latency and the reads.
func plot(folder string, results []result) error {
	for _, c := range []struct {
		file, title, y string
		get            func(result) float64
	}{
		{"latency.svg", "From commit to browser, p95", "milliseconds", func(r result) float64 { return r.Latency.P95.Seconds() * 1000 }},
		{"reads.svg", "Queries and questions to row level security", "a minute", func(r result) float64 { return r.Reads + r.Asked }},
	} {
		drawn := chart.Chart{Title: c.title, X: "browsers", Y: c.y, LogX: true, LogY: true}
		for _, way := range ways {
			s := chart.Series{Name: way}
			for _, r := range results {
				if r.Way == way {
					s.Points = append(s.Points, chart.Point{X: float64(r.Browsers), Y: c.get(r)})
				}
			}
			if len(s.Points) > 0 {
				drawn.Series = append(drawn.Series, s)
			}
		}
		file, err := os.Create(filepath.Join(folder, c.file))
		if err != nil {
			return err
		}
		if err := errors.Join(drawn.Write(file), file.Close()); err != nil {
			return err
		}
	}
	return nil
}
