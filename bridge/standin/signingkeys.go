package standin

import "net/http"

// RotateKeys makes a new signing key, publishes it and signs users' tokens with it from now on, as
// "Rotate keys" does in Supabase's dashboard. Tokens of the keys before stay good, as they do
// there, until RevokeKeys. The project's own keys stay signed with its secret. It returns the new
// key's id.
func (s *Server) RotateKeys() (kid string, err error) { return s.tokens.RotateKeys() }

// RevokeKeys takes back every signing key but the one in use.
func (s *Server) RevokeKeys() { s.tokens.RevokeKeys() }

// serveKeys answers /auth/v1/.well-known/jwks.json.
func (s *Server) serveKeys(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, r, http.StatusOK, map[string]any{"keys": s.tokens.PublishedKeys()})
}

// rotateKeys answers POST /admin/keys, which rotates; with ?revoke=true the keys before are taken
// back at once.
func (s *Server) rotateKeys(w http.ResponseWriter, r *http.Request) {
	kid, err := s.RotateKeys()
	if err != nil {
		answerFault(w, http.StatusInternalServerError, map[string]any{"error": err.Error()})
		return
	}
	if r.URL.Query().Get("revoke") == "true" {
		s.RevokeKeys()
	}
	answerFault(w, http.StatusOK, map[string]any{"kid": kid})
}
