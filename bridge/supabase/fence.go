package supabase

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// fencedScheme stands before the scheme of every URL that supabase-go is given. The library sends
// all its requests through http.DefaultTransport and offers no seam to put another one there;
// RegisterProtocol is the seam that net/http itself has: requests for supabridge+https:// come to
// the fence, which sends them on as https:// over its own transport.
const fencedScheme = "supabridge+"

// opaqueKey begins a key of the newer kind, sb_secret_… or sb_publishable_…. It is no JWT: the
// gateway puts one in its place, by the header apikey alone.
const opaqueKey = "sb_"

var raiseFence = sync.OnceValue(func() error {
	transport, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return fmt.Errorf(
			"supabase: http.DefaultTransport was replaced by a %T, and supabase-go can't be fenced without the original",
			http.DefaultTransport,
		)
	}
	for _, scheme := range []string{"http", "https"} {
		transport.RegisterProtocol(fencedScheme+scheme, gate{})
	}
	return nil
})

// gate leads each request to the fence that its context names.
type gate struct{}

type fenceKey struct{}

// ignoreKey marks an upsert that must leave a row that is there alone. The library knows only the
// kind that overwrites it.
type ignoreKey struct{}

func withFence(ctx context.Context, f *fence) context.Context {
	return context.WithValue(ctx, fenceKey{}, f)
}

func (gate) RoundTrip(req *http.Request) (*http.Response, error) {
	f, ok := req.Context().Value(fenceKey{}).(*fence)
	if !ok {
		return nil, errors.New("supabase: a request without its fence")
	}
	return f.RoundTrip(req)
}

// fence is what supabase-go's requests pass through. It refuses redirects (the library would carry
// apikey and Authorization along to the next host), reads at most max bytes of an answer, and turns
// every answer that is not a success into an *Error before the library loses its status.
type fence struct {
	base     http.RoundTripper
	max      int64
	answered func(status int, took time.Duration)
}

func newFence(opts Options) *fence {
	base := opts.Transport
	if base == nil {
		base = &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			ForceAttemptHTTP2:     true,
			MaxIdleConnsPerHost:   32, // deliveries of the outbox come sixteen at once, beside everything else
			IdleConnTimeout:       90 * time.Second,
			TLSHandshakeTimeout:   10 * time.Second,
			ResponseHeaderTimeout: opts.Timeout,
		}
	}
	answered := opts.Answered
	if answered == nil {
		answered = func(int, time.Duration) {}
	}
	return &fence{base: base, max: opts.MaxResponse, answered: answered}
}

func (f *fence) close() {
	if t, ok := f.base.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}

func (f *fence) RoundTrip(req *http.Request) (*http.Response, error) {
	out := req.Clone(req.Context())
	out.URL.Scheme = strings.TrimPrefix(out.URL.Scheme, fencedScheme)
	out.Header.Del("Referer")
	if strings.HasPrefix(out.Header.Get("Authorization"), "Bearer "+opaqueKey) {
		out.Header.Del("Authorization") // the library sends its key in both headers
	}
	if req.Context().Value(ignoreKey{}) != nil {
		out.Header.Set(
			"Prefer",
			strings.ReplaceAll(out.Header.Get("Prefer"), "resolution=merge-duplicates", "resolution=ignore-duplicates"),
		)
	}
	began := time.Now()
	resp, err := f.base.RoundTrip(out)
	if err != nil {
		f.answered(0, time.Since(began))
		return nil, &Error{Message: "no answer", Class: ClassRetry, err: err}
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, f.max+1))
	resp.Body.Close()
	f.answered(resp.StatusCode, time.Since(began))
	switch {
	case err != nil:
		return nil, &Error{Status: resp.StatusCode, Message: "the answer broke off", Class: ClassRetry, err: err}
	case int64(len(body)) > f.max:
		return nil, &Error{
			Status:  resp.StatusCode,
			Message: fmt.Sprintf("more than %d bytes", f.max),
			Class:   ClassPermanent,
			err:     ErrTooLong,
		}
	case resp.StatusCode < 200 || resp.StatusCode > 299:
		return nil, newError(resp, body)
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}
