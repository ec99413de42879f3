package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/supabridge/supabridge/bridge/ops/tail"
	"github.com/supabridge/supabridge/internal/doctor"
)

func newTail() *cobra.Command {
	var from files
	var ops string
	var kinds []string
	var filter tail.Filter
	var asJSON bool
	names := make([]string, len(tail.Kinds))
	for i, k := range tail.Kinds {
		names[i] = string(k)
	}
	cmd := &cobra.Command{
		Use:   "tail",
		Short: "Watch what passes through a running daemon: changes, joins, typing, presence",
		Long: `Watch what passes through a running daemon, by its ops port (ops.listen). Filters add
up. The contents of rows are not shown, unless the daemon's ops.tail_bodies is on and
--bodies is given.`,
		Example: `  supabridge tail --ops 127.0.0.1:9464 --kind change,typing --conversation 42
  supabridge tail --json | jq 'select(.kind == "refuse")'`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, k := range kinds {
				if !slices.Contains(names, k) {
					return misuse{fmt.Errorf("--kind %s: expected one of %s", k, strings.Join(names, ", "))}
				}
				filter.Kinds = append(filter.Kinds, tail.Kind(k))
			}
			if ops == "" {
				cfg, err := from.load(cmd, "ops")
				if err != nil {
					return err
				}
				if ops = cfg.Ops.Listen; ops == "" {
					return misuse{errors.New("the daemon's ops port is not known: set ops.listen, or give --ops")}
				}
			}
			if !strings.Contains(ops, "://") {
				ops = "http://" + doctor.Reachable(ops)
			}
			show := printSight
			if asJSON {
				show = func(w io.Writer, s tail.Sight) error { return json.NewEncoder(w).Encode(s) }
			}
			return tail.Follow(cmd.Context(), ops, filter, func(s tail.Sight) error { return show(cmd.OutOrStdout(), s) })
		},
	}
	cmd.Flags().StringVar(&from.config, "config", "", "YAML `FILE` with the configuration")
	cmd.Flags().StringVar(&from.environment, "env-file", "", "environment `FILE` to read instead of .env.local and .env")
	cmd.Flags().StringVar(&ops, "ops", "", "`ADDR` of the daemon's ops port (default: ops.listen of the configuration)")
	cmd.Flags().StringSliceVar(&kinds, "kind", nil, "only these: "+strings.Join(names, ", "))
	cmd.Flags().StringVar(&filter.Table, "table", "", "only changes of this `TABLE`")
	cmd.Flags().StringVar(&filter.Conversation, "conversation", "", "only what concerns the conversation of this `ID`")
	cmd.Flags().StringVar(&filter.Tenant, "tenant", "", "only what concerns the tenant of this `ID`")
	cmd.Flags().StringVar(&filter.User, "user", "", "only what the user of this `ID` does")
	cmd.Flags().BoolVar(&filter.Bodies, "bodies", false, "show the rows too, which are people's messages")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON object a line")
	return cmd
}

// printSight writes one line for people.
func printSight(w io.Writer, s tail.Sight) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %-10s %s", s.At.Local().Format("15:04:05.000"), s.Kind, s.Text)
	for _, f := range [][2]string{
		{"table", s.Table}, {"id", s.ID}, {"conversation", s.Conversation}, {"tenant", s.Tenant}, {"user", s.User},
		{"socket", s.Socket}, {"", s.Detail}, {"", string(s.Body)},
	} {
		switch {
		case f[1] == "":
		case f[0] == "":
			b.WriteString(" " + f[1])
		default:
			b.WriteString(" " + f[0] + "=" + f[1])
		}
	}
	// Clients choose ids, and a terminal takes orders.
	line := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return unicode.ReplacementChar
		}
		return r
	}, b.String())
	_, err := fmt.Fprintln(w, line)
	return err
}
