package config

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

var (
	credential = regexp.MustCompile(
		`^(?:auth(?:\.[A-Za-z0-9_-]+)+|(?:header|query)\.[A-Za-z0-9_-]+|cookie\.[A-Za-z0-9_.-]+|` + regexp.QuoteMeta(
			supabaseCookie,
		) + `|event)$`,
	)
	claimPath = regexp.MustCompile(`^[^.\s]+(?:\.[^.\s]+)*$`)
)

// supabaseCookie is the place of the session that Supabase's own libraries keep.
const supabaseCookie = "cookie.sb-*-auth-token"

// refusals are the reasons for which a browser is refused, as auth.refuse_messages names them.
var refusals = []string{"no_token", "token_expired", "unauthorized", "too_many_connections", "unavailable"}

func (v *validator) auth() {
	a := v.c.Auth
	v.listed("auth.credentials", a.Credentials, func(from string) (string, string) {
		if !credential.MatchString(from) {
			return "", "expected auth.NAME, header.NAME, query.NAME, cookie.NAME, " + supabaseCookie + " or event"
		}
		return from, ""
	})
	if at := slices.Index(a.Credentials, "event"); at >= 0 && at < len(a.Credentials)-1 {
		v.fail("auth.credentials", "expected event as the last, since it is waited for where nothing else is there")
	}
	cookies := slices.ContainsFunc(a.Credentials, func(from string) bool { return strings.HasPrefix(from, "cookie.") })
	if origins := v.c.SocketIO.CORS.Origins; cookies && (len(origins) == 0 || slices.Contains(origins, "*")) {
		v.fail(
			"socketio.cors.origins",
			"expected the origins by name, since auth.credentials has a cookie and any page could act as its visitor",
		)
	}
	v.claims("auth.tenant_claims", a.TenantClaims)
	for _, claim := range a.UserWrittenClaims {
		if !userWritten(claim) || !claimPath.MatchString(claim) {
			v.fail("auth.user_written_claims", "expected the path of a claim under user_metadata, found %s", shown(claim))
		}
	}
	if a.RefuseMessage == "" {
		v.fail("auth.refuse_message", "expected a text, found nothing")
	}
	if len(a.RefuseMessages) > 0 {
		v.listed("auth.refuse_messages", a.RefuseMessages, func(m string) (string, string) {
			code, text, _ := strings.Cut(m, "=")
			if !slices.Contains(refusals, code) || text == "" {
				return "", "expected a reason and a text, as token_expired=jwt expired, with a reason of " + strings.Join(
					refusals,
					", ",
				)
			}
			return code, ""
		})
	}
}

// rules checks who may enter one kind of room. No rule at all lets nobody in.
func (v *validator) rules(path string, room Room) {
	v.claims(path+".claims", room.Claims)
	if len(room.Rules) == 0 {
		return
	}
	v.listed(path+".rules", room.Rules, func(rule string) (string, string) { return rule, "" })
	for _, rule := range room.Rules {
		switch rule {
		case "claim":
			if len(room.Claims) == 0 && path == "rooms.conversation" {
				v.required(path+".claims", " for the rule claim")
			}
		case "tenant":
			if path != "rooms.conversation" {
				v.fail(path+".rules", "expected tenant in rooms.conversation.rules only")
			}
		case "membership":
			v.membership(path+".membership", room.Membership)
		case "callback":
			v.callback()
		}
	}
}

func (v *validator) membership(path string, m Membership) {
	for key, name := range map[string]string{"table": m.Table, "user": m.User, "room": m.Room} {
		if name == "" {
			v.required(path+"."+key, " for the rule membership")
		} else if expected := unusableName(name); expected != "" {
			v.fail(path+"."+key, "%s", expected)
		}
	}
	if m.User != "" && m.User == m.Room {
		v.fail(path+".room", "expected another column than %s.user, found %s for both", path, shown(m.Room))
	}
}

func (v *validator) callback() {
	const path = "rooms.authorization.callback"
	c := v.c.Rooms.Authorization.Callback
	if c.URL == "" {
		v.required(path+".url", " for the rule callback")
		return
	}
	v.address(path+".url", c.URL, "http", "https")
	v.usable(path+".secret", c.Secret)
}

// claims checks paths of claims that decide who may enter what.
func (v *validator) claims(path string, claims []string) {
	if len(claims) == 0 {
		return
	}
	v.listed(path, claims, func(claim string) (string, string) {
		switch {
		case !claimPath.MatchString(claim):
			return "", "expected the path of a claim such as app_metadata.tenant_id"
		case userWritten(claim) && !slices.Contains(v.c.Auth.UserWrittenClaims, claim):
			return "", "expected a claim that the user can't write, or its name in auth.user_written_claims too"
		}
		return claim, ""
	})
}

// unusableName says what was expected where a name can't be that of a table or column.
func unusableName(name string) string {
	switch {
	case len(name) > 63:
		return fmt.Sprintf("expected a name of at most 63 bytes, as Postgres has them, found one of %d", len(name))
	case strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || strings.ContainsRune(`"',()`, r) }):
		return "expected a name without quotes, commas, parentheses and control characters, found " + shown(name)
	}
	return ""
}

// userWritten tells whether a claim is one that users write themselves.
func userWritten(claim string) bool {
	return claim == "user_metadata" || strings.HasPrefix(claim, "user_metadata.")
}

// unwise returns what is allowed and better not done.
func (c *Config) unwise() []string {
	var warnings []string
	for _, claim := range c.Auth.UserWrittenClaims {
		warnings = append(
			warnings,
			"auth.user_written_claims: "+claim+" can be written by the user, who can so make himself a member of anything that it decides on",
		)
	}
	for _, origin := range c.SocketIO.CORS.Origins {
		if u, err := url.Parse(origin); c.Auth.InsecureDev && (err != nil || !isLocalName(u.Hostname())) {
			warnings = append(
				warnings,
				"socketio.cors.origins: "+origin+" may not connect while auth.insecure_dev is on, which is for pages of this machine only",
			)
		}
	}
	return warnings
}
