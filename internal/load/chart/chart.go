// Package chart draws lines into an SVG: what a report and docs/benchmarks.md need, readable on
// light and dark pages, without a script or a font of its own.
//
//	err := chart.Chart{Title: "Latency", X: "seconds", Y: "ms", Series: []chart.Series{{Name: "p99", Points: points}}}.Write(w)
//
// The package starts no goroutine.
package chart

import (
	"bytes"
	"fmt"
	"html"
	"io"
	"math"
	"strconv"
)

// Point is one value. Those that are no finite numbers are left out, and those of 0 or less on a
// logarithmic axis.
type Point struct{ X, Y float64 }

// Series is one line.
type Series struct {
	Name   string
	Points []Point
}

// Chart is a picture with one pair of axes. LogX and LogY make an axis logarithmic.
type Chart struct {
	Title, X, Y string
	LogX, LogY  bool
	Series      []Series
}

// The size of the picture and of what is around the lines, in pixels.
const (
	width, height            = 760, 380
	left, right, top, bottom = 70, 20, 40, 70
)

// colors tell the lines apart, for most kinds of colour blindness too; after the last the first
// comes again.
var colors = []string{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"}

// axis maps values to pixels.
type axis struct {
	low, high float64 // of what is shown, already as logarithms on a logarithmic axis
	from, to  float64 // pixels
	log       bool
}

func (a axis) value(v float64) float64 {
	if a.log {
		return math.Log10(v)
	}
	return v
}

func (a axis) shows(v float64) bool {
	return !math.IsNaN(v) && !math.IsInf(v, 0) && (!a.log || v > 0)
}

func (a axis) at(v float64) float64 {
	return a.from + (a.value(v)-a.low)/(a.high-a.low)*(a.to-a.from)
}

// fit widens the axis over a value.
func (a *axis) fit(v float64) {
	a.low, a.high = min(a.low, a.value(v)), max(a.high, a.value(v))
}

// settle makes an axis of what was fitted: from 0 where it is linear, whole decades where it is
// not.
func (a *axis) settle() {
	if a.low > a.high {
		a.low, a.high = 0, 1
	}
	if a.log {
		a.low, a.high = math.Floor(a.low), math.Ceil(a.high)
	} else {
		a.low = min(a.low, 0)
	}
	if a.low == a.high {
		a.high++
	}
}

// ticks are the values that are named: decades, or multiples of 1, 2 or 5 of a power of ten.
func (a axis) ticks() (values []float64) {
	if a.log {
		for e := a.low; e <= a.high; e++ {
			values = append(values, math.Pow(10, e))
		}
		return values
	}
	step := math.Pow(10, math.Floor(math.Log10(a.high-a.low)))
	for _, part := range []float64{0.1, 0.2, 0.5, 1} {
		if (a.high-a.low)/(step*part) <= 8 {
			step *= part
			break
		}
	}
	for n := math.Ceil(a.low / step); n*step <= a.high*(1+1e-9); n++ {
		values = append(values, n*step)
	}
	return values
}

// Write draws the chart.
func (c Chart) Write(w io.Writer) error {
	x := axis{low: math.Inf(1), high: math.Inf(-1), from: left, to: width - right, log: c.LogX}
	y := axis{low: math.Inf(1), high: math.Inf(-1), from: height - bottom, to: top, log: c.LogY}
	for _, s := range c.Series {
		for _, p := range s.Points {
			if x.shows(p.X) && y.shows(p.Y) {
				x.fit(p.X)
				y.fit(p.Y)
			}
		}
	}
	x.settle()
	y.settle()
	var b bytes.Buffer
	fmt.Fprintf(
		&b,
		`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="system-ui,sans-serif" font-size="12" fill="#808080">`+"\n",
		width,
		height,
	)
	text := func(x, y float64, anchor, text string) {
		fmt.Fprintf(&b, `<text x="%.1f" y="%.1f" text-anchor="%s">%s</text>`+"\n", x, y, anchor, html.EscapeString(text))
	}
	line := func(x1, y1, x2, y2, opacity float64) {
		fmt.Fprintf(
			&b,
			`<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="#808080" stroke-opacity="%.1f"/>`+"\n",
			x1,
			y1,
			x2,
			y2,
			opacity,
		)
	}
	fmt.Fprintf(
		&b,
		`<text x="%d" y="22" font-size="15" text-anchor="middle">%s</text>`+"\n",
		width/2,
		html.EscapeString(c.Title),
	)
	for _, v := range x.ticks() {
		line(x.at(v), y.from, x.at(v), y.from+5, 1)
		text(x.at(v), y.from+18, "middle", strconv.FormatFloat(v, 'g', 6, 64))
	}
	for _, v := range y.ticks() {
		line(x.from, y.at(v), x.to, y.at(v), 0.3)
		text(x.from-8, y.at(v)+4, "end", strconv.FormatFloat(v, 'g', 6, 64))
	}
	line(x.from, y.from, x.to, y.from, 1)
	line(x.from, y.from, x.from, y.to, 1)
	text((x.from+x.to)/2, y.from+36, "middle", c.X)
	fmt.Fprintf(
		&b,
		`<text transform="translate(16 %.1f) rotate(-90)" text-anchor="middle">%s</text>`+"\n",
		(y.from+y.to)/2,
		html.EscapeString(c.Y),
	)
	for i, s := range c.Series {
		color := colors[i%len(colors)]
		fmt.Fprintf(&b, `<polyline fill="none" stroke="%s" stroke-width="2" points="`, color)
		for _, p := range s.Points {
			if x.shows(p.X) && y.shows(p.Y) {
				fmt.Fprintf(&b, "%.1f,%.1f ", x.at(p.X), y.at(p.Y))
			}
		}
		b.WriteString("\"/>\n")
		at := x.from + float64(i)*(x.to-x.from)/float64(len(c.Series))
		fmt.Fprintf(&b, `<rect x="%.1f" y="%d" width="14" height="4" fill="%s"/>`+"\n", at, height-14, color)
		text(at+20, height-8, "start", s.Name)
	}
	b.WriteString("</svg>\n")
	_, err := w.Write(b.Bytes())
	return err
}
