package phoenix

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// Publication is a broadcast sent by REST, without joining its channel.
type Publication struct {
	Topic   string // a channel's name, without "realtime:"
	Event   string
	Payload any // encodes to a JSON object; for PublishOne any JSON, or []byte for raw bytes
	Private bool
	// ID is handed to receivers as BroadcastMessage.ID; a UUID, or empty. Batches only.
	ID string
}

// maxErrorBody bounds what is read of an answer.
const maxErrorBody = 4 << 10

// Publish sends a batch of broadcasts by REST, all with the rights of token, or of
// the API key when token is empty. nil means that the server accepted them; private
// ones that the token may not write are skipped silently. Failures are an *Error of
// OpRequest: of class Slow over a limit, Permanent where the messages must change.
// The client needs no connection for it and never does it by itself.
func (c *Client) Publish(ctx context.Context, token string, messages ...Publication) error {
	type message struct {
		Topic   string          `json:"topic"`
		Event   string          `json:"event"`
		Payload json.RawMessage `json:"payload"`
		Private bool            `json:"private"`
		ID      string          `json:"id,omitempty"`
	}
	batch := struct {
		Messages []message `json:"messages"`
	}{make([]message, 0, len(messages))}
	for _, m := range messages {
		payload, err := encodePayload(m.Payload)
		if err != nil {
			return err
		}
		batch.Messages = append(batch.Messages, message{m.Topic, m.Event, payload, m.Private, m.ID})
	}
	body, err := json.Marshal(batch)
	if err != nil {
		return fmt.Errorf("realtime: encode batch: %w", err)
	}
	return c.postREST(ctx, "/broadcast", token, "application/json", body)
}

// PublishOne sends one broadcast by REST with its payload as it is: a []byte as raw
// bytes, anything else as JSON. Unlike Publish it reports a missing permission.
// Servers before 2.97 don't know it and answer 404, class Permanent.
func (c *Client) PublishOne(ctx context.Context, token string, m Publication) error {
	path := "/broadcast/" + url.PathEscape(m.Topic) + "/events/" + url.PathEscape(m.Event)
	if m.Private {
		path += "?private=true"
	}
	if raw, ok := m.Payload.([]byte); ok {
		return c.postREST(ctx, path, token, "application/octet-stream", raw)
	}
	body, err := encodePayload(m.Payload)
	if err != nil {
		return err
	}
	return c.postREST(ctx, path, token, "application/json", body)
}

func (c *Client) postREST(ctx context.Context, path, token, contentType string, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.rest+path, bytes.NewReader(body))
	if err != nil {
		return &Error{Op: OpRequest, Class: Permanent, Err: err}
	}
	for k, v := range c.opts.Header {
		req.Header[k] = v
	}
	req.Header.Set("Content-Type", contentType)
	key := c.opts.APIKey
	if opaque(token) {
		key, token = token, ""
	}
	req.Header.Set("apikey", key)
	if token == "" && key == c.opts.APIKey && strings.Count(c.opts.APIKey, ".") == 2 {
		token = c.opts.APIKey // a JWT; newer keys are for the gateway alone
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := c.opts.HTTPClient.Do(req)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err
		}
		return &Error{Op: OpRequest, Err: err}
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		return nil
	}
	return requestError(resp.StatusCode, answer)
}

// requestError reads a REST answer of failure: {"message"}, {"error"}, or {"errors"}
// with what is wrong with which message.
func requestError(status int, body []byte) *Error {
	e := &Error{Op: OpRequest, Status: status}
	var said struct {
		Message string          `json:"message"`
		Error   string          `json:"error"`
		Errors  json.RawMessage `json:"errors"`
	}
	if json.Unmarshal(body, &said) == nil {
		e.Reason = said.Message + said.Error + string(said.Errors)
	}
	switch {
	case status == http.StatusUnauthorized:
		e.Class = Token
	case status == http.StatusTooManyRequests:
		e.Class = Slow
	case status == http.StatusUnprocessableEntity && said.Message != "":
		e.Class = Retry // the database's trouble
		if strings.Contains(strings.ToLower(said.Message), "policy") {
			e.Class = Permanent
		}
	case status == http.StatusUnprocessableEntity, status == http.StatusRequestEntityTooLarge:
		e.Class = Permanent
		if status == http.StatusRequestEntityTooLarge || strings.Contains(e.Reason, "size exceeds") {
			e.Err = ErrPayloadTooLarge
		}
	case status >= 400 && status < 500:
		e.Class = Permanent
	}
	return e
}
