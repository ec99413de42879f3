package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/supabridge/supabridge/bridge"
	"github.com/supabridge/supabridge/bridge/ratelimit"
	"github.com/supabridge/supabridge/config"
)

// files are the flags that say which files the configuration is read from.
type files struct {
	config, environment string
}

func (f *files) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.config, "config", "", "YAML `FILE` with the configuration")
	cmd.Flags().StringVar(&f.environment, "env-file", "", "environment `FILE` to read instead of .env.local and .env")
	cmd.Flags().String("listen", "", "`ADDR` to listen on (default \":3001\")")
}

// load reads the configuration with the command's flags on top.
// With sections only mistakes there count.
func (f *files) load(cmd *cobra.Command, sections ...string) (*config.Config, error) {
	cfg, err := f.draft(cmd, sections...)
	if err != nil {
		return nil, err
	}
	return cfg, nil
}

// draft is load, and returns what config.Draft does beside mistakes.
func (f *files) draft(cmd *cobra.Command, sections ...string) (*config.Config, error) {
	environment := config.EnvFilesIn(".")
	if f.environment != "" {
		environment = []string{f.environment}
	}
	cfg, err := config.Draft(config.Sources{
		File: f.config, EnvFiles: environment, Environ: os.Environ(), Flags: cmd.Flags(), Sections: sections,
	})
	if err != nil {
		return cfg, misuse{fmt.Errorf("the configuration can't be used:\n%w", err)}
	}
	return cfg, nil
}

func newConfig() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Check, print or describe the configuration",
		Args:  noArguments,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newConfigCheck(), newConfigPrint(), newConfigSchema())
	return cmd
}

func newConfigCheck() *cobra.Command {
	var from files
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Say everything that is wrong with the configuration",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := from.draft(cmd)
			if err == nil {
				for _, warning := range cfg.Warnings() {
					fmt.Fprintln(cmd.ErrOrStderr(), "warning:", warning)
				}
			}
			// What can be tried is tried, whatever else is wrong: all of it is said at once.
			if cfg != nil {
				err = errors.Join(err, tryWords(cfg, from.config, err), tryLimits(cfg, err), tryCertificate(cfg, err))
			}
			if err != nil {
				return misuse{err}
			}
			fmt.Fprintln(cmd.OutOrStdout(), "the configuration is good")
			return nil
		},
	}
	from.register(cmd)
	return cmd
}

// tryWords compiles the vocabulary, unless err says already that something of it is wrong.
func tryWords(cfg *config.Config, file string, err error) error {
	if concerns(err, "vocabulary", "rooms") {
		return nil
	}
	if _, err = bridge.Words(cfg); err != nil && file != "" {
		return fmt.Errorf("%s: %w", file, err)
	}
	return err
}

// tryLimits compiles the limits, likewise: which intents there are the vocabulary says.
func tryLimits(cfg *config.Config, err error) error {
	if concerns(err, "limits") {
		return nil
	}
	_, err = ratelimit.Compile(cfg.Limits)
	return err
}

// tryCertificate reads the files that tls names, likewise.
func tryCertificate(cfg *config.Config, err error) error {
	if concerns(err, "tls") {
		return nil
	}
	_, err = openCertificate(cfg.TLS)
	return err
}

// concerns tells whether err is about a key of one of the sections.
func concerns(err error, sections ...string) bool {
	var all config.Errors
	if !errors.As(err, &all) {
		return false
	}
	return slices.ContainsFunc(all, func(e *config.Error) bool {
		section, _, _ := strings.Cut(e.Key, ".")
		return slices.Contains(sections, section)
	})
}

func newConfigPrint() *cobra.Command {
	var from files
	var defaults bool
	cmd := &cobra.Command{
		Use:   "print",
		Short: "Print the configuration in effect and where each value comes from",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if defaults {
				return config.Reference(cmd.OutOrStdout())
			}
			cfg, err := from.load(cmd)
			if err != nil {
				return err
			}
			return cfg.Print(cmd.OutOrStdout())
		},
	}
	from.register(cmd)
	cmd.Flags().BoolVar(&defaults, "defaults", false, "print every key with its default and what it is for")
	return cmd
}

func newConfigSchema() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print a JSON Schema of the configuration file",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := cmd.OutOrStdout().Write(config.Schema())
			return err
		},
	}
}
