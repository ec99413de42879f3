package config

import (
	"encoding/base64"
	"encoding/json"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// Validate checks what a single value can't show: what is required, what must
// agree with what, addresses and names. Of a Config that Load returned it is true
// already; for one made by hand it also checks bounds and enums. It returns nil or Errors.
func (c *Config) Validate() error { return c.validate().orNil() }

func (c *Config) validate() Errors {
	v := &validator{c: c}
	v.bounds()
	v.network()
	v.supabase()
	v.tables()
	v.rooms()
	v.vocabulary()
	v.socketio()
	v.auth()
	v.limits()
	v.domain()
	v.webhooks()
	v.publish()
	v.cluster()
	v.look()
	return v.errs
}

// validator collects what is wrong with c.
type validator struct {
	c    *Config
	errs Errors
}

func (v *validator) fail(path, format string, args ...any) {
	v.errs.add(v.c.origins[path], path, format, args...)
}

// required fails with the ways the key can be set.
func (v *validator) required(path, reason string) {
	ways := append([]string{variablePrefix + strings.ToUpper(strings.ReplaceAll(path, ".", "_"))}, wellKnown[path]...)
	v.fail(path, "required%s; set it in the file or in the environment as %s", reason, strings.Join(ways, ", "))
}

func shown(value string) string {
	if s := (&key{}).shown(value); s != "" {
		return s
	}
	return "something that looks like a secret"
}

// bounds checks every leaf against its own tags.
func (v *validator) bounds() {
	for k := range root().leaves() {
		value := k.in(v.c)
		switch k.kind {
		case number, duration, size:
			if !k.admits(value.Int()) {
				v.fail(k.path, "%s", k.mismatch(k.bound(value.Int())))
			}
		case text:
			if k.enum != nil && !slices.Contains(k.enum, value.String()) {
				v.fail(k.path, "%s", k.mismatch(value.String()))
			}
		case list:
			if _, m := k.parseList(value.Interface().([]string)); m != nil {
				v.fail(k.path, "%s", m)
			}
		}
	}
}

func (v *validator) network() {
	if host, port, err := net.SplitHostPort(v.c.Listen); err != nil || strings.ContainsAny(host, " /") {
		hint := ""
		if _, err := strconv.ParseUint(v.c.Listen, 10, 16); err == nil {
			hint = ` (write ":` + v.c.Listen + `")`
		}
		v.fail("listen", `expected host:port such as ":3001" or "127.0.0.1:3001", found %s%s`, shown(v.c.Listen), hint)
	} else if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		v.fail("listen", "expected a port number from 0 to 65535, found %s", shown(port))
	} else if v.c.Auth.InsecureDev && !isLoopback(host) {
		v.fail("listen", `expected an address of this machine alone, such as "127.0.0.1:%s", since auth.insecure_dev lets in anybody who reaches it, found %s`,
			port, shown(v.c.Listen))
	}
	switch tls := v.c.TLS; {
	case tls.CertFile != "" && tls.KeyFile == "":
		v.fail("tls.key_file", "required beside tls.cert_file")
	case tls.CertFile == "" && tls.KeyFile != "":
		v.fail("tls.cert_file", "required beside tls.key_file")
	}
	v.acme()
}

// isLocalName reports whether the host of an address is always the machine that asks.
func isLocalName(host string) bool {
	return isLoopback(host) || strings.HasSuffix(strings.ToLower(host), ".localhost")
}

// isLoopback reports whether only this machine reaches what listens on a host.
func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && ip.IsLoopback()
}

func (v *validator) acme() {
	acme := v.c.TLS.ACME
	if len(acme.Domains) == 0 {
		return
	}
	v.listed("tls.acme.domains", acme.Domains, func(name string) (string, string) {
		if !strings.Contains(name, ".") || strings.ContainsAny(name, ":/*@ ") {
			return "", "expected the name of a host such as realtime.example.com"
		}
		return strings.ToLower(name), ""
	})
	if acme.Cache == "" {
		v.fail("tls.acme.cache", "required with tls.acme.domains")
	}
	if acme.Directory != "" {
		v.address("tls.acme.directory", acme.Directory, "https")
	}
}

func (v *validator) supabase() {
	s := &v.c.Supabase
	if s.URL == "" {
		v.required("supabase.url", "")
	} else if v.address("supabase.url", s.URL, "http", "https") {
		for _, part := range []string{"/rest/v1", "/realtime/v1", "/auth/v1"} {
			if strings.Contains(s.URL, part) {
				v.fail("supabase.url", "expected the address of the project, found %s (leave off %s and what follows)", shown(s.URL), part)
			}
		}
	}
	// What was derived from supabase.url is as good as that.
	if s.RealtimeURL != "" && v.c.Origin("supabase.realtime_url").Kind != Derived {
		v.address("supabase.realtime_url", s.RealtimeURL, "ws", "wss")
	}
	if s.JWKSURL != "" && v.c.Origin("supabase.jwks_url").Kind != Derived {
		v.address("supabase.jwks_url", s.JWKSURL, "http", "https")
	}
	if v.credential("supabase.service_role_key", s.ServiceRoleKey, "") && keyRole(s.ServiceRoleKey) == "anon" {
		v.fail("supabase.service_role_key", "expected the service_role or an sb_secret_ key, found the public one")
	}
	if v.c.Auth.InsecureDev && s.AnonKey == "" {
		// Nobody's rights are asked for then.
	} else if v.credential("supabase.anon_key", s.AnonKey, " unless auth.insecure_dev is on") &&
		keyRole(s.AnonKey) == "service_role" {
		v.fail("supabase.anon_key", "expected the anon or an sb_publishable_ key, found the secret one")
	}
	if s.JWTSecret == redacted {
		v.fail("supabase.jwt_secret", "expected a secret, found what stands in its place when a configuration is printed")
	}
	if s.Schema == "" {
		v.fail("supabase.schema", "expected the name of a schema, such as public")
	}
	if s.Reconnect.Min > s.Reconnect.Max {
		v.fail("supabase.reconnect.min", "expected at most supabase.reconnect.max, which is %s, found %s",
			formatDuration(s.Reconnect.Max), formatDuration(s.Reconnect.Min))
	}
	if s.Polling.Min > s.Polling.Max {
		v.fail("supabase.polling.min", "expected at most supabase.polling.max, which is %s, found %s",
			formatDuration(s.Polling.Max), formatDuration(s.Polling.Min))
	}
}

// address reports whether the value is an absolute URL of one of the schemes
// and nothing that doesn't belong there.
func (v *validator) address(path, value string, schemes ...string) bool {
	u, err := url.Parse(value)
	if err != nil || u.Hostname() == "" || !slices.Contains(schemes, u.Scheme) {
		v.fail(path, "expected an address that begins with %s://, found %s", strings.Join(schemes, ":// or "), shown(value))
		return false
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		v.fail(path, "expected an address without user, query and fragment")
		return false
	}
	return true
}

// credential reports whether there is a key that can be sent in a header.
func (v *validator) credential(path string, s Secret, reason string) bool {
	if s == "" {
		v.required(path, reason)
		return false
	}
	if s == redacted {
		v.fail(path, "expected a key, found what stands in its place when a configuration is printed")
		return false
	}
	if strings.ContainsFunc(s.Reveal(), func(r rune) bool { return r <= ' ' || r > '~' }) {
		v.fail(path, "expected a key without spaces, line ends and letters beyond ASCII")
		return false
	}
	return true
}

// keyRole tells the role of an API key, as far as it shows: anon, service_role or "".
func keyRole(s Secret) string {
	switch value := s.Reveal(); {
	case strings.HasPrefix(value, "sb_publishable_"):
		return "anon"
	case strings.HasPrefix(value, "sb_secret_"):
		return "service_role"
	default:
		parts := strings.Split(value, ".")
		if len(parts) != 3 {
			return ""
		}
		payload, err := base64.RawURLEncoding.DecodeString(parts[1])
		if err != nil {
			return ""
		}
		var claims struct {
			Role string `json:"role"`
		}
		if json.Unmarshal(payload, &claims) != nil {
			return ""
		}
		return claims.Role
	}
}

func (v *validator) tables() {
	optional := []string{
		"tables.messages.status", "tables.messages.created", "tables.messages.updated", "tables.messages.tenant",
		"tables.messages.sender", "tables.conversations.created", "tables.conversations.updated",
		"tables.notifications.name", "tables.notifications.user", "tables.notifications.conversation",
		"tables.notifications.tenant",
		"tables.notifications.created", "tables.notifications.updated",
	}
	for k := range root().child("tables").leaves() {
		name := k.in(v.c).String()
		switch {
		case name == "" && !slices.Contains(optional, k.path):
			v.fail(k.path, "expected a name, found nothing")
		case unusableName(name) != "":
			v.fail(k.path, "%s", unusableName(name))
		}
	}
}

func (v *validator) rooms() {
	rooms := v.c.Rooms
	conversation, tenant := rooms.Conversation.Name, rooms.Tenant.Name
	for path, name := range map[string]string{"rooms.conversation.name": conversation, "rooms.tenant.name": tenant} {
		if strings.Count(name, "{id}") != 1 || strings.ContainsAny(strings.Replace(name, "{id}", "", 1), "{}") {
			v.fail(path, "expected a name with {id} in it once and no other braces, found %s", shown(name))
		}
	}
	if conversation == tenant {
		v.fail(
			"rooms.tenant.name",
			"expected another name than that of rooms.conversation.name, found %s for both",
			shown(tenant),
		)
	}
	v.rules("rooms.conversation", rooms.Conversation)
	v.rules("rooms.tenant", rooms.Tenant)
}

// reservedEvents are what Socket.IO's own events are called, at one end or the other.
var reservedEvents = []string{
	"connect",
	"connect_error",
	"disconnect",
	"disconnecting",
	"newListener",
	"removeListener",
}

var noun = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]*(?:[_-][A-Za-z0-9]+)*$`)

func (v *validator) vocabulary() {
	words := v.c.Vocabulary
	for path, word := range map[string]string{
		"vocabulary.conversation_noun": words.ConversationNoun,
		"vocabulary.tenant_noun":       words.TenantNoun,
	} {
		if !noun.MatchString(word) || len(word) > 64 {
			v.fail(path, "expected a word of letters and digits such as conversation, found %s", shown(word))
		}
	}
	if words.ConversationNoun == words.TenantNoun {
		v.fail(
			"vocabulary.tenant_noun",
			"expected another word than vocabulary.conversation_noun, found %s for both",
			shown(words.TenantNoun),
		)
	}
	for path, event := range map[string]string{
		"vocabulary.status_event": words.StatusEvent,
		"vocabulary.resync_event": words.ResyncEvent,
	} {
		if slices.Contains(reservedEvents, event) {
			v.fail(path, "expected a name that Socket.IO doesn't use itself, found %s", shown(event))
		}
	}
	if words.StatusEvent != "" && words.StatusEvent == words.ResyncEvent {
		v.fail(
			"vocabulary.resync_event",
			"expected another name than vocabulary.status_event, found %s for both",
			shown(words.ResyncEvent),
		)
	}
}

func (v *validator) socketio() {
	io := v.c.SocketIO
	v.listed("socketio.paths", io.Paths, func(path string) (string, string) {
		switch trimmed := strings.TrimRight(path, "/"); {
		case !strings.HasPrefix(path, "/"),
			strings.ContainsAny(path, "?#%{}\\ "),
			strings.Contains(path, "//"),
			strings.Contains(path, "/."):
			return "", "expected a path such as /socket.io"
		case trimmed == "", trimmed == "/healthz", trimmed == "/readyz":
			return "", "expected a path that isn't taken"
		default:
			return trimmed, ""
		}
	})
	v.listed("socketio.namespaces", io.Namespaces, func(name string) (string, string) {
		if !strings.HasPrefix(name, "/") || strings.ContainsAny(name, ",?# \"") {
			return "", "expected a namespace such as / or /chat"
		}
		return name, ""
	})
	v.listed("socketio.transports", io.Transports, func(name string) (string, string) { return name, "" })
	if len(io.CORS.Origins) > 0 {
		v.listed("socketio.cors.origins", io.CORS.Origins, checkOrigin)
	}
}

func checkOrigin(origin string) (string, string) {
	if origin == "*" {
		return origin, ""
	}
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" || u.Scheme+"://"+u.Host != origin || strings.Contains(u.Host, "*") {
		return "", `expected an origin such as https://app.example.com, without a path, or "*"`
	}
	if strings.ContainsFunc(origin, func(r rune) bool { return r > unicode.MaxASCII }) {
		return "", "expected the name as browsers send it, such as https://xn--mnchen-3ya.example"
	}
	return origin, ""
}

// listed checks a list that must not be empty nor hold a member twice. check
// returns what must be unique, and what was expected if the member is no good.
func (v *validator) listed(path string, members []string, check func(string) (string, string)) {
	if len(members) == 0 {
		v.fail(path, "expected at least one")
	}
	seen := make(map[string]bool)
	for _, m := range members {
		same, expected := check(m)
		switch {
		case expected != "":
			v.fail(path, "%s, found %s", expected, shown(m))
		case seen[same]:
			v.fail(path, "holds %s twice", shown(m))
		}
		seen[same] = true
	}
}
