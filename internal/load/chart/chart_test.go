package chart

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
)

func draw(t *testing.T, c Chart) string {
	t.Helper()
	var b strings.Builder
	if err := c.Write(&b); err != nil {
		t.Fatal(err)
	}
	d := xml.NewDecoder(strings.NewReader(b.String()))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return b.String()
		} else if err != nil {
			t.Fatalf("not XML: %v\n%s", err, b.String())
		}
	}
}

func TestLinesAreWhereTheirValuesAre(t *testing.T) {
	svg := draw(t, Chart{Title: "a < b", X: "s", Y: "ms", Series: []Series{{"p99 & more", []Point{{0, 0}, {10, 100}}}}})
	for _, want := range []string{`points="70.0,310.0 740.0,40.0 "`, "a &lt; b", "p99 &amp; more", ">100<", ">10<"} {
		if !strings.Contains(svg, want) {
			t.Errorf("no %s in\n%s", want, svg)
		}
	}
}

func TestLogarithmicAxesHaveDecades(t *testing.T) {
	svg := draw(t, Chart{LogX: true, LogY: true, Series: []Series{{"", []Point{{1, 3}, {1000, 300}, {0, 5}, {5, -1}}}}})
	for _, want := range []string{">1<", ">10<", ">100<", ">1000<"} {
		if !strings.Contains(svg, want) {
			t.Errorf("no %s in\n%s", want, svg)
		}
	}
	if n := strings.Count(svg[strings.Index(svg, "points="):strings.Index(svg, "<rect")], ","); n != 2 {
		t.Errorf("%d points, want 2: the others are on no logarithmic axis", n)
	}
}

func TestEmptyAndOddChartsAreDrawn(t *testing.T) {
	for _, c := range []Chart{{}, {Series: []Series{{"", nil}}}, {Series: []Series{{"", []Point{{1, 1}}}}}, {LogY: true, Series: []Series{{"", []Point{{1, 0}}}}},
		{Series: []Series{{"", []Point{{math.NaN(), 1}, {1, math.Inf(1)}, {2, 5}, {3, 5}}}}}} {
		if svg := draw(t, c); strings.Contains(svg, "NaN") || strings.Contains(svg, "Inf") {
			t.Errorf("%+v:\n%s", c, svg)
		}
	}
}
