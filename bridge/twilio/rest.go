package twilio

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/supabridge/supabridge/bridge/supabase"
)

// Project is where rows are stored.
type Project struct {
	URL, Key, Schema string
	Timeout          time.Duration
}

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 8 << 20

// writer sends what package supabase has no words for: inserts that answer with the row, updates with conditions, and functions. It holds to that package's rules: no
// redirect is followed, no answer read without a bound, and every failure is a *supabase.Error.
type writer struct {
	p    Project
	http *http.Client
}

func newWriter(p Project) *writer {
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 32, IdleConnTimeout: 90 * time.Second}
	return &writer{p: p, http: &http.Client{Transport: transport, Timeout: p.Timeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// insert writes a row and gives it back as it was stored. With unique, a column, one that is there is left as it is, and row is nil.
func (w *writer) insert(ctx context.Context, table string, row any, unique string) (json.RawMessage, error) {
	query, prefer := url.Values{}, "return=representation"
	if unique != "" {
		query.Set("on_conflict", unique)
		prefer += ",resolution=ignore-duplicates"
	}
	rows, err := w.rows(ctx, http.MethodPost, table, query, prefer, row)
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	return rows[0], nil
}

// update changes the rows that fit query and gives them back.
func (w *writer) update(ctx context.Context, table string, query url.Values, change any) ([]json.RawMessage, error) {
	return w.rows(ctx, http.MethodPatch, table, query, "return=representation", change)
}

func (w *writer) read(ctx context.Context, table string, query url.Values) ([]json.RawMessage, error) {
	return w.rows(ctx, http.MethodGet, table, query, "", nil)
}

func (w *writer) rows(ctx context.Context, method, table string, query url.Values, prefer string, body any) ([]json.RawMessage, error) {
	answer, err := w.send(ctx, method, url.PathEscape(table)+"?"+query.Encode(), prefer, body)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", strings.ToLower(method), table, err)
	}
	var rows []json.RawMessage
	if err := json.Unmarshal(answer, &rows); err != nil {
		return nil, fmt.Errorf("%s %s: %w", strings.ToLower(method), table, &supabase.Error{Status: http.StatusOK, Message: "the answer is not a list of rows", Class: supabase.ClassPermanent})
	}
	return rows, nil
}

// call calls a function of the database and gives its answer.
func (w *writer) call(ctx context.Context, function string, arguments any) (json.RawMessage, error) {
	answer, err := w.send(ctx, http.MethodPost, "rpc/"+url.PathEscape(function), "", arguments)
	if err != nil {
		return nil, fmt.Errorf("call %s: %w", function, err)
	}
	return answer, nil
}

func (w *writer) send(ctx context.Context, method, path, prefer string, body any) ([]byte, error) {
	var content io.Reader
	if body != nil {
		content = bytes.NewReader(marshal(body))
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimRight(w.p.URL, "/")+"/rest/v1/"+path, content)
	if err != nil {
		return nil, &supabase.Error{Message: "the request can't be made", Class: supabase.ClassPermanent}
	}
	req.Header = http.Header{"Apikey": {w.p.Key}, "Authorization": {"Bearer " + w.p.Key}, "Content-Type": {"application/json"}, "Accept": {"application/json"}}
	if prefer != "" {
		req.Header.Set("Prefer", prefer)
	}
	req.Header.Set("Accept-Profile", w.p.Schema)
	req.Header.Set("Content-Profile", w.p.Schema)
	resp, err := w.http.Do(req)
	if err != nil {
		var bare *url.Error
		if errors.As(err, &bare) {
			err = bare.Err // the address has values of rows in its query
		}
		return nil, fmt.Errorf("%w: %w", &supabase.Error{Message: "no answer", Class: supabase.ClassRetry}, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, &supabase.Error{Status: resp.StatusCode, Message: "the answer broke off", Class: supabase.ClassRetry}
	case len(answer) > maxAnswer:
		return nil, &supabase.Error{Status: resp.StatusCode, Message: "the answer is too long", Class: supabase.ClassPermanent}
	case resp.StatusCode < 200 || resp.StatusCode > 299:
		return nil, refused(resp, answer)
	}
	return answer, nil
}

// refused reads an answer that is not a success.
func refused(resp *http.Response, body []byte) *supabase.Error {
	e := &supabase.Error{Status: resp.StatusCode, Message: strings.ToLower(http.StatusText(resp.StatusCode)), Class: supabase.ClassPermanent}
	var answer struct{ Code, Message string }
	if json.Unmarshal(body, &answer) == nil && answer.Message != "" {
		e.Code, e.Message = answer.Code, answer.Message
	}
	if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s > 0 {
		e.RetryAfter = time.Duration(s) * time.Second
	}
	switch {
	case resp.StatusCode == http.StatusTooManyRequests:
		e.Class = supabase.ClassSlow
	case resp.StatusCode == http.StatusUnauthorized:
		e.Class = supabase.ClassToken
	case resp.StatusCode == http.StatusForbidden:
		e.Class = supabase.ClassDenied
	case resp.StatusCode >= 500, resp.StatusCode == http.StatusRequestTimeout:
		e.Class = supabase.ClassRetry
	}
	switch e.Code {
	case "57014", "40001", "40P01", "PGRST000", "PGRST001", "PGRST002", "PGRST003":
		e.Class = supabase.ClassRetry
	case "42501":
		e.Class = supabase.ClassDenied
	}
	return e
}
