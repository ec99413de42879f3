package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/supabridge/supabridge/bridge/outbox"
)

func newOutbox() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "outbox",
		Short: "Look at the webhooks that wait, and at those that could not be delivered",
		Long: `Look at the webhooks that wait, and at those that could not be delivered.

It works beside a running daemon, by a socket next to the file, and on the file
alone when no daemon has it.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		newOutboxList(),
		newOutboxChange("retry", "Deliver dead letters again", letters.Retry),
		newOutboxChange("drop", "Take entries away for good", letters.Drop),
	)
	return cmd
}

// letters are the entries of a box, in this process or another.
type letters interface {
	List(ctx context.Context, dead bool, from uint64, limit int) ([]outbox.Item, error)
	Retry(ctx context.Context, id uint64) error
	Drop(ctx context.Context, id uint64) error
}

// ownLetters are those of a file that no other process has.
type ownLetters struct{ *outbox.Outbox }

func (o ownLetters) List(_ context.Context, dead bool, from uint64, limit int) ([]outbox.Item, error) {
	return o.Outbox.List(dead, from, limit)
}

// box says which file is meant.
type box struct {
	from files
	path string
}

func (b *box) register(cmd *cobra.Command) {
	b.from.register(cmd)
	cmd.Flags().StringVar(&b.path, "file", "", "outbox `FILE`, in place of the configuration's webhooks.outbox.path")
}

// open opens the file, or reaches the process that has it.
func (b *box) open(cmd *cobra.Command) (letters, func() error, error) {
	path, size := b.path, int64(0)
	if path == "" {
		cfg, err := b.from.load(cmd)
		if err != nil {
			return nil, nil, err
		}
		if path, size = cfg.Webhooks.Outbox.Path, int64(cfg.Webhooks.Outbox.MaxSize); path == "" {
			return nil, nil, misuse{errors.New("no outbox: webhooks.outbox.path is empty; name a file with --file")}
		}
	}
	o, err := outbox.Open(outbox.Options{Path: path, MaxBytes: size, ExistingOnly: true})
	if errors.Is(err, outbox.ErrLocked) {
		return outbox.Reach(path), func() error { return nil }, nil
	}
	if err != nil {
		return nil, nil, err
	}
	return ownLetters{o}, o.Close, nil
}

func newOutboxList() *cobra.Command {
	var b box
	var waiting, bodies bool
	var limit int
	var from uint64
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List dead letters, or what waits; without bodies and telephone numbers",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			l, done, err := b.open(cmd)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, done()) }()
			items, err := l.List(cmd.Context(), !waiting, from, limit)
			if err != nil {
				return err
			}
			return printLetters(cmd.OutOrStdout(), items, bodies, time.Now())
		},
	}
	b.register(cmd)
	cmd.Flags().BoolVar(&waiting, "waiting", false, "what waits, in place of dead letters")
	cmd.Flags().
		BoolVar(&bodies, "bodies", false, "with bodies and lanes: these have messages and telephone numbers in them")
	cmd.Flags().IntVar(&limit, "limit", 100, "list at most this `MANY`")
	cmd.Flags().Uint64Var(&from, "from", 0, "begin with this `ID`")
	return cmd
}

func printLetters(w io.Writer, items []outbox.Item, bodies bool, now time.Time) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tTARGET\tAGE\tATTEMPTS\tBYTES\tREASON")
	for _, item := range items {
		fmt.Fprintf(
			table,
			"%d\t%s\t%s\t%d\t%d\t%s\n",
			item.ID,
			item.Target,
			now.Sub(item.At).Round(time.Second),
			item.Attempts,
			len(item.Body),
			item.Reason,
		)
		if bodies {
			fmt.Fprintf(table, "\t%s\n\t%q\n", item.Lane, item.Body)
		}
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("write the list: %w", err)
	}
	return nil
}

func newOutboxChange(name, short string, change func(letters, context.Context, uint64) error) *cobra.Command {
	var b box
	cmd := &cobra.Command{
		Use:   name + " ID...",
		Short: short,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if len(args) == 0 {
				return misuse{fmt.Errorf("outbox %s: name entries by their ids, as outbox list shows them", name)}
			}
			ids := make([]uint64, len(args))
			for i, arg := range args {
				if ids[i], err = strconv.ParseUint(arg, 10, 64); err != nil {
					return misuse{fmt.Errorf("outbox %s: expected an id, found %q", name, arg)}
				}
			}
			l, done, err := b.open(cmd)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, done()) }()
			for _, id := range ids {
				if e := change(l, cmd.Context(), id); e != nil {
					err = errors.Join(err, fmt.Errorf("outbox %s %d: %w", name, id, e))
				}
			}
			return err
		},
	}
	b.register(cmd)
	return cmd
}
