package main

import (
	"io"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/rs/zerolog"

	"github.com/supabridge/supabridge/config"
)

// newLog makes the log as log.level and log.format say. The level can be set anew later, for every
// logger made from this one. Lines go to the others too, as JSON.
func newLog(w io.Writer, how config.Log, others ...io.Writer) (zerolog.Logger, *threshold) {
	level := new(threshold)
	level.set(how.Level)
	if how.Format == "pretty" || how.Format == "auto" && isTerminal(w) {
		w = zerolog.ConsoleWriter{Out: w, TimeFormat: "15:04:05.000", NoColor: !isTerminal(w)}
	}
	if len(others) > 0 {
		w = zerolog.MultiLevelWriter(append([]io.Writer{w}, others...)...)
	}
	return zerolog.New(w).Sample(level).Hook(millisecondClock{}), level
}

// threshold is the least severe level that is written.
type threshold struct{ level atomic.Int32 }

func (t *threshold) set(name string) {
	level, err := zerolog.ParseLevel(name)
	if err != nil {
		level = zerolog.InfoLevel // the configuration allows only levels that parse
	}
	t.level.Store(int32(level))
}

// Sample tells whether a line of that level is written at all; zerolog asks it before it makes one.
func (t *threshold) Sample(level zerolog.Level) bool { return int32(level) >= t.level.Load() }

// millisecondClock stamps each line, since zerolog's own clock has a format for the whole process.
type millisecondClock struct{}

func (millisecondClock) Run(e *zerolog.Event, _ zerolog.Level, _ string) {
	e.Str(zerolog.TimestampFieldName, time.Now().UTC().Format("2006-01-02T15:04:05.000Z"))
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && (isatty.IsTerminal(f.Fd()) || isatty.IsCygwinTerminal(f.Fd()))
}

// warner writes what net/http has to say, such as failed TLS handshakes, as warnings.
type warner struct{ log zerolog.Logger }

func (w warner) Write(line []byte) (int, error) {
	w.log.Warn().Str("of", "http").Msg(strings.TrimSpace(string(line)))
	return len(line), nil
}
