package bridge

import (
	"fmt"
	"slices"
	"strings"

	"github.com/supabridge/supabridge/bridge/access"
	"github.com/supabridge/supabridge/bridge/feed"
	"github.com/supabridge/supabridge/bridge/presence"
	"github.com/supabridge/supabridge/bridge/ratelimit"
	"github.com/supabridge/supabridge/bridge/typing"
	"github.com/supabridge/supabridge/bridge/vocabulary"
	"github.com/supabridge/supabridge/config"
)

// settings is the configuration in effect and what is compiled from it. Neither ever changes:
// Reload puts others in their place, both at once. Whoever needs a setting that is live
// (config.Config.Replace) asks cfg or words for it each time, and so works by the new one from then
// on.
type settings struct {
	cfg    *config.Config
	words  *vocabulary.Vocabulary
	limits *ratelimit.Limits
}

// compile makes the settings of a configuration.
func compile(cfg *config.Config) (*settings, error) {
	words, err := Words(cfg)
	if err != nil {
		return nil, err
	}
	bounds, err := ratelimit.Compile(cfg.Limits)
	if err != nil {
		return nil, fmt.Errorf("bridge: %w", err)
	}
	return &settings{cfg, words, bounds}, nil
}

func (b *Bridge) cfg() *config.Config { return b.settings.Load().cfg }

func (b *Bridge) words() *vocabulary.Vocabulary { return b.settings.Load().words }

func (b *Bridge) limits() *ratelimit.Limits { return b.settings.Load().limits }

// Reload has the bridge work by another configuration from now on, and returns the keys that
// changed; connections stay. Where that one can't be used, or a key differs that is fixed while the
// bridge runs, it returns config.Errors or the vocabulary's error, and everything stays as it is.
func (b *Bridge) Reload(cfg *config.Config) (changed []string, err error) {
	b.reload.Lock()
	defer b.reload.Unlock()
	if changed, err = b.cfg().Replace(cfg); err != nil {
		return nil, err
	}
	next, err := compile(cfg)
	if err != nil {
		return nil, err
	}
	b.settings.Store(next)
	b.authorizer.Update(access.Compile(cfg))
	if slices.ContainsFunc(changed, func(key string) bool { return strings.HasPrefix(key, "rooms.") }) {
		b.rechecker.RulesChanged()
	}
	b.upstream.feed.SetPace(pace(cfg))
	b.typing.Update(typingOptions(cfg))
	if b.presence != nil {
		b.presence.Update(presenceOptions(cfg))
	}
	b.cluster.Update(roomsGrace(cfg))
	b.keys.again()
	b.lane.verify()
	b.io.SetCORS(cors(cfg))
	return changed, nil
}

// pace is how often the feed reads.
func pace(cfg *config.Config) feed.Pace {
	f, p := cfg.Supabase.Feed, cfg.Supabase.Polling
	return feed.Pace{
		Overlap:   f.Overlap,
		Interval:  f.Interval,
		Stall:     f.Stall,
		PollAfter: p.After,
		PollMin:   p.Min,
		PollMax:   p.Max,
	}
}

// typingOptions are how long typing lasts.
func typingOptions(cfg *config.Config) typing.Options {
	return typing.Options{Timeout: cfg.Typing.Timeout, Repeat: cfg.Typing.Repeat}
}

// presenceOptions are how long a user stays online without a socket, and how many are remembered.
func presenceOptions(cfg *config.Config) presence.Options {
	return presence.Options{Grace: cfg.Presence.Grace, Remember: cfg.Presence.Remember}
}
