package supabase

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// pkMark is how PostgREST marks a column of the primary key in its OpenAPI description.
const pkMark = "<pk/>"

// PrimaryKeys asks PostgREST's OpenAPI description, with the service key, for the columns of the
// primary keys of the tables that it lists, by table. A table without a primary key, or a view, has
// none. A project may have the description switched off: then it is an *Error of ClassPermanent.
func (c *Client) PrimaryKeys(ctx context.Context) (map[string][]string, error) {
	body, err := c.description(ctx)
	var answer struct {
		Definitions map[string]struct {
			Properties map[string]struct {
				Description string `json:"description"`
			} `json:"properties"`
		} `json:"definitions"`
	}
	if err == nil && (json.Unmarshal(body, &answer) != nil || answer.Definitions == nil) {
		err = &Error{Status: http.StatusOK, Message: "the answer is no description", Class: ClassPermanent}
	}
	if err != nil {
		return nil, fmt.Errorf("supabase: primary keys: %w", err)
	}
	keys := make(map[string][]string, len(answer.Definitions))
	for table, d := range answer.Definitions {
		keys[table] = nil
		for column, p := range d.Properties {
			if strings.Contains(p.Description, pkMark) {
				keys[table] = append(keys[table], column)
			}
		}
	}
	return keys, nil
}

// description gets PostgREST's OpenAPI description. The library has no request for it, so it is
// made here; it goes through the same fence.
func (c *Client) description(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, c.opts.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+"/rest/v1/", http.NoBody)
	if err != nil {
		return nil, classify(err)
	}
	req.Header = http.Header{
		"Apikey": {
			c.key,
		}, "Authorization": {"Bearer " + c.key}, "Accept": {"application/openapi+json"}, "Accept-Profile": {c.opts.Schema},
	}
	resp, err := c.fence.RoundTrip(req)
	if err != nil {
		return nil, classify(err)
	}
	defer resp.Body.Close() // the fence has read it
	return io.ReadAll(resp.Body)
}
