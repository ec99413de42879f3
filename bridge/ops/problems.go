package ops

import (
	"bytes"
	"encoding/json"
	"slices"
	"sync"

	"github.com/rs/zerolog"
)

// maxProblems is how many lines are kept, and maxProblem how long each may be, in bytes.
const (
	maxProblems = 50
	maxProblem  = 2048
)

// Problems keeps the last warnings and errors of a log, for the status page. It is an io.Writer for
// zerolog to write JSON lines to, beside where they go. The zero value is ready; it is safe for
// concurrent use.
type Problems struct {
	mu    sync.Mutex
	lines []json.RawMessage // oldest first
}

// Write takes a line without a level, which is none of a problem.
func (p *Problems) Write(line []byte) (int, error) { return len(line), nil }

// WriteLevel implements zerolog.LevelWriter.
func (p *Problems) WriteLevel(level zerolog.Level, line []byte) (int, error) {
	n := len(line)
	if line = bytes.TrimSpace(line); level < zerolog.WarnLevel || level > zerolog.PanicLevel || len(line) > maxProblem ||
		!json.Valid(line) {
		return n, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.lines) == maxProblems {
		p.lines = slices.Delete(p.lines, 0, 1)
	}
	p.lines = append(p.lines, slices.Clone(line))
	return n, nil
}

// Newest lists the lines, the last one first.
func (p *Problems) Newest() []json.RawMessage {
	list := []json.RawMessage{}
	if p == nil {
		return list
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	list = append(list, p.lines...)
	slices.Reverse(list)
	return list
}
