package config

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

var (
	// mapped is a column with what goes into it.
	mapped = regexp.MustCompile(`^[^=:?\s][^=:?]*[:?]?=`)
	// looked is a lookup.
	looked = regexp.MustCompile(`^\s*[A-Za-z_][A-Za-z0-9_]*\s*=\s*[^.:\s]+\.[^.:\s]+\s+where\s+[^=:?\s][^=:?]*[:?]?=`)
	// worded is a status with the application's word for it.
	worded = regexp.MustCompile(`^[a-z]+=.+$`)
)

// statuses are Twilio's, and that of a message which comes in.
var statuses = []string{
	"received",
	"accepted",
	"scheduled",
	"queued",
	"sending",
	"sent",
	"delivered",
	"read",
	"failed",
	"undelivered",
	"canceled",
}

func (v *validator) webhooks() {
	w := v.c.Webhooks
	if w.Twilio.AuthTokens != "" {
		v.twilio()
	}
	if w.Supabase.Secret != "" {
		v.usable("webhooks.supabase.secret", w.Supabase.Secret)
		v.route("webhooks.supabase.path", w.Supabase.Path)
	}
	durable := w.Twilio.AuthTokens != "" &&
		(slices.Contains(w.Twilio.Modes, "store") || slices.Contains(w.Twilio.Modes, "forward"))
	if w.Outgoing.URL != "" {
		durable = true
		v.address("webhooks.outgoing.url", w.Outgoing.URL, "http", "https")
		v.usable("webhooks.outgoing.secret", w.Outgoing.Secret)
		v.listed("webhooks.outgoing.events", w.Outgoing.Events, func(name string) (string, string) { return name, "" })
	}
	if durable && w.Outbox.Path == "" {
		v.required("webhooks.outbox.path", " where webhooks are forwarded, stored or sent")
	}
}

func (v *validator) twilio() {
	t := v.c.Webhooks.Twilio
	for token := range strings.SplitSeq(t.AuthTokens.Reveal(), ",") {
		if strings.TrimSpace(token) == "" || t.AuthTokens == redacted {
			v.fail("webhooks.twilio.auth_tokens", "expected tokens with commas between")
			break
		}
	}
	v.listed("webhooks.twilio.modes", t.Modes, func(mode string) (string, string) { return mode, "" })
	v.listed("webhooks.twilio.paths", t.Paths, func(path string) (string, string) { return path, v.unroutable(path) })
	for _, address := range t.PublicURLs {
		v.publicAddress("webhooks.twilio.public_urls", address)
	}
	for _, network := range t.TrustedProxies {
		if _, err := netip.ParsePrefix(network); err != nil {
			v.fail(
				"webhooks.twilio.trusted_proxies",
				"expected a network such as 10.0.0.0/8 or 192.0.2.7/32, found %s",
				shown(network),
			)
		}
	}
	if slices.Contains(t.Modes, "forward") {
		if t.ForwardURL == "" {
			v.required("webhooks.twilio.forward_url", " for the mode forward")
		} else {
			v.address("webhooks.twilio.forward_url", t.ForwardURL, "http", "https")
		}
	}
	s := t.Store
	if s.SidColumn == "" {
		v.fail("webhooks.twilio.store.sid_column", "expected a name, found nothing")
	}
	for path, mapping := range map[string][]string{
		"webhooks.twilio.store.columns": s.Columns, "webhooks.twilio.store.failure_columns": s.FailureColumns,
		"webhooks.twilio.store.conversation_find":   s.ConversationFind,
		"webhooks.twilio.store.conversation_create": s.ConversationCreate,
	} {
		for _, m := range mapping {
			if !mapped.MatchString(m) {
				v.fail(path, "expected column=text, column?=text or column:=json, found %s", shown(m))
			}
		}
	}
	for _, l := range s.Lookups {
		if !looked.MatchString(l) {
			v.fail("webhooks.twilio.store.lookups", "expected name = table.column where column=text, found %s", shown(l))
		}
	}
	for _, w := range s.Statuses {
		if status, _, _ := strings.Cut(w, "="); !worded.MatchString(w) || !slices.Contains(statuses, status) {
			v.fail(
				"webhooks.twilio.store.statuses",
				"expected a status of Twilio's and a word, as delivered=DELIVERED, found %s",
				shown(w),
			)
		}
	}
}

// publicAddress checks an address that Twilio was given; it may have a user and a fragment.
func (v *validator) publicAddress(path, address string) {
	if !regexp.MustCompile(`^https?://[^/?#\s]+[^?\s]*$`).MatchString(address) {
		v.fail(path, "expected an address such as https://hooks.example.com, without a query, found %s", shown(address))
	}
}

func (v *validator) publish() {
	p := v.c.Publish
	if p.Secret == "" {
		return
	}
	v.usable("publish.secret", p.Secret)
	v.route("publish.path", p.Path)
	v.route("publish.disconnect_path", p.DisconnectPath)
	if p.Path == p.DisconnectPath {
		v.fail("publish.disconnect_path", "expected another path than publish.path, found %s for both", shown(p.Path))
	}
}

// usable checks a secret of ours that others show or sign with.
func (v *validator) usable(path string, s Secret) {
	if len(s) < 16 || s == redacted {
		v.fail(path, "expected a secret of at least 16 bytes")
	}
}

func (v *validator) route(path, route string) {
	if expected := v.unroutable(route); expected != "" {
		v.fail(path, "%s, found %s", expected, shown(route))
	}
}

// unroutable says what was expected where no handler can be at a path.
func (v *validator) unroutable(path string) string {
	switch {
	case !strings.HasPrefix(path, "/"),
		strings.ContainsAny(path, "?#%{}\\ "),
		strings.Contains(path, "//"),
		strings.Contains(path, "/."),
		strings.HasSuffix(path, "/"):
		return "expected a path such as /webhooks/twilio, without a slash at its end"
	case path == "/healthz",
		path == "/readyz",
		slices.ContainsFunc(v.c.SocketIO.Paths, func(mount string) bool {
			return path == mount || strings.HasPrefix(path,
				mount+"/")
		}):
		return "expected a path that isn't taken"
	}
	return ""
}
