package standin

import (
	"crypto/hmac"
	"encoding/json"
	"maps"
	"net/http"
	"strings"
	"time"

	"github.com/supabridge/supabridge/bridge/standin/sql"
)

// User is someone of the seed who can sign in.
type User struct {
	ID    string
	Email string
	Name  string
	// Tenant is the value of the claim that the seed's auth.tenant names, empty without one.
	Tenant string
	// TenantName is what the tenant is called in the seed's table of tenants, empty if it isn't there.
	TenantName string
}

// Users lists the users of the seed in its order, their tenants by their present names.
func (s *Server) Users() []User {
	users := make([]User, len(s.seed.users))
	for i, u := range s.seed.users {
		users[i] = User{ID: u.id, Email: u.email, Name: u.name}
		users[i].Tenant, _ = sql.ClaimText(u.claims(), s.seed.tenant.claim)
		users[i].TenantName = s.tenantName(users[i].Tenant)
	}
	return users
}

// tenantName looks a tenant up by the primary key of the table of tenants.
func (s *Server) tenantName(id string) string {
	name, _ := s.db.Text(s.seed.tenant.table, id, s.seed.tenant.label)
	return name
}

// claims are those a user's token carries beside the registered ones.
func (u *seedUser) claims() map[string]any {
	user := map[string]any{"name": u.name}
	maps.Copy(user, u.user)
	app := map[string]any{"provider": "email", "providers": []any{"email"}}
	maps.Copy(app, u.app)
	return map[string]any{"aud": sql.RoleAuthenticated, "email": u.email, "app_metadata": app, "user_metadata": user}
}

// UserToken mints an access token for a user of the seed, valid for Options.TokenTTL. An unknown id
// is an error with code user_not_found.
func (s *Server) UserToken(id string) (string, error) {
	for i := range s.seed.users {
		if u := &s.seed.users[i]; u.id == id {
			return s.tokens.Mint(sql.RoleAuthenticated, u.id, u.claims(), s.now(), s.tokenTTL)
		}
	}
	return "", &sql.Error{Code: "user_not_found", Message: "there is no user " + sql.Quote(id)}
}

// authUser is a user as the auth service describes them.
func (u *seedUser) document() map[string]any {
	c := u.claims()
	return map[string]any{"id": u.id, "aud": sql.RoleAuthenticated, "role": sql.RoleAuthenticated, "email": u.email,
		"app_metadata": c["app_metadata"], "user_metadata": c["user_metadata"], "identities": []any{}}
}

// authError is the auth service's form of error.
type authError struct {
	Code    int    `json:"code"`
	Error   string `json:"error_code"`
	Message string `json:"msg"`
}

func refuseAuth(w http.ResponseWriter, r *http.Request, status int, code, message string) {
	writeJSON(w, r, status, authError{status, code, message})
}

// serveUser answers GET /auth/v1/user with the bearer's user; one whom the seed doesn't know is
// described by their token.
func (s *Server) serveUser(w http.ResponseWriter, r *http.Request, claims Claims, _ []byte) {
	if claims.Subject == "" {
		refuseAuth(w, r, http.StatusForbidden, "bad_jwt", "invalid claim: missing sub claim")
		return
	}
	for i := range s.seed.users {
		if u := &s.seed.users[i]; u.id == claims.Subject {
			writeJSON(w, r, http.StatusOK, u.document())
			return
		}
	}
	writeJSON(
		w,
		r,
		http.StatusOK,
		map[string]any{"id": claims.Subject, "aud": claims.Raw["aud"], "role": claims.Role, "email": claims.Raw["email"],
			"app_metadata": claims.Raw["app_metadata"], "user_metadata": claims.Raw["user_metadata"], "identities": []any{}},
	)
}

// serveToken answers POST /auth/v1/token for the grants password and refresh_token.
func (s *Server) serveToken(w http.ResponseWriter, r *http.Request, _ Claims, body []byte) {
	var asked struct {
		Email        string `json:"email"`
		Password     string `json:"password"`
		RefreshToken string `json:"refresh_token"`
	}
	if json.Unmarshal(body, &asked) != nil {
		refuseAuth(w, r, http.StatusBadRequest, "bad_json", "Could not parse request body as JSON")
		return
	}
	var user *seedUser
	switch r.URL.Query().Get("grant_type") {
	case "password":
		for i := range s.seed.users {
			u := &s.seed.users[i]
			if u.password != "" && strings.EqualFold(u.email, asked.Email) &&
				hmac.Equal([]byte(u.password), []byte(asked.Password)) {
				user = u
			}
		}
		if user == nil {
			refuseAuth(w, r, http.StatusBadRequest, "invalid_credentials", "Invalid login credentials")
			return
		}
	case "refresh_token":
		for i := range s.seed.users {
			if u := &s.seed.users[i]; hmac.Equal([]byte(s.tokens.RefreshToken(u.id)), []byte(asked.RefreshToken)) {
				user = u
			}
		}
		if user == nil {
			refuseAuth(w, r, http.StatusBadRequest, "refresh_token_not_found", "Invalid Refresh Token: Refresh Token Not Found")
			return
		}
	default:
		refuseAuth(w, r, http.StatusBadRequest, "unsupported_grant_type", "unsupported_grant_type")
		return
	}
	token, err := s.UserToken(user.id)
	if err != nil {
		refuseAuth(w, r, http.StatusInternalServerError, "unexpected_failure", "the token can't be signed")
		return
	}
	writeJSON(w, r, http.StatusOK, map[string]any{
		"access_token": token, "token_type": "bearer", "expires_in": int64(s.tokenTTL / time.Second),
		"expires_at":    s.now().Add(s.tokenTTL).Unix(),
		"refresh_token": s.tokens.RefreshToken(user.id), "user": user.document(),
	})
}

// refuseBearer is the auth service's answer to a token it doesn't take.
func refuseBearer(w http.ResponseWriter, r *http.Request, err error) {
	refuseAuth(w, r, http.StatusForbidden, "bad_jwt", "invalid JWT: "+err.Error())
}
