package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/supabridge/supabridge/bridge"
	"github.com/supabridge/supabridge/bridge/ops"
	"github.com/supabridge/supabridge/config"
)

func newRun() *cobra.Command {
	var from files
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the bridge before a Supabase project",
		Long: `Run the bridge before a Supabase project.

With no file it reads the names that an app on Supabase has in its environment,
.env.local or .env: SUPABASE_URL or NEXT_PUBLIC_SUPABASE_URL,
SUPABASE_SERVICE_ROLE_KEY, NEXT_PUBLIC_SUPABASE_ANON_KEY, SUPABASE_JWT_SECRET,
SOCKET_IO_PORT and NEXT_PUBLIC_APP_URL. See supabridge config print --defaults
for all there is to set.

The file is read anew when it changes, and on SIGHUP with the environment files.
What can't be used is said in the log, and the configuration before it stays.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := from.load(cmd)
			if err != nil {
				return err
			}
			problems := new(ops.Problems)
			log, level := newLog(cmd.ErrOrStderr(), cfg.Log, problems)
			for _, warning := range cfg.Warnings() {
				log.Warn().Str("of", "config").Msg(warning)
			}
			n, err := openNode(cfg, log)
			if err != nil {
				return err
			}
			n.bridge.ShowProblems(problems)
			warnOfFileLimit(log)
			r := &reloader{load: func() (*config.Config, error) { return from.load(cmd) }, node: n, level: level, log: log}
			return together(cmd.Context(), n.run, func(ctx context.Context) error { return r.run(ctx, from.config) })
		},
	}
	from.register(cmd)
	return cmd
}

// requestDrain is how long requests in flight may take to end once all sockets are closed.
const requestDrain = time.Second

// node is a bridge on an open port.
type node struct {
	bridge   *bridge.Bridge
	endpoint endpoint
	ops      *endpoint    // nil where ops.listen is empty
	shown    *certificate // nil without TLS
	url      string       // for browsers on this machine
}

// openNode opens the port and builds the bridge.
func openNode(cfg *config.Config, log zerolog.Logger) (*node, error) {
	shown, err := openCertificate(cfg.TLS)
	if err != nil {
		return nil, err
	}
	listener, err := listen(cfg.Listen, "--listen or the key listen")
	if err != nil {
		return nil, err
	}
	var ops net.Listener
	if cfg.Ops.Listen != "" {
		if ops, err = listen(cfg.Ops.Listen, "the key ops.listen"); err != nil {
			_ = listener.Close()
			return nil, err
		}
	}
	b, err := bridge.New(cfg, log)
	if err != nil {
		_ = listener.Close()
		if ops != nil {
			_ = ops.Close()
		}
		return nil, err
	}
	n := &node{
		bridge: b,
		shown:  shown,
		endpoint: endpoint{
			listener: listener,
			handler:  b.Handler(),
			tls:      shown.config(),
			drain:    min(cfg.Ops.ShutdownTimeout, requestDrain),
			log:      log,
		},
		url: "http://" + localHost(listener.Addr()),
	}
	if ops != nil {
		n.ops = &endpoint{listener: ops, handler: b.OpsHandler(), drain: min(cfg.Ops.ShutdownTimeout, requestDrain), log: log}
		log.Info().Stringer("listen", ops.Addr()).Msg("ops")
	}
	if shown != nil {
		n.url = "https://" + localHost(listener.Addr())
	}
	log.Info().
		Stringer("listen", listener.Addr()).
		Bool("tls", shown != nil).
		Str("supabase", cfg.Supabase.URL).
		Dict("runtime", runtimeLimits()).
		Msg("started")
	return n, nil
}

// serveBeside puts more on the port: what the mux doesn't know goes to the bridge.
func (n *node) serveBeside(mux *http.ServeMux) {
	mux.Handle("/", n.endpoint.handler)
	n.endpoint.handler = mux
}

// close gives up a node that was never run.
func (n *node) close() {
	_ = n.endpoint.listener.Close()
	if n.ops != nil {
		_ = n.ops.listener.Close()
	}
	n.bridge.Close()
}

// run serves and follows Supabase until ctx ends, then drains: first the bridge closes its sockets,
// while the port stays open so that clients which poll can fetch their farewell and new ones are
// told to try again; then the port closes. Both take at most ops.shutdown_timeout together.
func (n *node) run(ctx context.Context) error {
	serving, stopServing := context.WithCancel(context.WithoutCancel(ctx))
	defer stopServing()
	parts := []func(context.Context) error{
		func(ctx context.Context) error {
			defer stopServing()
			return n.bridge.Run(ctx)
		},
		func(context.Context) error { return n.endpoint.serve(serving) },
	}
	if n.ops != nil {
		parts = append(parts, func(context.Context) error { return n.ops.serve(serving) })
	}
	if err := together(ctx, parts...); err != nil {
		return fmt.Errorf("run: %w", err)
	}
	n.endpoint.log.Info().Msg("stopped")
	return nil
}
