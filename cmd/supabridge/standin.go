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
	"github.com/supabridge/supabridge/phoenix/phxserver"
)

// standinAddress is where local Supabase stacks listen.
const standinAddress = "127.0.0.1:54321"

// standinDrain is how long a stand-in waits when it stops: for requests first,
// then for sockets. Both together keep dev's promise to end within a second.
const standinDrain = 300 * time.Millisecond

func newStandin() *cobra.Command {
	var addr, seed string
	var poll time.Duration
	var faults []string
	var limits, timing, privateOnly bool
	var maxRows int
	cmd := &cobra.Command{
		Use:   "standin",
		Short: "Run a Supabase in memory: Realtime, REST and tokens",
		Long: `Run a Supabase in memory: Realtime, REST and tokens.

Outages can be rehearsed: --fault makes one from the start, and POST /admin/faults,
from this machine only, at any time. A fault is an action and what it is limited to:

  --fault stall                                       changes stop, heartbeats go on
  --fault drop,event=postgres_changes,share=0.3       three changes of ten get lost
  --fault drop,event=heartbeat,direction=out,count=2  two answers get lost
  --fault refuse,status=429,for=30s                   nobody connects for a while
  --fault delay,event=system,delay=6s                 the feed is confirmed late

  --fault cut,every=1m                                connections end, again and again

Lasting actions: delay, drop, hang, stall, refuse, refuse_join, throttle. Of a moment:
cut, close, disconnect, expire, crash, leave, resubscribe, system, send; these need
somebody connected, and so after= or every=, or /admin/faults:
curl -d '{"action":"cut"}' URL/admin/faults

curl -X POST URL/admin/keys rotates the keys that sign users' tokens, with
?revoke=true taking the ones before back at once.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			opts := standin.Options{}
			if poll < 0 {
				return misuse{fmt.Errorf("--poll: expected a duration of 0s or more, found %s", poll)}
			}
			if maxRows < 1 {
				return misuse{fmt.Errorf("--max-rows: expected a number of 1 or more, found %d", maxRows)}
			}
			opts.MaxRows = maxRows
			if timing {
				opts.Realtime.Timing = phxserver.RealTiming()
			}
			if !timing || cmd.Flags().Changed("poll") {
				opts.Realtime.Timing.Poll = poll
			}
			opts.Realtime.PrivateOnly = privateOnly
			if limits {
				opts.Realtime.Limits = phxserver.RealLimits()
			}
			injected, err := parseFaults(faults)
			if err != nil {
				return err
			}
			if seed != "" {
				if opts.Seed, err = readSeed(seed); err != nil {
					return err
				}
			}
			log, _ := newLog(cmd.ErrOrStderr(), config.Default().Log)
			s, err := openStandin(addr, "--listen", opts, log)
			if err != nil {
				return err
			}
			for _, f := range injected {
				if _, err := s.server.Realtime().Inject(f); err != nil {
					s.close()
					return misuse{fmt.Errorf("--fault: %w", err)}
				}
			}
			if err := printStandin(cmd.OutOrStdout(), s); err != nil {
				return err
			}
			return s.run(cmd.Context())
		},
	}
	cmd.Flags().StringVar(&addr, "listen", standinAddress, "`ADDR` to listen on")
	cmd.Flags().StringVar(&seed, "seed", "", "YAML `FILE` with tables, rows and users instead of the built-in inbox")
	cmd.Flags().
		DurationVar(&poll, "poll", phxserver.RealTiming().Poll, "collect changes at this interval, five times as long while there are none; 0 delivers each as it is committed")
	cmd.Flags().StringArrayVar(&faults, "fault", nil, "make a `FAULT` happen from the start; may be repeated")
	cmd.Flags().
		BoolVar(&limits, "limits", false, "limit connections, channels, joins, events and payloads as a self-hosted Supabase does")
	cmd.Flags().
		IntVar(&maxRows, "max-rows", 1000, "cut an answer of REST off after this many rows, as a project's \"Max rows\" does")
	cmd.Flags().
		BoolVar(&privateOnly, "private-only", false, "refuse public channels, as a project does that allows private ones only")
	cmd.Flags().
		BoolVar(&timing, "real-timing", false, "wait where Supabase does: for changes, refusals and idle connections")
	return cmd
}

func parseFaults(texts []string) ([]phxserver.Fault, error) {
	var faults []phxserver.Fault
	for _, text := range texts {
		f, err := phxserver.ParseFault(text)
		if err != nil {
			return nil, misuse{fmt.Errorf("--fault %s: %w", text, err)}
		}
		if !f.Lasting() {
			return nil, misuse{
				fmt.Errorf(
					"--fault %s: at the start nobody is connected: add after= or every=, or POST it to /admin/faults later",
					text,
				),
			}
		}
		faults = append(faults, f)
	}
	return faults, nil
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
	if tcp, ok := listener.Addr().(*net.TCPAddr); ok && !tcp.IP.IsLoopback() {
		log.Warn().
			Str("listen", addr).
			Msg("the stand-in's keys are the same everywhere: who reaches this port may read and write everything in it")
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

// close gives up a stand-in that was never run.
func (p *project) close() {
	_ = p.endpoint.listener.Close()
	_ = p.server.Close(context.Background()) // nobody is connected
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

// localHost is an address under which this machine reaches a port that may listen on every
// interface.
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
