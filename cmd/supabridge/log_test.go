package main

import (
	"bytes"
	"encoding/json"
	stdlog "log"
	"strings"
	"testing"
	"time"

	"github.com/supabridge/supabridge/config"
)

func TestLogIsJSONWhereThereIsNoTerminal(t *testing.T) {
	var out bytes.Buffer
	log, _ := newLog(&out, config.Log{Level: "warn", Format: "auto"})
	log.Info().Msg("left out")
	stdlog.New(warner{log}, "", 0).Print("http: TLS handshake error")
	var line struct{ Level, Message, Time string }
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatalf("%q: %v", out.String(), err)
	}
	if line.Level != "warn" || line.Message != "http: TLS handshake error" {
		t.Errorf("logged %+v", line)
	}
	if _, err := time.Parse(time.RFC3339Nano, line.Time); err != nil {
		t.Error(err)
	}
}

func TestPrettyLogIsForPeople(t *testing.T) {
	var out bytes.Buffer
	log, _ := newLog(&out, config.Log{Level: "debug", Format: "pretty"})
	log.Debug().Str("room", "tenant:1").Msg("joined")
	if s := out.String(); !strings.Contains(s, "joined room=tenant:1") || strings.Contains(s, "\x1b") || strings.Contains(s, "<nil>") {
		t.Errorf("logged %q", s)
	}
}

func TestTheLevelIsSetForLoggersThereAreAlready(t *testing.T) {
	var out bytes.Buffer
	log, level := newLog(&out, config.Log{Level: "warn", Format: "json"})
	derived := log.With().Str("of", "test").Logger()
	derived.Info().Msg("before")
	level.set("info")
	derived.Info().Msg("after")
	derived.Debug().Msg("below")
	if s := out.String(); strings.Contains(s, "before") || !strings.Contains(s, "after") || strings.Contains(s, "below") {
		t.Errorf("logged %s", s)
	}
}
