package outbox

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if path := os.Getenv("OUTBOX_CHILD"); path != "" {
		os.Exit(child(path, os.Getenv("OUTBOX_STORE")))
	}
	goleak.VerifyTestMain(m)
}
