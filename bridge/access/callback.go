package access

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/supabridge/supabridge/bridge/auth"
	"github.com/supabridge/supabridge/bridge/publish"
)

// maxCallbackAnswer bounds what is read of an answer, in bytes.
const maxCallbackAnswer = 16 << 10

// callback asks the application who may enter a room. It follows no redirect, which would take the
// question and its signature elsewhere.
type callback struct {
	settings func() *Settings
	client   *http.Client
	slots    chan struct{} // held by each question under way
}

func newCallback(settings func() *Settings) *callback {
	n := settings().Callback.Concurrency
	return &callback{
		settings: settings,
		client: &http.Client{
			Transport: &http.Transport{
				Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true,
				MaxIdleConnsPerHost: n, IdleConnTimeout: 90 * time.Second,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		slots: make(chan struct{}, n),
	}
}

// close gives up the idle connections.
func (c *callback) close() { c.client.CloseIdleConnections() }

// callbackQuestion is what the application is asked.
type callbackQuestion struct {
	User callbackUser `json:"user"`
	Room callbackRoom `json:"room"`
}

type callbackUser struct {
	ID     string `json:"id"`
	Name   string `json:"name,omitempty"`
	Role   string `json:"role"`
	Tenant string `json:"tenant,omitempty"` // that the token names
}

type callbackRoom struct {
	Kind string `json:"kind"`
	ID   string `json:"id"`
}

// ask gives the id of the room as stored. The error is ErrRefused where the application says no,
// and another one where it says neither yes nor no.
func (c *callback) ask(ctx context.Context, who *auth.Identity, kind RoomKind, id string) (string, error) {
	settings := c.settings().Callback
	ctx, cancel := context.WithTimeout(ctx, settings.Timeout)
	defer cancel()
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		return "", fmt.Errorf("too many questions are under way: %w", ctx.Err())
	}
	body, err := json.Marshal(callbackQuestion{
		callbackUser{who.UserID, who.Name, who.Role, who.Tenant}, callbackRoom{kind.String(), id},
	})
	if err != nil {
		return "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, settings.URL, bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(publish.SignatureHeader, publish.Sign([]byte(settings.Secret.Reveal()), time.Now(), body))
	resp, err := c.client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxCallbackAnswer+1))
	if err != nil {
		return "", err
	}
	switch {
	case resp.StatusCode == http.StatusForbidden, resp.StatusCode == http.StatusNotFound:
		return "", ErrRefused
	case resp.StatusCode != http.StatusOK:
		return "", fmt.Errorf("HTTP %d", resp.StatusCode)
	case len(text) > maxCallbackAnswer:
		return "", fmt.Errorf("an answer of more than %d bytes", maxCallbackAnswer)
	}
	var said struct {
		Allow bool   `json:"allow"`
		ID    string `json:"id"`
	}
	if err := json.Unmarshal(text, &said); err != nil {
		return "", fmt.Errorf("an answer that is not {allow: true or false}: %w", err)
	}
	if !said.Allow {
		return "", ErrRefused
	}
	return cmp.Or(said.ID, id), nil
}
