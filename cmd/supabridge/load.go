package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/supabridge/supabridge/internal/doctor"
	"github.com/supabridge/supabridge/internal/load"
)

func newLoad() *cobra.Command {
	var o load.Options
	var rooms int
	var own, asJSON bool
	var plot string
	var tokens []string
	cmd := &cobra.Command{
		Use:   "load URL",
		Short: "Put a bridge of yours under load, and see what it takes",
		Long: `Put a bridge of yours under load, and see what it takes.

Browsers connect to URL, join conversations, type, and get the messages that are
published to the rooms. The load is real for everybody else on that bridge too, so
another machine than this one must be yours and is to be said so.

Users need tokens that may enter the conversations; a bridge with auth.insecure_dev,
as that of supabridge dev, lets everybody into any. Messages are published with
publish.secret; without one only connections, joins and typing are measured. The
secret and the tokens can come from SUPABRIDGE_PUBLISH_SECRET and from a file with
one token a line, @FILE. All connections come from one address, and with few tokens
of few users: the bridge's limits.address and limits.user hold for them.

  supabridge load http://127.0.0.1:3001 --connections 1000 --messages 20 --plot load.svg`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.URL = args[0]
			if err := load.Own(o.URL); err != nil && (!errors.Is(err, load.ErrNotOwn) || !own) {
				if errors.Is(err, load.ErrNotOwn) {
					err = fmt.Errorf("%w: name it with --i-own-this-host if it is yours", err)
				}
				return misuse{fmt.Errorf("load: %w", err)}
			}
			if o.Connections < 1 || o.Duration <= 0 || o.Payload < 0 || rooms < 1 {
				return misuse{errors.New("load: --connections, --rooms and --duration must be more than nothing")}
			}
			var err error
			if o.Tokens, err = readTokens(tokens); err != nil {
				return misuse{err}
			}
			if o.Secret == "" {
				o.Secret = os.Getenv("SUPABRIDGE_PUBLISH_SECRET")
			}
			for n := len(o.Conversations); n < rooms && len(o.Tokens) == 0; n++ {
				o.Conversations = append(o.Conversations, fmt.Sprintf("00000000-0000-4000-8000-%012d", n))
			}
			if len(o.Conversations) == 0 {
				return misuse{errors.New("load: name the conversations that the tokens' users may enter with --conversation")}
			}
			if limit, ok := doctor.FileLimit(); ok && uint64(o.Connections)+64 > limit {
				fmt.Fprintf(
					cmd.ErrOrStderr(),
					"this process may open %d files: not all of %d connections (ulimit -n)\n",
					limit,
					o.Connections,
				)
			}
			if isTerminal(cmd.ErrOrStderr()) {
				o.Progress = progressBar(cmd.ErrOrStderr())
			}
			report, err := load.Run(cmd.Context(), o)
			if o.Progress != nil {
				fmt.Fprint(cmd.ErrOrStderr(), "\r\x1b[K")
			}
			if report == nil {
				return err
			}
			return errors.Join(err, printLoad(cmd.OutOrStdout(), report, asJSON), writePlot(plot, report))
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.Connections, "connections", 100, "`MANY` browsers")
	f.IntVar(&o.AtOnce, "at-once", 50, "connect `MANY` at the same time")
	f.IntVar(&rooms, "rooms", 10, "`MANY` conversations, where nobody needs a token")
	f.StringArrayVar(&o.Conversations, "conversation", nil, "`ID` of a conversation to join; may be repeated")
	f.StringArrayVar(&tokens, "token", nil, "`TOKEN` of a user, or @FILE with one a line; may be repeated")
	f.Float64Var(&o.Messages, "messages", 10, "publish `MANY` messages a second, over all conversations")
	f.Float64Var(
		&o.Typing,
		"typing",
		1,
		"`MANY` browsers begin to type a second; only other users are told, so it takes tokens of two",
	)
	f.Float64Var(&o.Churn, "churn", 0, "`MANY` connections break a second and come back")
	f.IntVar(&o.Payload, "payload", 200, "`BYTES` of a message's text")
	f.StringVar(&o.Secret, "secret", "", "the bridge's publish.secret")
	f.StringVar(&o.PublishPath, "publish-path", "/api/publish", "the bridge's publish.path")
	f.StringVar(&o.Path, "path", "/socket.io/", "the bridge's socketio.paths")
	f.StringVar(&o.Room, "room", "conversation:{id}", "the bridge's rooms.conversation.name")
	f.DurationVar(&o.Duration, "duration", 30*time.Second, "how long, once all are connected")
	f.BoolVar(&own, "i-own-this-host", false, "aim at another machine, which is mine")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	f.StringVar(&plot, "plot", "", "write an SVG of the latency over the time to `FILE`")
	return cmd
}

// readTokens takes tokens, and files of them.
func readTokens(given []string) (tokens []string, err error) {
	for _, token := range given {
		file, isFile := strings.CutPrefix(token, "@")
		if !isFile {
			tokens = append(tokens, token)
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("load: --token: %w", err)
		}
		tokens = append(tokens, strings.Fields(string(text))...)
	}
	return tokens, nil
}

// progressBar draws how far a run is into one line of a terminal.
func progressBar(w io.Writer) func(load.Progress) {
	const length = 30
	return func(p load.Progress) {
		done := int(min(max(p.Done, 0), 1) * length)
		line := fmt.Sprintf(
			"%-10s [%s%s] %3.0f %%  %d connected",
			p.Phase,
			strings.Repeat("=", done),
			strings.Repeat(" ", length-done),
			min(p.Done, 1)*100,
			p.Connected,
		)
		if p.Point.P99 > 0 {
			line += fmt.Sprintf("  %.0f/s  p99 %s", p.Point.Rate, p.Point.P99.Round(10*time.Microsecond))
		}
		fmt.Fprint(w, "\r\x1b[K"+line)
	}
}

func printLoad(w io.Writer, report *load.Report, asJSON bool) error {
	if asJSON {
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		return encoder.Encode(report)
	}
	_, err := io.WriteString(w, report.Table())
	return err
}

func writePlot(path string, report *load.Report) error {
	if path == "" {
		return nil
	}
	file, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("load: --plot: %w", err)
	}
	if err := errors.Join(report.Chart(file), file.Close()); err != nil {
		return fmt.Errorf("load: --plot: %w", err)
	}
	return nil
}
