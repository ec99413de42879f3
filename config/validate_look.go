package config

import (
	"slices"
	"strings"
)

// look checks what lets people look into a running daemon.
func (v *validator) look() {
	if a := v.c.SocketIO.Admin; a.Username != "" {
		v.usable("socketio.admin.password_hash", a.PasswordHash)
		if hash := a.PasswordHash.Reveal(); hash != "" && !strings.HasPrefix(hash, "$2") {
			v.fail(
				"socketio.admin.password_hash",
				"expected a hash of bcrypt, which begins with $2, as from: htpasswd -nbBC 10 \"\" PASSWORD | tr -d ':'",
			)
		}
		if slices.Contains(v.c.SocketIO.Namespaces, "/admin") {
			v.fail("socketio.namespaces", "/admin is taken by socketio.admin")
		}
	}
	if t := v.c.Ops.Traces; t.URL != "" {
		v.address("ops.traces.url", t.URL, "http", "https")
	}
}
