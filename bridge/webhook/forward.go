package webhook

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/supabridge/supabridge/bridge/outbox"
	"github.com/supabridge/supabridge/bridge/twilio"
)

// hopHeaders are between two hosts and not for the next; those of the signature and the address are
// written anew.
var hopHeaders = []string{
	"Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection", "Te", "Trailer",
	"Transfer-Encoding", "Upgrade", "Content-Length", "Host", twilio.SignatureHeader,
}

// Entries of a forwarded request's header that are not headers.
const (
	methodEntry = ":method"
	queryEntry  = ":query"
	signerEntry = ":signer" // which token signed it, by its fingerprint
)

// fingerprint tells tokens apart and gives none away.
func fingerprint(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:8])
}

func forwardedHeader(r *http.Request, token string) map[string]string {
	header := map[string]string{methodEntry: r.Method, queryEntry: r.URL.RawQuery, signerEntry: fingerprint(token)}
	for name, values := range r.Header {
		if !slices.Contains(hopHeaders, http.CanonicalHeaderKey(name)) {
			header[name] = strings.Join(values, ", ")
		}
	}
	return header
}

// forward posts a webhook to the application. It is signed anew for the address there, with the
// token that Twilio signed with, or with the first where that is gone. Twilio has had its answer
// and doesn't get the application's.
func (h *Webhooks) forward(ctx context.Context, item outbox.Item) error {
	address := h.opts.Config.Twilio.ForwardURL
	if query := item.Header[queryEntry]; query != "" {
		join := "?"
		if strings.Contains(address, "?") {
			join = "&"
		}
		address += join + query
	}
	req, err := http.NewRequestWithContext(ctx, item.Header[methodEntry], address, strings.NewReader(string(item.Body)))
	if err != nil {
		return outbox.Permanent(errors.New("forward: the address can't be made"))
	}
	for name, value := range item.Header {
		// The application's own address may have credentials in it.
		if !strings.HasPrefix(name, ":") && (name != "Authorization" || req.URL.User == nil) {
			req.Header.Set(name, value)
		}
	}
	var params twilio.Params
	if twilio.IsForm(req.Header) {
		if params, err = twilio.ParseForm(item.Body); err != nil {
			return outbox.Permanent(err)
		}
	}
	token := h.tokens[0]
	signer := func(token string) bool { return fingerprint(token) == item.Header[signerEntry] }
	if i := slices.IndexFunc(h.tokens, signer); i >= 0 {
		token = h.tokens[i]
	}
	req.Header.Set(twilio.SignatureHeader, twilio.Sign(token, address, params))
	h.opts.Traces.Request(ctx, req.Header)
	return post(h.client, req, "forward")
}

// post carries out a delivery over HTTP.
func post(client *http.Client, req *http.Request, what string) error {
	resp, err := client.Do(req)
	if err != nil {
		return outbox.Unavailable(fmt.Errorf("%s: no answer: %w", what, bare(err)), 0)
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection serves again
	_ = resp.Body.Close()
	return appOutcome(resp, what)
}

// bare takes the address off an error of net/http: it may have parameters in it.
func bare(err error) error {
	if inner := errors.Unwrap(err); inner != nil {
		return inner
	}
	return err
}
