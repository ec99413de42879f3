package record

import (
	"encoding/base64"
	"encoding/json"
	"regexp"
	"slices"
	"strings"

	"github.com/supabridge/supabridge/bridge/row"
)

// supabaseCookie matches the session cookie of Supabase's own libraries, whole or a chunk of it,
// and anyCookie is how the configuration names it.
var supabaseCookie = regexp.MustCompile(`^sb-[a-z0-9-]+-auth-token(\.\d+)?$`)

const anyCookie = "cookie.sb-*-auth-token"

// tokenNames are fields that hold a token whatever it looks like.
var tokenNames = []string{
	"token",
	"accesstoken",
	"access_token",
	"jwt",
	"authtoken",
	"auth_token",
	"authorization",
	"idtoken",
	"id_token",
}

// credential notes a place that holds a token. r.mu is held.
func (r *Recorder) credential(place, value string) {
	where, name, _ := strings.Cut(place, ".")
	if where == "cookie" && supabaseCookie.MatchString(name) {
		add(&r.tokens, anyCookie)
		return
	}
	claims, isToken := claimsOf(value)
	last := strings.ToLower(place[strings.LastIndexByte(place, '.')+1:])
	if !isToken && (where == "cookie" || value == "" || !slices.Contains(tokenNames, last)) {
		return
	}
	add(&r.tokens, place)
	r.learnClaims(claims)
}

// claimsOf reads the claims of what looks like a JWT. Nobody's signature is checked: nothing is
// decided by it.
func claimsOf(value string) (row.Row, bool) {
	parts := strings.Split(strings.TrimPrefix(value, "Bearer "), ".")
	if len(parts) != 3 {
		return row.Row{}, false
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return row.Row{}, false
	}
	claims, err := row.Parse(text)
	return claims, err == nil
}

// learnClaims notes the user and tenant that a token names.
func (r *Recorder) learnClaims(claims row.Row) {
	if user := claims.Text("sub"); user != "" && len(r.users) < maxKnown {
		name := ""
		if meta, err := row.Parse(claims.Get("user_metadata")); err == nil {
			name = meta.Text("full_name") + meta.Text("name")
		}
		r.users[user] = name
	}
	if meta, err := row.Parse(claims.Get("app_metadata")); err == nil {
		for _, c := range meta.Columns {
			if strings.HasSuffix(c.Name, "_id") && len(r.tenants) < maxKnown {
				r.tenants[row.Text(c.Value)] = true
			}
		}
	}
}

// auth notes what a frontend connects with.
func (r *Recorder) auth(payload json.RawMessage) {
	object, err := row.Parse(payload)
	if err != nil {
		return
	}
	for _, c := range object.Columns {
		r.credential("auth."+c.Name, row.Text(c.Value))
		if inner, err := row.Parse(c.Value); err == nil {
			for _, field := range inner.Columns {
				r.credential("auth."+c.Name+"."+field.Name, row.Text(field.Value))
			}
		}
	}
	r.learnUsers(payload)
}

// learnUsers notes the user and tenant ids that an object names as such.
func (r *Recorder) learnUsers(raw json.RawMessage) {
	object, err := row.Parse(raw)
	if err != nil {
		return
	}
	for _, c := range object.Columns {
		value := row.Text(c.Value)
		switch words := words(c.Name); {
		case value == "" || len(value) > 256 || !has(words, "id"):
		case has(words, "user") && len(r.users) < maxKnown:
			if _, known := r.users[value]; !known {
				r.users[value] = object.Text("userName") + object.Text("user_name")
			}
		case has(words, tenantWords...) && len(r.tenants) < maxKnown:
			r.tenants[value] = true
		}
	}
}

// words takes a name apart: at what is no letter or digit, and at capitals.
func words(name string) []string {
	var list []string
	var word strings.Builder
	end := func() {
		if word.Len() > 0 {
			list = append(list, strings.ToLower(word.String()))
			word.Reset()
		}
	}
	small := false
	for _, c := range name {
		letter := c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c > 127
		capital := c >= 'A' && c <= 'Z'
		if !letter && !capital || capital && small {
			end()
		}
		if letter || capital {
			word.WriteRune(c)
		}
		small = letter
	}
	end()
	return list
}

// has tells whether any of some words is among others.
func has(list []string, any ...string) bool {
	return slices.ContainsFunc(any, func(word string) bool { return slices.Contains(list, word) })
}

// formOf says what arguments look like, without their values: `{id: text, on: boolean}, number`.
func formOf(args []json.RawMessage) string {
	forms := make([]string, len(args))
	for i, arg := range args {
		forms[i] = form(arg, 0)
	}
	return strings.Join(forms, ", ")
}

// maxDepth and maxFields bound a form.
const (
	maxDepth  = 4
	maxFields = 60
)

func form(raw json.RawMessage, depth int) string {
	if len(raw) == 0 {
		return "nothing"
	}
	switch raw[0] {
	case '"':
		return "text"
	case 't', 'f':
		return "boolean"
	case 'n':
		return "null"
	case '[':
		var items []json.RawMessage
		if json.Unmarshal(raw, &items) != nil || len(items) == 0 || depth >= maxDepth {
			return "list"
		}
		return "list of " + form(items[0], depth+1)
	case '{':
		object, err := row.Parse(raw)
		if err != nil || depth >= maxDepth {
			return "object"
		}
		var fields []string
		for _, c := range object.Columns[:min(len(object.Columns), maxFields)] {
			fields = append(fields, c.Name+": "+form(c.Value, depth+1))
		}
		return "{" + strings.Join(fields, ", ") + "}"
	}
	return "number"
}
