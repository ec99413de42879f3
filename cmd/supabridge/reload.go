package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"

	"github.com/rs/zerolog"

	"github.com/supabridge/supabridge/config"
)

// reloader has a running node take on what its files say. run's goroutine owns it.
type reloader struct {
	load  func() (*config.Config, error)
	node  *node
	level *threshold
	log   zerolog.Logger
}

// run reloads when the configuration's file or the certificate's files change and on SIGHUP, until
// ctx ends. file is empty where there is none.
func (r *reloader) run(ctx context.Context, file string) error {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	files := r.node.shown.files()
	if file != "" {
		files = append(files, file)
	}
	changes := make(chan struct{}, 1)
	return together(ctx, func(ctx context.Context) error {
		if len(files) > 0 {
			if err := config.Watch(ctx, files, func() {
				select {
				case changes <- struct{}{}:
				default: // one is waiting that will see this change too
				}
			}); err != nil {
				r.log.Warn().Err(err).Msg("changes of the configuration are not noticed; send SIGHUP to have it read")
			}
		}
		<-ctx.Done()
		return nil
	}, func(ctx context.Context) error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-hangups:
				if !r.reload() {
					r.log.Info().Msg("SIGHUP: the configuration has not changed")
				}
			case <-changes:
				r.reload()
			}
		}
	})
}

// reload takes on what the files say now, and logs what came of it; false where nothing differs.
func (r *reloader) reload() bool {
	if r.node.shown.files() != nil {
		if err := r.node.shown.load(); err != nil {
			r.log.Error().Err(err).Msg("the certificate can't be used; the one before stays")
		}
	}
	next, err := r.load()
	var changed []string
	if err == nil {
		changed, err = r.node.bridge.Reload(next)
	}
	if err != nil {
		r.refuse(err)
		return true
	}
	if len(changed) == 0 {
		return false
	}
	r.level.set(next.Log.Level)
	for _, warning := range next.Warnings() {
		r.log.Warn().Str("of", "config").Msg(warning)
	}
	r.log.Info().Strs("changed", changed).Msg("the configuration was read anew")
	return true
}

// refuse says everything that is wrong, a line each.
func (r *reloader) refuse(err error) {
	var all config.Errors
	if !errors.As(err, &all) {
		r.log.Error().Str("of", "config").Err(err).Send()
	}
	for _, e := range all {
		r.log.Error().Str("of", "config").Str("at", e.Origin.String()).Str("key", e.Key).Msg(e.Problem)
	}
	r.log.Error().Msg("the configuration was not taken on; the one before stays in effect")
}
