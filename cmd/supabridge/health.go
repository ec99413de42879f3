package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/supabridge/supabridge/internal/doctor"
)

func newHealth() *cobra.Command {
	var from files
	var ready bool
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask the daemon on this machine whether it is well, for containers without curl",
		Long: `Ask the daemon on this machine whether it is well: /healthz, or /readyz with --ready.
It ends with 0 if it is and 1 if not. Of the configuration only the address counts.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := from.load(cmd, "listen", "tls")
			if err != nil {
				return err
			}
			path := "/healthz"
			if ready {
				path = "/readyz"
			}
			name := ""
			if domains := cfg.TLS.ACME.Domains; len(domains) > 0 {
				name = domains[0]
			}
			return askHealth(cmd.Context(), cmd.OutOrStdout(), doctor.OwnAddress(cfg)+path, name)
		},
	}
	from.register(cmd)
	cmd.Flags().BoolVar(&ready, "ready", false, "ask whether it has something to tell browsers: whether its feed is live")
	return cmd
}

// healthTimeout bounds the question.
const healthTimeout = 5 * time.Second

// askHealth asks the address. name is one that the daemon has a certificate for; empty where it has
// one for all.
func askHealth(ctx context.Context, w io.Writer, url, name string) error {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("health: %w", err)
	}
	// The certificate is for the name that browsers use, not for this machine's own.
	client := &http.Client{
		Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: name}},
	}
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("health: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
	if err != nil {
		return fmt.Errorf("health: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("health: %s: %s", resp.Status, strings.TrimSpace(string(body)))
	}
	_, err = w.Write(body)
	return err
}
