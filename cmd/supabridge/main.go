// Command supabridge joins Supabase Realtime for an application's messages and
// re-broadcasts row changes, typing and presence to browsers over Socket.IO.
//
//	supabridge dev                  everything in one process, to look at
//	supabridge run                  the bridge, before a Supabase project
//	supabridge standin              a Supabase in memory, alone
//	supabridge config check|print|schema
//	supabridge vocabulary check|explain
//	supabridge record               watch a frontend, and write its profile
//	supabridge outbox list|retry|drop
//	supabridge load                 put a bridge of yours under load, and see what it takes
//	supabridge sql                  the migration that makes changes arrive sooner
//	supabridge doctor               what is wrong, and how to mend it
//	supabridge tail                 what passes through a running daemon
//	supabridge health               whether the daemon of this machine is well
//	supabridge version
//
// It exits with 0 when it ended as it should, 1 when something failed while it
// ran, and 2 when the command line or the configuration is wrong.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
)

// Exit codes.
const (
	exitFailed = 1
	exitMisuse = 2
)

// misuse is an error that trying again can't help: the command line or the
// configuration must change.
type misuse struct{ error }

func (m misuse) Unwrap() error { return m.error }

func main() {
	ctx, stop := untilSignal(context.Background(), os.Exit)
	code := execute(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// execute runs the command and returns the exit code.
func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintf(stderr, "supabridge: %v\n", err)
	var wrong misuse
	if errors.As(err, &wrong) {
		return exitMisuse
	}
	return exitFailed
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "supabridge",
		Short:         "Supabase Realtime to browsers that speak Socket.IO",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          noArguments,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return misuse{fmt.Errorf("%w; see %s --help", err, cmd.CommandPath())}
	})
	root.AddCommand(
		newDev(),
		newRun(),
		newStandin(),
		newConfig(),
		newVocabulary(),
		newRecord(),
		newSQL(),
		newOutbox(),
		newLoad(),
		newDoctor(),
		newTail(),
		newHealth(),
		newVersion(),
	)
	return root
}

// noArguments refuses arguments, which for a command with subcommands are names of none.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	err := fmt.Errorf("unknown argument %q; see %s --help", args[0], cmd.CommandPath())
	if cmd.HasSubCommands() {
		err = fmt.Errorf("unknown command %q; see %s --help", args[0], cmd.CommandPath())
	}
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		err = fmt.Errorf("%w; did you mean %s?", err, near[0])
	}
	return misuse{err}
}
