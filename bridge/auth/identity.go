// Package auth is about who a socket belongs to.
package auth

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Identity is who a socket belongs to. It is what a Supabase token says and never what a payload
// says, except that under auth.insecure_dev a socket without a token is whom its payload names
// (Verified false).
type Identity struct {
	UserID string
	// Name is for display only: user_metadata, which users write themselves, may give it.
	Name string
	Role string
	// Tenant is what the configured claims name; empty where they name none.
	Tenant   string
	Token    string
	Expires  time.Time
	Leeway   time.Duration // by which the token was verified; see Ends
	Verified bool
	// Pending: the client is connected and has yet to say who it is, by an event (auth.credentials).
	Pending bool
}

// ServiceRole is the role of the project's own key: it passes Row Level Security everywhere.
const ServiceRole = "service_role"

// Ends is the instant from which on the token is refused, and at which a connection by it ends: its
// expiry and auth.leeway. It is zero for a token without an end.
func (who *Identity) Ends() time.Time {
	if who.Expires.IsZero() {
		return who.Expires
	}
	return who.Expires.Add(who.Leeway)
}

// Claims reads the token, which was verified, once more: it is needed too seldom to be kept. nil
// without a verified one.
func (who *Identity) Claims() map[string]any {
	parts := strings.Split(who.Token, ".")
	if !who.Verified || len(parts) != 3 {
		return nil
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return nil
	}
	var claims map[string]any
	decoder := json.NewDecoder(strings.NewReader(string(text)))
	decoder.UseNumber() // an id may have more digits than a float
	if decoder.Decode(&claims) != nil {
		return nil
	}
	return claims
}

// claimAt follows a dotted path; nil where it leads nowhere.
func claimAt(claims map[string]any, path string) any {
	var at any = claims
	for step := range strings.SplitSeq(path, ".") {
		object, ok := asObject(at)
		if !ok {
			return nil
		}
		at = object[step]
	}
	return at
}

// ClaimText gives the string or number at a path.
func ClaimText(claims map[string]any, path string) string {
	return scalarText(claimAt(claims, path))
}

// ClaimTexts gives the string or number at a path, or those in the list that is there.
func ClaimTexts(claims map[string]any, path string) []string {
	at := claimAt(claims, path)
	members, ok := at.([]any)
	if !ok {
		members = []any{at}
	}
	var texts []string
	for _, member := range members {
		if text := scalarText(member); text != "" {
			texts = append(texts, text)
		}
	}
	return texts
}

func scalarText(value any) string {
	switch value := value.(type) {
	case string:
		return value
	case json.Number:
		return value.String()
	}
	return ""
}

func asObject(value any) (map[string]any, bool) {
	switch o := value.(type) {
	case map[string]any:
		return o, true
	case jwt.MapClaims:
		return o, true
	}
	return nil, false
}
