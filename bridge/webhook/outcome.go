package webhook

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/supabridge/supabridge/bridge/outbox"
	"github.com/supabridge/supabridge/bridge/supabase"
	"github.com/supabridge/supabridge/bridge/twilio"
)

// NoRetryHeader is what the application answers with, beside a status of 4xx, to refuse a webhook
// for good.
const NoRetryHeader = "X-Bridge-No-Retry"

// tablesOutcome says what a failure to write to the tables means for the outbox. Only what blames
// the row itself, or the event, ends in a dead letter. All else is tried again until
// webhooks.outbox.max_age: an answer that says something about the project (402, a gateway's page,
// a schema that is behind) passes without a change of the row.
func tablesOutcome(err error) error {
	if errors.Is(err, twilio.ErrUnmapped) {
		return outbox.Permanent(err)
	}
	e, ok := supabase.AsError(err)
	var after time.Duration
	if ok {
		after = min(e.RetryAfter, maxRetryAfter)
	}
	switch {
	case !ok, errors.Is(err, supabase.ErrTooLong):
		return err
	case e.RowFault():
		return outbox.Permanent(err)
	case e.Class == supabase.ClassSlow:
		return outbox.Unavailable(err, max(after, deadlineSlow))
	case e.OneStatement():
		return err
	}
	return outbox.Unavailable(err, after)
}

// maxRetryAfter bounds how long a target may ask to be left alone.
const maxRetryAfter = 10 * time.Minute

// appOutcome says what the application's answer means for the outbox. Two answers refuse a webhook
// for good: 410 Gone, and any 4xx with the header X-Bridge-No-Retry. A route that isn't deployed
// answers 404, one behind a new domain 301, one with a bug 400 or 422: all of these pass, so they
// are tried again.
func appOutcome(resp *http.Response, what string) error {
	code := resp.StatusCode
	failure := fmt.Errorf("%s: HTTP %d", what, code)
	var after time.Duration
	if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s > 0 {
		after = min(time.Duration(s)*time.Second, maxRetryAfter)
	}
	switch {
	case code >= 200 && code <= 299:
		return nil
	case code == http.StatusGone, code >= 400 && code <= 499 && resp.Header.Get(NoRetryHeader) != "":
		return outbox.Permanent(fmt.Errorf("%w: the application refuses it", failure))
	case code >= 300 && code <= 399:
		failure = fmt.Errorf("%w: redirects are not followed; configure the address it leads to", failure)
		return outbox.Unavailable(failure, after)
	case code == http.StatusTooManyRequests:
		return outbox.Unavailable(failure, max(after, deadlineSlow))
	case code == http.StatusInternalServerError, code == http.StatusBadRequest, code == http.StatusConflict,
		code == http.StatusRequestEntityTooLarge, code == http.StatusUnprocessableEntity,
		code == http.StatusRequestTimeout:
		return failure // it may be about this webhook alone: only its lane waits
	}
	return outbox.Unavailable(failure, after)
}
