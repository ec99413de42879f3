package config_test

import (
	"fmt"
	"os"

	"github.com/supabridge/supabridge/config"
)

func ExampleLoad() {
	cfg, err := config.Load(config.Sources{Environ: []string{
		"SUPABASE_URL=https://abcdefgh.supabase.co",
		"SUPABASE_SERVICE_ROLE_KEY=sb_secret_1234",
		"SUPABASE_ANON_KEY=sb_publishable_1234",
		"SUPABRIDGE_TYPING_TIMEOUT=4s",
	}})
	if err != nil {
		fmt.Fprintln(os.Stderr, err) // a line for each mistake
		os.Exit(2)
	}
	fmt.Println(cfg.Supabase.RealtimeURL)
	fmt.Println(cfg.Supabase.ServiceRoleKey)
	fmt.Println(cfg.Typing.Timeout, cfg.Origin("typing.timeout"))
	// Output:
	// wss://abcdefgh.supabase.co/realtime/v1/websocket
	// [redacted]
	// 4s environment SUPABRIDGE_TYPING_TIMEOUT
}
