package outbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"
)

// A running daemon has the file to itself, so it answers those who want to look at it on a socket
// beside the file. Who may open that may read the file.

// SocketPath is where the box of a file is reached while a process has it open.
func SocketPath(file string) string { return file + ".sock" }

// Serve answers a Remote until ctx ends. The socket has mode 0600.
func (o *Outbox) Serve(ctx context.Context) error {
	path := SocketPath(o.opts.Path)
	if err := os.Remove(path); err != nil &&
		!errors.Is(err, os.ErrNotExist) { // left by a process that was killed: the file's lock is ours
		return fmt.Errorf("outbox: socket %s: %w", path, err)
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("outbox: socket %s: %w", path, err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		_ = listener.Close()
		return fmt.Errorf("outbox: socket %s: %w", path, err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /list", o.serveList)
	mux.HandleFunc("POST /retry", o.serveChange(o.Retry))
	mux.HandleFunc("POST /drop", o.serveChange(o.Drop))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { defer close(stopped); _ = server.Close() })
	err = server.Serve(listener)
	if !stop() {
		<-stopped
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("outbox: socket %s: %w", path, err)
}

func (o *Outbox) serveList(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	from, _ := strconv.ParseUint(q.Get("from"), 10, 64) // nothing is 0
	limit, _ := strconv.Atoi(q.Get("limit"))
	items, err := o.List(q.Get("dead") == "true", from, limit)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_ = json.NewEncoder(w).Encode(items) // the client is gone where this fails
}

func (o *Outbox) serveChange(change func(context.Context, uint64) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		id, err := strconv.ParseUint(r.URL.Query().Get("id"), 10, 64)
		if err == nil {
			err = change(r.Context(), id)
		}
		switch {
		case errors.Is(err, ErrUnknown):
			http.Error(w, err.Error(), http.StatusNotFound)
		case err != nil:
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	}
}

// Remote is the box of a file that another process has open.
type Remote struct {
	path   string
	client *http.Client
}

// Reach connects to the process that has a file open.
func Reach(file string) *Remote {
	path := SocketPath(file)
	var dialer net.Dialer
	return &Remote{path, &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix",
				path)
		}}}}
}

// List is that of the Outbox.
func (r *Remote) List(ctx context.Context, dead bool, from uint64, limit int) ([]Item, error) {
	query := url.Values{
		"dead":  {strconv.FormatBool(dead)},
		"from":  {strconv.FormatUint(from, 10)},
		"limit": {strconv.Itoa(limit)},
	}
	var items []Item
	err := r.ask(ctx, http.MethodGet, "list?"+query.Encode(), &items)
	return items, err
}

// Retry is that of the Outbox.
func (r *Remote) Retry(ctx context.Context, id uint64) error {
	return r.ask(ctx, http.MethodPost, "retry?id="+strconv.FormatUint(id, 10), nil)
}

// Drop is that of the Outbox.
func (r *Remote) Drop(ctx context.Context, id uint64) error {
	return r.ask(ctx, http.MethodPost, "drop?id="+strconv.FormatUint(id, 10), nil)
}

func (r *Remote) ask(ctx context.Context, method, what string, answer any) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://outbox/"+what, nil)
	if err != nil {
		return fmt.Errorf("outbox: %w", err)
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return fmt.Errorf("outbox: reach the running daemon at %s: %w", r.path, err)
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusNotFound:
		return ErrUnknown
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("outbox: the running daemon answers HTTP %d", resp.StatusCode)
	case answer == nil:
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(answer); err != nil {
		return fmt.Errorf("outbox: the running daemon's answer: %w", err)
	}
	return nil
}
