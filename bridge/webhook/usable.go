package webhook

import (
	"fmt"
	"io"
	"net/http"
	"slices"

	"github.com/supabridge/supabridge/bridge/twilio"
)

// A webhook that is answered 200 becomes a row, an event, a request to the application, or a dead
// letter that says why not. What nothing can come of is refused, so that Twilio's debugger shows
// it, with two exceptions (see uses).

// unusable says with which status, and why, a webhook is refused; 0 where it is taken. Where the
// application gets everything (mode forward), nothing is refused. A pre-action event of
// Conversations never is: a refusal would forbid what somebody is doing, such as writing a message.
func (h *Webhooks) unusable(event twilio.Event, isForm bool) (code int, reason string) {
	modes := h.opts.Config.Twilio.Modes
	stores := slices.Contains(modes, "store")
	switch {
	case slices.Contains(modes, "forward"), event.PreAction():
	case !isForm:
		return http.StatusUnsupportedMediaType,
			"only forms are taken; Event Streams and other JSON need the mode forward, " +
				"or an address of the application's own"
	case len(event.Params) == 0:
		return http.StatusBadRequest, "the webhook has no parameters"
	case event.Kind == twilio.Status && !stores:
		return http.StatusUnprocessableEntity, "statuses are taken by the modes store and forward only"
	case event.Kind == twilio.Other && !(stores && event.OfMessage()):
		what := "neither a message nor a status of one"
		if event.Type != "" {
			what = fmt.Sprintf("%.40q is nothing that is stored; take it out of the webhook's filters", event.Type)
		}
		return http.StatusUnprocessableEntity, what
	case event.Kind == twilio.Message && !stores: // nothing keeps it until the mapping is complete
		if err := h.store.Unmapped(event); err != nil {
			return http.StatusUnprocessableEntity, err.Error()
		}
	}
	return 0, ""
}

// uses reports whether anything comes of a webhook that isn't refused. Nothing comes of a status
// that the configuration has no word for (webhooks.twilio.store.statuses), and of a pre-action
// event that has no message in it, or that nobody stores. They are counted as unneeded.
func (h *Webhooks) uses(event twilio.Event) bool {
	modes := h.opts.Config.Twilio.Modes
	switch {
	case slices.Contains(modes, "forward"):
		return true
	case event.PreAction():
		return event.OfMessage() && slices.Contains(modes, "store")
	}
	return h.store.Writes(event)
}

// emits reports whether messages go to browsers before they are stored. Where the bridge itself
// stores them, the row is with the browsers as soon as it is written, under its own id: an event
// before that would be a second one, under another id.
func (h *Webhooks) emits() bool {
	modes := h.opts.Config.Twilio.Modes
	return slices.Contains(modes, "emit") && !slices.Contains(modes, "store")
}

// answerTwilio answers a webhook that was taken. Conversations wants no TwiML: an answer to a
// pre-action event with a body would be a change of what is being done.
func answerTwilio(w http.ResponseWriter, event twilio.Event) {
	if event.Type != "" {
		w.WriteHeader(http.StatusOK)
		return
	}
	w.Header().Set("Content-Type", "text/xml")
	_, _ = io.WriteString(w, emptyTwiML) // Twilio is gone where this fails, and sends it again
}
