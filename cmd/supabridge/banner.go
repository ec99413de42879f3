package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/supabridge/supabridge/bridge/standin"
	"github.com/supabridge/supabridge/internal/sample"
)

// printBanner says where everything is and what to do next. The keys and
// tokens in it are good for the stand-in alone.
func printBanner(w io.Writer, p *project, n *node, users []sample.User, path string) error {
	var b strings.Builder
	fmt.Fprintf(&b, `
  Sample inbox   %s  (open it in two windows, as two people)
  Socket.IO      %s%s
  Supabase       %s  (in memory, made up, gone when this stops)

  A frontend of your own, in its .env.local:
    NEXT_PUBLIC_SOCKET_URL=%s
    NEXT_PUBLIC_SUPABASE_URL=%s
    NEXT_PUBLIC_SUPABASE_ANON_KEY=%s
  The service key: %s
  The JWT secret:  %s

`, n.url, n.url, path, p.url, n.url, p.url, p.server.AnonKey(), p.server.ServiceKey(), standin.DefaultJWTSecret)
	seen := make(map[string]bool)
	for _, u := range users {
		if !seen[u.Tenant] { // one of each is enough to try with
			seen[u.Tenant] = true
			fmt.Fprintf(&b, "  Token of %s of %s, for io(url, { auth: { token } }):\n    %s\n", u.Name, u.TenantName, u.Token)
		}
	}
	b.WriteString("\n  Ctrl-C stops everything.\n\n")
	_, err := io.WriteString(w, b.String())
	return err
}
