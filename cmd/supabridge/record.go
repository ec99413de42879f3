package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/supabridge/supabridge/config"
	"github.com/supabridge/supabridge/internal/record"
)

// recordAddress is the port of the daemon, on this machine alone: record asks nobody who they are.
const recordAddress = "127.0.0.1:3001"

// recordDrain is how long connections may take to end once recording does.
const recordDrain = 300 * time.Millisecond

func newRecord() *cobra.Command {
	var addr, upstream, out string
	cmd := &cobra.Command{
		Use:   "record",
		Short: "Watch an unchanged frontend, and write its profile",
		Long: `Watch an unchanged frontend, and write its profile: the YAML with which supabridge run serves it.

Start it, have the frontend connect here, click through it (open and leave conversations, type, read, send),
and press Ctrl-C. Any path, namespace and credentials are taken.

What the frontend listens for can only be seen in what its own server sends it: with --upstream everything is
passed on to that server and back, and rules are derived from what it sends. Without, everything is answered with
success, and the frontend's style decides what it will hear.

The profile has names and the form of values, never a value. What could only be guessed is in its comments.`,
		Example: `  supabridge record --out profile.yaml
  supabridge record --upstream http://localhost:4000 --out profile.yaml`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, _ := newLog(cmd.ErrOrStderr(), config.Default().Log)
			r, err := record.New(record.Options{Upstream: upstream, Log: log})
			if err != nil {
				return misuse{err}
			}
			defer r.Close()
			listener, err := listen(addr, "--listen")
			if err != nil {
				return err
			}
			fmt.Fprintf(
				cmd.ErrOrStderr(),
				"Recording at http://%s: point the frontend here, click through it, and press Ctrl-C for its profile.\n",
				localHost(listener.Addr()),
			)
			if err := (&endpoint{listener: listener, handler: r, drain: recordDrain,
				log: log}).serve(cmd.Context()); err != nil {
				return err
			}
			return writeProfile(r, out, cmd.OutOrStdout())
		},
	}
	cmd.Flags().
		StringVar(&addr, "listen", recordAddress, "`ADDR` to listen on; whoever reaches it is answered or passed on")
	cmd.Flags().StringVar(&upstream, "upstream", "", "`URL` of the frontend's own Socket.IO server")
	cmd.Flags().StringVar(&out, "out", "", "`FILE` the profile is written to; none prints it")
	return cmd
}

func writeProfile(r *record.Recorder, path string, stdout io.Writer) error {
	if path == "" {
		return r.WriteProfile(stdout)
	}
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	defer f.Close()
	if err := r.WriteProfile(f); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	fmt.Fprintf(stdout, "The profile is in %s.\n", path)
	return nil
}
