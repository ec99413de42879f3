package config

import (
	"fmt"
	"net"
	"net/url"
	"reflect"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"github.com/spf13/viper"
)

// Sources says where Load reads from. The zero value has the defaults only.
type Sources struct {
	// File is the path of the YAML file; empty for none. It may be empty of keys.
	File string
	// EnvFiles are paths of environment files, the first that sets a variable
	// counting. They must exist: see EnvFilesIn.
	EnvFiles []string
	// Environ is the process's environment as os.Environ gives it. It beats EnvFiles.
	Environ []string
	// Flags that were given beat everything else. A flag sets the key whose path
	// it has with dashes for dots and underscores: log-level sets log.level.
	Flags *pflag.FlagSet
	// Sections, where given, are the top-level keys whose mistakes count, for a program that uses
	// nothing else. A file that can't be read counts always.
	Sections []string
}

// Load reads the configuration: flags first, then the environment, the file
// and the defaults. For each key its own SUPABRIDGE_ variable comes before the
// names apps on Supabase know it by, wherever each is set.
//
// A file that can't be read gives that error, wrapped; everything else that is
// wrong is collected and returned as Errors. The file is checked whole; of a key's
// variables and flags only the one that counts.
func Load(from Sources) (*Config, error) {
	c, err := Draft(from)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Draft is Load, but for what it returns beside Errors: the configuration with defaults in place of
// what can't be used. It is good for finding out what else is wrong, and for nothing else.
func Draft(from Sources) (*Config, error) {
	env, warnings, err := newEnvironment(from.Environ, from.EnvFiles)
	if err != nil {
		return nil, err
	}
	var document []byte
	if from.File != "" {
		if document, err = readFile(from.File); err != nil {
			return nil, fmt.Errorf("read configuration: %w", err)
		}
	}
	c, err := assemble(from, document, env)
	if err != nil {
		return c, err
	}
	c.warnings = slices.Concat(warnings, env.strangers(), c.unwise())
	return c, nil
}

// assemble puts the layers over each other and reads what comes out on top.
func assemble(from Sources, document []byte, env environment) (*Config, error) {
	var errs Errors
	layers := viper.New()
	if err := layers.MergeConfigMap(parseDocument(from.File, document, &errs)); err != nil {
		return nil, fmt.Errorf("read configuration %s: %w", from.File, err)
	}
	if err := layers.MergeConfigMap(env.settings(root())); err != nil {
		return nil, fmt.Errorf("read environment: %w", err)
	}
	c := Default()
	c.origins = make(map[string]Origin)
	for k := range root().leaves() {
		layers.SetDefault(k.path, setting{value: k.in(c).Interface()})
		flag := bindFlag(layers, from.Flags, k)
		value, origin, m := decode(k, layers.Get(k.path), flag)
		if m != nil {
			errs.add(origin, k.path, "%s", m)
			continue
		}
		k.in(c).Set(reflect.ValueOf(value))
		c.origins[k.path] = origin
	}
	c.Derive()
	return c.checked(errs, from.Sections)
}

// checked adds to errs what Validate finds, but for keys that are in errs already.
func (c *Config) checked(errs Errors, sections []string) (*Config, error) {
	found := slices.Clone(errs)
	for _, e := range c.validate() {
		known := func(other *Error) bool { return other.Key == e.Key || other.Key == "" }
		if !slices.ContainsFunc(found, known) {
			errs = append(errs, e)
		}
	}
	if len(sections) > 0 {
		errs = slices.DeleteFunc(errs, func(e *Error) bool {
			section, _, _ := strings.Cut(e.Key, ".")
			return e.Key != "" && root().child(section) != nil && !slices.Contains(sections, section)
		})
	}
	return c, errs.orNil()
}

// bindFlag binds the flag of the key, if there is one, and returns it.
func bindFlag(layers *viper.Viper, flags *pflag.FlagSet, k *key) *pflag.Flag {
	if flags == nil {
		return nil
	}
	flag := flags.Lookup(k.flag())
	if flag == nil {
		return nil
	}
	if err := layers.BindPFlag(k.path, flag); err != nil {
		return nil // only for a nil flag
	}
	return flag
}

// decode turns what the layers hold for the key into its value.
func decode(k *key, held any, flag *pflag.Flag) (any, Origin, *mismatch) {
	switch held := held.(type) {
	case setting:
		if held.value != nil {
			return held.value, held.origin, nil
		}
		value, m := parseEnvironment(k, held)
		return value, held.origin, m
	case []string:
		value, m := k.parseList(held)
		return value, Origin{Kind: FromFlag, Name: flag.Name}, m
	default:
		value, m := k.parse(fmt.Sprint(held))
		return value, Origin{Kind: FromFlag, Name: flag.Name}, m
	}
}

// Derive fills supabase.realtime_url and supabase.jwks_url from supabase.url where they are empty,
// takes trailing slashes off that and socketio.paths, writes origins as browsers send them, and
// puts the nouns of the vocabulary into the names of rooms. Under auth.insecure_dev a listen
// address that names no host means this machine alone. Load does so itself; it is for a Config made
// by hand. A supabase.url that can't be read derives nothing.
func (c *Config) Derive() {
	if host, port, err := net.SplitHostPort(c.Listen); c.Auth.InsecureDev && err == nil && host == "" {
		c.Listen = net.JoinHostPort("127.0.0.1", port)
	}
	c.Supabase.URL = strings.TrimRight(c.Supabase.URL, "/")
	for i, origin := range c.SocketIO.CORS.Origins {
		c.SocketIO.CORS.Origins[i] = asBrowsersSend(origin)
	}
	for i, path := range c.SocketIO.Paths {
		if trimmed := strings.TrimRight(path, "/"); trimmed != "" {
			c.SocketIO.Paths[i] = trimmed
		}
	}
	nouns := strings.NewReplacer("{tenant}", c.Vocabulary.TenantNoun, "{conversation}", c.Vocabulary.ConversationNoun)
	c.Rooms.Conversation.Name = nouns.Replace(c.Rooms.Conversation.Name)
	c.Rooms.Tenant.Name = nouns.Replace(c.Rooms.Tenant.Name)
	base, err := url.Parse(c.Supabase.URL)
	if err != nil || base.Host == "" {
		return
	}
	if c.Supabase.RealtimeURL == "" {
		realtime := base.JoinPath("realtime/v1/websocket")
		realtime.Scheme = map[string]string{"http": "ws", "https": "wss"}[base.Scheme]
		c.Supabase.RealtimeURL = realtime.String()
		c.setOrigin("supabase.realtime_url", Origin{Kind: Derived})
	}
	if c.Supabase.JWKSURL == "" {
		c.Supabase.JWKSURL = base.JoinPath("auth/v1/.well-known/jwks.json").String()
		c.setOrigin("supabase.jwks_url", Origin{Kind: Derived})
	}
}

// asBrowsersSend gives an origin in the one form that browsers put it into the Origin header: in
// lower case, without the port that its scheme has anyway.
func asBrowsersSend(origin string) string {
	origin = strings.ToLower(origin)
	switch {
	case strings.HasPrefix(origin, "https://"):
		return strings.TrimSuffix(origin, ":443")
	case strings.HasPrefix(origin, "http://"):
		return strings.TrimSuffix(origin, ":80")
	}
	return origin
}

func (c *Config) setOrigin(path string, o Origin) {
	if c.origins == nil {
		c.origins = make(map[string]Origin)
	}
	c.origins[path] = o
}

// Warnings are things that are allowed but probably not meant, a line each,
// for the log at the start.
func (c *Config) Warnings() []string { return slices.Clone(c.warnings) }
