package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/supabridge/supabridge/bridge/standin"
	"github.com/supabridge/supabridge/config"
)

// standinAddress is where local Supabase stacks listen.
const standinAddress = "127.0.0.1:54321"

// standinDrain is how long a stand-in waits when it stops: for requests first,
// then for sockets. Both together keep dev's promise to end within a second.
const standinDrain = 300 * time.Millisecond

func newStandin() *cobra.Command {
	var addr, seed string
	var poll time.Duration
	cmd := &cobra.Command{
		Use:   "standin",
		Short: "Run a Supabase in memory: Realtime, REST and tokens",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			opts := standin.Options{}
			if poll < 0 {
				return misuse{fmt.Errorf("--poll: expected a duration of 0s or more, found %s", poll)}
			}
			opts.Realtime.Timing.Poll = poll
			if seed != "" {
				var err error
				if opts.Seed, err = readSeed(seed); err != nil {
					return err
				}
			}
			log := newLog(cmd.ErrOrStderr(), config.Default().Log)
			s, err := openStandin(addr, "--listen", opts, log)
			if err != nil {
				return err
			}
			if err := printStandin(cmd.OutOrStdout(), s); err != nil {
				return err
			}
			return s.run(cmd.Context())
		},
	}
	cmd.Flags().StringVar(&addr, "listen", standinAddress, "`ADDR` to listen on")
	cmd.Flags().StringVar(&seed, "seed", "", "YAML `FILE` with tables, rows and users instead of the built-in inbox")
	cmd.Flags().DurationVar(&poll, "poll", 0, "collect changes at this interval, as Supabase does; 0 delivers each as it is committed")
	return cmd
}

func readSeed(path string) (*standin.Seed, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, misuse{fmt.Errorf("seed: %w", err)}
	}
	defer f.Close()
	seed, err := standin.ParseSeed(f)
	if err != nil {
		return nil, misuse{fmt.Errorf("seed %s: %w", path, err)}
	}
	return seed, nil
}

// project is a stand-in on an open port.
type project struct {
	server   *standin.Server
	endpoint endpoint
	url      string // for programs and browsers on this machine
}

func openStandin(addr, flag string, opts standin.Options, log zerolog.Logger) (*project, error) {
	listener, err := listen(addr, flag)
	if err != nil {
		return nil, err
	}
	opts.Realtime.Log = slog.New(zerolog.NewSlogHandler(log))
	server, err := standin.New(opts)
	if err != nil {
		_ = listener.Close()
		return nil, misuse{fmt.Errorf("stand-in: %w", err)}
	}
	return &project{
		server:   server,
		endpoint: endpoint{listener: listener, handler: server.Handler(), drain: standinDrain, log: log},
		url:      "http://" + localHost(listener.Addr()),
	}, nil
}

// run serves until ctx ends. It closes the port and every connection.
func (p *project) run(ctx context.Context) error {
	err := p.endpoint.serve(ctx)
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), standinDrain)
	defer cancel()
	if closeErr := p.server.Close(closing); err == nil && closeErr != nil {
		return fmt.Errorf("stop the stand-in: %w", closeErr)
	}
	return err
}

// localHost is an address under which this machine reaches a port that may listen on every interface.
func localHost(addr net.Addr) string {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok || !tcp.IP.IsUnspecified() {
		return addr.String()
	}
	return fmt.Sprintf("localhost:%d", tcp.Port)
}

func printStandin(w io.Writer, p *project) error {
	_, err := fmt.Fprintf(w, `Supabase stand-in at %s, in memory: what is written is gone when it stops.

SUPABASE_URL=%s
SUPABASE_ANON_KEY=%s
SUPABASE_SERVICE_ROLE_KEY=%s
SUPABASE_JWT_SECRET=%s
`, p.url, p.url, p.server.AnonKey(), p.server.ServiceKey(), standin.DefaultJWTSecret)
	return err
}
