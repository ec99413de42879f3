package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

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

// load reads the configuration with the command's flags on top, and reports
// what is probably not meant.
// With sections only mistakes there count.
func (f *files) load(cmd *cobra.Command, sections ...string) (*config.Config, error) {
	environment := config.EnvFilesIn(".")
	if f.environment != "" {
		environment = []string{f.environment}
	}
	cfg, err := config.Load(config.Sources{
		File: f.config, EnvFiles: environment, Environ: os.Environ(), Flags: cmd.Flags(), Sections: sections,
	})
	if err != nil {
		return nil, misuse{fmt.Errorf("the configuration can't be used:\n%w", err)}
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
			cfg, err := from.load(cmd)
			if err != nil {
				return err
			}
			if _, err := openCertificate(cfg.TLS); err != nil {
				return err
			}
			for _, warning := range cfg.Warnings() {
				fmt.Fprintln(cmd.ErrOrStderr(), "warning:", warning)
			}
			fmt.Fprintln(cmd.OutOrStdout(), "the configuration is good")
			return nil
		},
	}
	from.register(cmd)
	return cmd
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
