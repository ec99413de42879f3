package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/supabridge/supabridge/config"
)

// projectKey is one of the two keys a project is spoken to with.
type projectKey struct {
	name     string // of the configuration
	role     string // it must have
	value    config.Secret
	variable string
}

func (p *patient) projectKeys() []projectKey {
	s := p.cfg.Supabase
	keys := []projectKey{{"supabase.service_role_key", "service_role", s.ServiceRoleKey, "SUPABASE_SERVICE_ROLE_KEY"}}
	if s.AnonKey != "" {
		keys = append(keys, projectKey{"supabase.anon_key", "anon", s.AnonKey, "SUPABASE_ANON_KEY"})
	}
	return keys
}

// keys finds out whether the keys are this project's, and what they are good for.
func (p *patient) keys(ctx context.Context) bool {
	good := true
	for _, k := range p.projectKeys() {
		good = p.key(ctx, k) && good
	}
	return good
}

func (p *patient) key(ctx context.Context, k projectKey) bool {
	fail := func(format string, args ...any) bool {
		p.add(Finding{Check: "key", About: k.name, Level: Fail, Text: fmt.Sprintf(format, args...),
			Fix: k.variable + "=# the " + k.role + " key of this project: dashboard, Project Settings, API Keys"})
		return false
	}
	claims := jwt.MapClaims{}
	if _, _, err := jwt.NewParser(jwt.WithJSONNumber()).ParseUnverified(k.value.Reveal(), claims); err == nil {
		if role, _ := claims["role"].(string); role != k.role {
			return fail("it is of the role %q, not %s", role, k.role)
		}
		if end, err := claims.GetExpirationTime(); err == nil && end != nil && time.Now().After(end.Time) {
			return fail("it expired %s", end.UTC().Format(time.DateOnly))
		}
		if ref, _ := claims["ref"].(string); ref != "" && strings.HasSuffix(p.cfg.Supabase.URL, ".supabase.co") &&
			!strings.Contains(p.cfg.Supabase.URL, "//"+ref+".") {
			return fail("it is of the project %s, and supabase.url is %s", ref, p.cfg.Supabase.URL)
		}
	}
	got, err := p.rest(ctx, k, p.cfg.Tables.Messages.Name+"?limit=0")
	switch {
	case err != nil:
		return fail("it could not be tried: %v", err)
	case got.status == http.StatusUnauthorized && got.code() != "42501":
		return fail("the project refuses it: %s", got.message())
	}
	p.good("key", k.name, "the project takes it")
	return true
}

// rest asks the REST API with a key.
func (p *patient) rest(ctx context.Context, k projectKey, path string) (answer, error) {
	return p.http.ask(
		ctx,
		http.MethodGet,
		p.cfg.Supabase.URL+"/rest/v1/"+path,
		"",
		"apikey",
		k.value.Reveal(),
		"Authorization",
		"Bearer "+k.value.Reveal(),
		"Accept-Profile",
		p.cfg.Supabase.Schema,
	)
}

// service asks it as the bridge does.
func (p *patient) service(ctx context.Context, path string) (answer, error) {
	return p.rest(ctx, p.projectKeys()[0], path)
}

// problem is PostgREST's form of an error.
type problem struct{ Code, Message, Hint string }

func (a answer) problem() problem {
	var e problem
	_ = json.Unmarshal(a.body, &e) // the gateway may have answered in another form
	return e
}

func (a answer) code() string { return a.problem().Code }

func (a answer) message() string {
	if e := a.problem(); e.Message != "" {
		return e.Message
	}
	return http.StatusText(a.status)
}

// signing finds out whether the tokens of users can be verified.
func (p *patient) signing(ctx context.Context) {
	s := p.cfg.Supabase
	secret := s.JWTSecret.Reveal()
	if secret != "" {
		for _, k := range p.projectKeys() {
			_, err := jwt.NewParser(jwt.WithValidMethods([]string{"HS256"}), jwt.WithoutClaimsValidation()).
				Parse(k.value.Reveal(), func(*jwt.Token) (any, error) { return []byte(secret), nil })
			switch {
			case err == nil:
				p.good("jwt_secret", "", "it signed %s", k.name)
				return
			case strings.Contains(err.Error(), "signature is invalid") && strings.Count(k.value.Reveal(), ".") == 2:
				p.add(
					Finding{
						Check: "jwt_secret",
						Level: Fail,
						Text:  "it did not sign " + k.name + ", which the project takes: the tokens of users will be refused",
						Fix:   "SUPABASE_JWT_SECRET=# dashboard, Project Settings, JWT Keys, legacy JWT secret",
					},
				)
				return
			}
		}
	}
	if secret != "" {
		p.add(
			Finding{
				Check: "jwt_secret",
				Level: Unknown,
				Text:  "nothing here is signed by it, so it can't be tried",
				Look:  "# sign in, and decode the head of the token: alg must be HS256",
			},
		)
	}
	if s.JWKSURL != "" {
		p.jwks(ctx, secret != "")
	}
}

// jwks looks at the published keys; beside a secret there need be none.
func (p *patient) jwks(ctx context.Context, secret bool) {
	address := p.cfg.Supabase.JWKSURL
	got, err := p.http.ask(ctx, http.MethodGet, address, "")
	var set struct{ Keys []struct{ Alg, Kid string } }
	if err == nil && got.status != http.StatusOK {
		err = fmt.Errorf("it answers %d %s", got.status, got.message())
	}
	if err == nil {
		err = json.Unmarshal(got.body, &set)
	}
	usable := 0
	for _, k := range set.Keys {
		if k.Alg == "ES256" || k.Alg == "RS256" {
			usable++
		}
	}
	const fix = "SUPABASE_JWT_SECRET=# for a project that signs with the legacy secret; or rotate to asymmetric keys: dashboard, Project Settings, JWT Keys"
	switch {
	case err != nil && secret:
		p.add(
			Finding{
				Check: "jwks",
				About: address,
				Level: Hint,
				Text:  "no keys are published, so only tokens that the secret signed can be verified: " + err.Error(),
			},
		)
	case err != nil:
		p.add(Finding{Check: "jwks", About: address, Level: Fail, Text: "the keys can't be read: " + err.Error(), Fix: fix})
	case usable == 0 && !secret:
		p.add(
			Finding{
				Check: "jwks",
				About: address,
				Level: Fail,
				Text:  "the project publishes no ES256 or RS256 key, and there is no supabase.jwt_secret: no user's token can be verified",
				Fix:   fix,
			},
		)
	case usable > 0:
		p.good("jwks", address, "%d keys", usable)
	}
}
