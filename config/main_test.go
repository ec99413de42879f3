package config

import (
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// complete is the least environment with which Load succeeds.
var complete = []string{
	"SUPABRIDGE_SUPABASE_URL=http://127.0.0.1:54321",
	"SUPABRIDGE_SUPABASE_SERVICE_ROLE_KEY=service",
	"SUPABRIDGE_SUPABASE_ANON_KEY=anon",
}

// file writes a file of that name into a new directory and returns its path.
func file(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func mustLoad(t *testing.T, from Sources) *Config {
	t.Helper()
	c, err := Load(from)
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	return c
}
