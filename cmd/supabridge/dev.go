package main

import (
	"context"
	"net/http"
	"os"
	"strings"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/supabridge/supabridge/bridge"
	"github.com/supabridge/supabridge/bridge/migration"
	"github.com/supabridge/supabridge/bridge/ops"
	"github.com/supabridge/supabridge/bridge/standin"
	"github.com/supabridge/supabridge/config"
	"github.com/supabridge/supabridge/internal/sample"
	"github.com/supabridge/supabridge/phoenix/phxserver"
)

func newDev() *cobra.Command {
	var supabaseAddr string
	var quiet bool
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a stand-in Supabase, the bridge and a sample inbox together",
		Long: `Run a stand-in Supabase, the bridge and a sample inbox together, to look at
and to develop a frontend against. Everything is in memory and made up.

The bridge is configured by SUPABRIDGE_ variables, but for those that name a
project. auth.insecure_dev is on unless SUPABRIDGE_AUTH_INSECURE_DEV=false: it
listens on this machine alone, and serves only pages of localhost.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runDev(cmd, supabaseAddr, quiet)
		},
	}
	cmd.Flags().String("listen", "", "`ADDR` of the sample inbox and the bridge (default \"127.0.0.1:3001\")")
	cmd.Flags().StringVar(&supabaseAddr, "supabase-listen", standinAddress, "`ADDR` of the stand-in")
	cmd.Flags().BoolVar(&quiet, "no-traffic", false, "don't simulate customers and colleagues")
	return cmd
}

func runDev(cmd *cobra.Command, supabaseAddr string, quiet bool) error {
	log, _ := newLog(cmd.ErrOrStderr(), config.Default().Log)
	tables := config.Default().Tables
	seeded := standin.Options{
		Broadcast: map[string]string{tables.Messages.Name: migration.Topic, tables.Conversations.Name: migration.Topic},
	}
	seeded.Realtime.Timing.Poll = phxserver.RealTiming().Poll
	p, err := openStandin(supabaseAddr, "--supabase-listen", seeded, log)
	if err != nil {
		return err
	}
	// From here on the stand-in runs, so that it is closed whatever fails next.
	return together(cmd.Context(), p.run, func(ctx context.Context) error {
		cfg, err := config.Load(config.Sources{Environ: devEnvironment(os.Environ(), p), Flags: cmd.Flags()})
		if err != nil {
			return misuse{err}
		}
		users, err := sampleUsers(p.server)
		if err != nil {
			return err
		}
		problems := new(ops.Problems)
		own, _ := newLog(cmd.ErrOrStderr(), cfg.Log, problems)
		n, err := openNode(cfg, own)
		if err != nil {
			return err
		}
		mux := http.NewServeMux()
		var page http.Handler = sample.Handler(sample.Options{SupabaseURL: p.url, AnonKey: p.server.AnonKey(),
			Users: users, Token: p.server.UserToken})
		if cfg.Auth.InsecureDev {
			page = bridge.LocalOnly(page) // it hands out tokens
		}
		mux.Handle("/{$}", page)
		mux.Handle("/sample/", page)
		n.serveBeside(mux)
		if err := printBanner(cmd.OutOrStdout(), p, n, users, cfg.SocketIO.Paths[0]); err != nil {
			n.close()
			return err
		}
		if quiet {
			return n.run(ctx)
		}
		return together(ctx, n.run, func(ctx context.Context) error {
			return sample.RunTraffic(ctx, traffic(p, n, users, log))
		})
	})
}

// projectVariables name a project; dev has its own.
var projectVariables = []string{
	"SUPABRIDGE_SUPABASE_URL=", "SUPABRIDGE_SUPABASE_SERVICE_ROLE_KEY=", "SUPABRIDGE_SUPABASE_ANON_KEY=",
	"SUPABRIDGE_SUPABASE_JWT_SECRET=", "SUPABRIDGE_SUPABASE_JWKS_URL=", "SUPABRIDGE_SUPABASE_REALTIME_URL=",
	"SUPABRIDGE_TLS_",
}

// devEnvironment is what of the environment dev heeds: the SUPABRIDGE_
// variables over its own defaults, and its own project over all. The app's names
// and its .env files are left alone: they mean a real project.
func devEnvironment(environ []string, p *project) []string {
	dev := []string{
		"SUPABRIDGE_AUTH_INSECURE_DEV=true",
		"SUPABRIDGE_OPS_SHUTDOWN_TIMEOUT=" + standinDrain.String(),
	}
	for _, pair := range environ {
		isProject := false
		for _, name := range projectVariables {
			isProject = isProject || strings.HasPrefix(pair, name)
		}
		if strings.HasPrefix(pair, "SUPABRIDGE_") && !isProject {
			dev = append(dev, pair)
		}
	}
	return append(dev,
		"SUPABRIDGE_SUPABASE_URL="+p.url,
		"SUPABRIDGE_SUPABASE_SERVICE_ROLE_KEY="+p.server.ServiceKey(),
		"SUPABRIDGE_SUPABASE_ANON_KEY="+p.server.AnonKey(),
		"SUPABRIDGE_SUPABASE_JWT_SECRET="+standin.DefaultJWTSecret,
	)
}

// sampleUsers are the users of the seed with a token each.
func sampleUsers(server *standin.Server) ([]sample.User, error) {
	var users []sample.User
	for _, u := range server.Users() {
		token, err := server.UserToken(u.ID)
		if err != nil {
			return nil, err
		}
		users = append(users, sample.User{ID: u.ID, Name: u.Name, Tenant: u.Tenant, TenantName: u.TenantName, Token: token})
	}
	return users, nil
}

func traffic(p *project, n *node, users []sample.User, log zerolog.Logger) sample.TrafficOptions {
	return sample.TrafficOptions{
		SupabaseURL: p.url,
		ServiceKey:  p.server.ServiceKey(),
		SocketURL:   n.url,
		Users:       users,
		Token:       p.server.UserToken,
		Failed:      func(err error) { log.Warn().Err(err).Msg("simulated traffic") },
	}
}
