package socketio

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// bundle serves the client library to pages that load it with <script
// src="/socket.io/socket.io.js">. The files come from a copy that npm has installed, or from a URL,
// and are kept in memory once asked for.
type bundle struct {
	source string // immutable: a directory or the URL of one; empty serves nothing

	mu    sync.Mutex // guards files, and is held while one is fetched
	files map[string]*bundleFile
}

type bundleFile struct {
	content []byte
	etag    string
}

// bundleTypes are the files there are, with their content types.
var bundleTypes = map[string]string{
	"socket.io.js": "text/javascript; charset=utf-8", "socket.io.js.map": "application/json",
	"socket.io.min.js": "text/javascript; charset=utf-8", "socket.io.min.js.map": "application/json",
	"socket.io.esm.min.js": "text/javascript; charset=utf-8", "socket.io.esm.min.js.map": "application/json",
	"socket.io.msgpack.min.js": "text/javascript; charset=utf-8", "socket.io.msgpack.min.js.map": "application/json",
}

// maxBundle bounds the size of one file, in bytes.
const maxBundle = 4 << 20

// serve answers a request for one of the files; it returns false if the request is for something
// else.
func (b *bundle) serve(w http.ResponseWriter, r *http.Request, mounted func(path string) bool) bool {
	if b.source == "" {
		return false
	}
	dir, name, _ := cutLast(r.URL.Path, "/")
	contentType, ok := bundleTypes[name]
	if !ok || !mounted(dir) || r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	f, err := b.file(r, name)
	if err != nil {
		http.Error(w, "client library not available", http.StatusBadGateway)
		return true
	}
	h := w.Header()
	h.Set("ETag", f.etag)
	h.Set("Cache-Control", "public, max-age=0")
	h.Set("X-Content-Type-Options", "nosniff")
	for tag := range strings.SplitSeq(r.Header.Get("If-None-Match"), ",") {
		if strings.TrimPrefix(strings.TrimSpace(tag), "W/") == f.etag {
			w.WriteHeader(http.StatusNotModified)
			return true
		}
	}
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", fmt.Sprint(len(f.content)))
	if r.Method == http.MethodGet {
		_, _ = w.Write(f.content) // a client that has gone needs no answer
	}
	return true
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return "", s, false
	}
	return s[:i], s[i+len(sep):], true
}

// file returns one of the files.
func (b *bundle) file(r *http.Request, name string) (*bundleFile, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if f := b.files[name]; f != nil {
		return f, nil
	}
	content, err := b.fetch(r, name)
	if err != nil {
		return nil, fmt.Errorf("load %s of the client library: %w", name, err)
	}
	sum := sha256.Sum256(content)
	f := &bundleFile{content, `"` + hex.EncodeToString(sum[:12]) + `"`}
	if b.files == nil {
		b.files = make(map[string]*bundleFile)
	}
	b.files[name] = f
	return f, nil
}

var errBundleTooLarge = errors.New("file larger than 4 MiB")

func (b *bundle) fetch(r *http.Request, name string) ([]byte, error) {
	var from io.ReadCloser
	if strings.HasPrefix(b.source, "http://") || strings.HasPrefix(b.source, "https://") {
		req, err := http.NewRequestWithContext(r.Context(), http.MethodGet, strings.TrimSuffix(b.source, "/")+"/"+name, nil)
		if err != nil {
			return nil, err
		}
		c := http.Client{Timeout: 10 * time.Second}
		resp, err := c.Do(req)
		if err != nil {
			return nil, err
		}
		from = resp.Body
		if resp.StatusCode != http.StatusOK {
			return nil, errors.Join(fmt.Errorf("status %d", resp.StatusCode), from.Close())
		}
	} else {
		f, err := os.Open(filepath.Join(b.source, name))
		if err != nil {
			return nil, err
		}
		from = f
	}
	defer func() { _ = from.Close() }()
	content, err := io.ReadAll(io.LimitReader(from, maxBundle+1))
	if err == nil && len(content) > maxBundle {
		err = errBundleTooLarge
	}
	return content, err
}
