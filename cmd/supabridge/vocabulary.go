package main

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/supabridge/supabridge/bridge"
	"github.com/supabridge/supabridge/bridge/vocabulary"
)

func newVocabulary() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "vocabulary",
		Short: "Check the mapping of a frontend's events, or explain one",
		Args:  noArguments,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newVocabularyCheck(), newVocabularyExplain())
	return cmd
}

// words compiles the vocabulary of the files. It needs no project.
func (f *files) words(cmd *cobra.Command) (*vocabulary.Vocabulary, error) {
	cfg, err := f.load(cmd, "vocabulary", "rooms")
	if err != nil {
		return nil, err
	}
	words, err := bridge.Words(cfg)
	if err != nil {
		if f.config != "" {
			err = fmt.Errorf("%s: %w", f.config, err)
		}
		return nil, misuse{err}
	}
	return words, nil
}

func newVocabularyCheck() *cobra.Command {
	var from files
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Say what is wrong with the vocabulary: names that mean two things, unknown variables, selectors that can't be read",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := from.words(cmd); err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), "the vocabulary is good")
			return nil
		},
	}
	from.register(cmd)
	return cmd
}

func newVocabularyExplain() *cobra.Command {
	var from files
	cmd := &cobra.Command{
		Use:   "explain EVENT [JSON]...",
		Short: "Say what becomes of an event: its intent, ids and room, and what is sent to whom",
		Long: `Say what becomes of an event. EVENT is one that a frontend emits, with its arguments as JSON, or one that the bridge sends, by
its name under vocabulary.out, with a row as JSON.`,
		Example: `  supabridge vocabulary explain join-conversation '{"conversationId": 42}'
  supabridge vocabulary explain message.created '{"id": 7, "conversation_id": 42, "content": "hello"}'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return misuse{errors.New("the name of an event is missing; see supabridge vocabulary explain --help")}
			}
			words, err := from.words(cmd)
			if err != nil {
				return err
			}
			values := make([]json.RawMessage, 0, len(args)-1)
			for _, arg := range args[1:] {
				values = append(values, json.RawMessage(arg))
			}
			if err := words.Explain(cmd.OutOrStdout(), args[0], values); err != nil {
				return misuse{err}
			}
			return nil
		},
	}
	from.register(cmd)
	return cmd
}
