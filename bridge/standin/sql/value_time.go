package sql

import (
	"math"
	"strconv"
	"strings"
	"time"
)

const (
	minusInfinity = math.MinInt64
	plusInfinity  = math.MaxInt64
)

// clockFormats and dateFormats are the parts of a timestamp in the forms that are read.
var (
	clockFormats = []string{"15:04:05.999999999", "15:04", "150405"}
	dateFormats  = []string{"2006-1-2", "20060102", "2006/1/2", "January 2, 2006", "Jan 2, 2006"}
)

// parseTimestamp reads timestamp and timestamptz: ISO 8601 with T or a space, any offset (Z, +02,
// +0200, +02:00), a missing time of day or offset (UTC), infinity, epoch, now, years BC. The
// precision is a microsecond.
func (t *Type) parseTimestamp(text string) (value, error) {
	s := strings.TrimSpace(text)
	switch strings.ToLower(s) {
	case "infinity":
		return value{text: "infinity", n: plusInfinity}, nil
	case "-infinity":
		return value{text: "-infinity", n: minusInfinity}, nil
	case "epoch":
		return t.instant(time.Unix(0, 0)), nil
	case "now", "now()": // of the transaction, in PostgreSQL
		return t.instant(time.Now()), nil
	}
	s, bc := cutBC(s)
	date, clock := cutDate(s)
	day, ok := parseDay(date, bc)
	if !ok {
		return null, t.badTime(text)
	}
	clock, offset, ok := cutOffset(clock)
	if !ok {
		return null, t.badTime(text)
	}
	var ofDay time.Duration
	if clock != "" {
		if ofDay, ok = parseClock(clock); !ok {
			return null, t.badTime(text)
		}
	}
	if t.kind == kindTimestamp {
		offset = 0
	}
	return t.instant(day.Add(ofDay - offset)), nil
}

// badTime tells a text that is no time from one whose fields are out of range, as Postgres does.
func (t *Type) badTime(text string) *Error {
	if len(text) >= 8 && strings.Trim(text, "0123456789-:./+TZ ") == "" {
		return &Error{Code: "22008", Message: "date/time field value out of range: " + Quote(text)}
	}
	e := invalidSyntax(t, text)
	e.Code = "22007"
	return e
}

// instant is the value of a point in time, cut to microseconds.
func (t *Type) instant(at time.Time) value {
	at = at.UTC().Round(time.Microsecond)
	text := formatDay(at) + "T" + formatClock(at)
	if t.kind == kindTimestamptz {
		text += "+00:00"
	}
	if at.Year() <= 0 {
		text += " BC"
	}
	return value{text: text, n: at.UnixMicro()}
}

func (t *Type) parseDate(text string) (value, error) {
	s := strings.TrimSpace(text)
	switch strings.ToLower(s) {
	case "infinity":
		return value{text: "infinity", n: plusInfinity}, nil
	case "-infinity":
		return value{text: "-infinity", n: minusInfinity}, nil
	}
	s, bc := cutBC(s)
	date, _ := cutDate(s)
	day, ok := parseDay(date, bc)
	if !ok {
		return null, t.badTime(text)
	}
	out := formatDay(day)
	if day.Year() <= 0 {
		out += " BC"
	}
	return value{text: out, n: day.UnixMicro()}, nil
}

func (t *Type) parseTime(text string) (value, error) {
	s := strings.TrimSpace(text)
	if s == "24:00" || s == "24:00:00" {
		return value{text: "24:00:00", n: (24 * time.Hour).Microseconds()}, nil
	}
	ofDay, ok := parseClock(s)
	if !ok {
		return null, t.badTime(text)
	}
	ofDay = ofDay.Round(time.Microsecond)
	return value{text: formatClock(time.Unix(0, 0).UTC().Add(ofDay)), n: ofDay.Microseconds()}, nil
}

func cutBC(s string) (string, bool) {
	if n := len(s) - 3; n > 0 && strings.EqualFold(s[n:], " BC") {
		return strings.TrimSpace(s[:n]), true
	}
	return s, false
}

// cutDate splits a timestamp at its T, or at the last space before a time of day.
func cutDate(s string) (date, clock string) {
	if i := strings.IndexAny(s, "Tt"); i > 0 && s[i-1] >= '0' && s[i-1] <= '9' {
		return s[:i], s[i+1:]
	}
	if colon := strings.IndexByte(s, ':'); colon > 0 {
		if i := strings.LastIndexByte(s[:colon], ' '); i > 0 {
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}

func parseDay(s string, bc bool) (time.Time, bool) {
	year, rest, ok := strings.Cut(s, "-")
	if ok && len(year) > 4 {
		n, err := strconv.Atoi(year)
		if err != nil || n > 290000 {
			return time.Time{}, false
		}
		day, err := time.Parse("1-2", rest) // of the year 0, a leap year
		if err != nil {
			return time.Time{}, false
		}
		at := time.Date(n, day.Month(), day.Day(), 0, 0, 0, 0, time.UTC)
		return at, at.Day() == day.Day()
	}
	for _, format := range dateFormats {
		if day, err := time.Parse(format, s); err == nil {
			if bc {
				day = time.Date(1-day.Year(), day.Month(), day.Day(), 0, 0, 0, 0, time.UTC)
			}
			return day, true
		}
	}
	return time.Time{}, false
}

// cutOffset takes the zone off a time of day: the offset is east of UTC.
func cutOffset(s string) (clock string, offset time.Duration, ok bool) {
	s = strings.TrimSpace(s)
	if s == "" {
		return "", 0, true
	}
	if last := s[len(s)-1]; last == 'Z' || last == 'z' {
		return s[:len(s)-1], 0, true
	}
	if cut, found := strings.CutSuffix(s, " UTC"); found {
		return cut, 0, true
	}
	i := strings.LastIndexAny(s, "+-")
	if i < 0 {
		return s, 0, true
	}
	for _, format := range []string{"15", "15:04", "1504", "15:04:05"} {
		if at, err := time.Parse(format, s[i+1:]); err == nil {
			offset = time.Duration(
				at.Hour(),
			)*time.Hour + time.Duration(
				at.Minute(),
			)*time.Minute + time.Duration(
				at.Second(),
			)*time.Second
			if s[i] == '-' {
				offset = -offset
			}
			return strings.TrimSpace(s[:i]), offset, true
		}
	}
	return "", 0, false
}

func parseClock(s string) (time.Duration, bool) {
	for _, format := range clockFormats {
		if at, err := time.Parse(format, s); err == nil {
			return at.Sub(time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC)), true
		}
	}
	return 0, false
}

func formatDay(at time.Time) string {
	year := at.Year()
	if year <= 0 {
		year = 1 - year
	}
	return pad(year, 4) + "-" + pad(int(at.Month()), 2) + "-" + pad(at.Day(), 2)
}

func formatClock(at time.Time) string {
	s := at.Format("15:04:05.000000")
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}

func pad(n, width int) string {
	s := strconv.Itoa(n)
	if len(s) < width {
		s = strings.Repeat("0", width-len(s)) + s
	}
	return s
}
