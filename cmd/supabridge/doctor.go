package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/supabridge/supabridge/bridge/migration"
	"github.com/supabridge/supabridge/internal/doctor"
)

// errUnwell ends doctor with a code that scripts see; the report has said why.
var errUnwell = errors.New("something needs mending")

func newDoctor() *cobra.Command {
	var from files
	var opts doctor.Options
	var asJSON, sql bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Examine everything the bridge depends on, and say how to mend what is wrong",
		Long: `Examine everything the bridge depends on: the project's address, certificate, clock and
keys, Realtime and its subscriptions, tables, columns, publication, replica identity,
row level security and indexes, the endpoint as a browser uses it, the outbox and the
limits of this machine. Each finding comes with the line of SQL or YAML that mends it.

It writes nothing. Some things only the database's catalog tells: doctor asks the
function that supabridge sql installs (--sql prints it alone), or the database itself
with --db; with neither it says "unknown" and how to look.

It ends with 0 when nothing failed, 1 when something did, and 2 when the configuration
can't be used.`,
		Example: `  supabridge doctor --config supabridge.yaml --url https://realtime.example.com
  supabridge doctor --json | jq '.findings[] | select(.level == "fail")'`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := from.load(cmd)
			if err != nil {
				return err
			}
			if sql {
				return migration.WriteFacts(cmd.OutOrStdout(), cfg.Supabase.Schema)
			}
			report := doctor.Examine(cmd.Context(), cfg, opts)
			write := report.WriteText
			if asJSON {
				write = report.WriteJSON
			}
			if err := write(cmd.OutOrStdout()); err != nil {
				return err
			}
			if !report.Healthy() {
				return errUnwell
			}
			return nil
		},
	}
	from.register(cmd)
	cmd.Flags().StringVar(&opts.URL, "url", "", "`URL` that browsers reach the daemon by (default: this machine's own)")
	cmd.Flags().StringVar(&opts.Database, "db", "", "`URL` of the project's database, postgres://…, to ask its catalog")
	cmd.Flags().DurationVar(&opts.Timeout, "timeout", doctor.DefaultTimeout, "how long one question may take")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the findings as JSON")
	cmd.Flags().BoolVar(&sql, "sql", false, "print the function that lets doctor ask the catalog, and examine nothing")
	return cmd
}
