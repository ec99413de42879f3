package tail

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Times of a viewer's connection.
const (
	writeTimeout = 10 * time.Second // that a viewer may take to accept a line
	quietTime    = 15 * time.Second // after which an empty line shows that the connection is alive
)

// Handler serves what passes as a JSON object a line, until the viewer goes or the tap is closed.
// bodies tells whether bodies may be asked for at all. It is for an address that only those who run
// the bridge can reach.
func (t *Tap) Handler(bodies func() bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f := parseFilter(r.URL.Query())
		for _, k := range f.Kinds {
			if !slices.Contains(Kinds, k) {
				http.Error(w, fmt.Sprintf("unknown kind %.40q", string(k)), http.StatusBadRequest)
				return
			}
		}
		if f.Bodies && !bodies() {
			http.Error(w, "bodies are not shown: ops.tail_bodies is off", http.StatusForbidden)
			return
		}
		v := t.watch(f)
		if v == nil {
			http.Error(w, "too many watch already", http.StatusServiceUnavailable)
			return
		}
		defer t.leave(v)
		w.Header().Set("Content-Type", "application/x-ndjson")
		w.Header().Set("Cache-Control", "no-store")
		v.serve(r.Context(), w)
	})
}

// serve writes what the viewer is to see.
func (v *viewer) serve(ctx context.Context, w http.ResponseWriter) {
	control := http.NewResponseController(w)
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	quiet := time.NewTicker(quietTime)
	defer quiet.Stop()
	flush := func(err error) bool { return err == nil && control.Flush() == nil }
	if !flush(nil) { // the head, so that the viewer knows it sees everything from here on
		return
	}
	for {
		var s Sight
		select {
		case <-ctx.Done():
			return
		case <-v.gone:
			return
		case <-quiet.C:
			_ = control.SetWriteDeadline(time.Now().Add(writeTimeout)) // without deadlines a lost viewer is noticed later
			if _, err := io.WriteString(w, "\n"); !flush(err) {
				return
			}
			continue
		case s = <-v.queue:
		}
		_ = control.SetWriteDeadline(time.Now().Add(writeTimeout))
		if lost, ok := v.lost(); ok && encoder.Encode(lost) != nil {
			return
		}
		err := encoder.Encode(s)
		if len(v.queue) == 0 && !flush(err) || err != nil {
			return
		}
	}
}

// maxLine bounds one sight as it is read, in bytes: a row can be of some megabytes.
const maxLine = 8 << 20

// Follow watches a bridge by its ops port, at address as http://127.0.0.1:9464, and calls see for
// each thing that happens and fits, until ctx ends, which gives nil. It returns an error where the
// bridge can't be reached, refuses, or goes.
func Follow(ctx context.Context, address string, f Filter, see func(Sight) error) error {
	req, err := http.NewRequestWithContext(
		ctx,
		http.MethodGet,
		strings.TrimRight(address, "/")+"/tail?"+f.query().Encode(),
		nil,
	)
	if err != nil {
		return fmt.Errorf("tail: %w", err)
	}
	client := &http.Client{Transport: http.DefaultTransport.(*http.Transport).Clone()}
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("tail: %w", err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxLine)
	if resp.StatusCode != http.StatusOK {
		lines.Scan()
		return fmt.Errorf("tail: %s: %s", resp.Status, lines.Text())
	}
	for lines.Scan() {
		if len(lines.Bytes()) == 0 {
			continue
		}
		var s Sight
		if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
			return fmt.Errorf("tail: a line can't be read: %w", err)
		}
		if err := see(s); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("tail: %w", err)
	}
	return errors.New("tail: the bridge has stopped")
}
