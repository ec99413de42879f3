package config

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// variablePrefix begins the variable of every key: SUPABRIDGE_SUPABASE_URL is supabase.url.
const variablePrefix = "SUPABRIDGE_"

// wellKnown are the names under which an app on Supabase already has some of
// the keys in its environment, the first that is set counting. Names meant for
// the server stand before those meant for the browser: where an app has both,
// as in a container network, this daemon stands with the server. They yield to
// the key's own SUPABRIDGE_ variable and beat the file, like any variable.
var wellKnown = map[string][]string{
	"supabase.url": {"SUPABASE_URL", "NEXT_PUBLIC_SUPABASE_URL", "SUPABASE_PROJECT_URL"},
	"supabase.service_role_key": {
		"SUPABASE_SERVICE_ROLE_KEY", "SUPABASE_SECRET_KEY", "SUPABASE_SERVICE_KEY",
	},
	"supabase.anon_key": {
		"SUPABASE_ANON_KEY", "SUPABASE_PUBLISHABLE_KEY",
		"NEXT_PUBLIC_SUPABASE_ANON_KEY", "NEXT_PUBLIC_SUPABASE_PUBLISHABLE_KEY",
		"NEXT_PUBLIC_SUPABASE_PUBLISHABLE_DEFAULT_KEY", "NEXT_PUBLIC_SUPABASE_PUBLISHABLE_OR_ANON_KEY",
	},
	"supabase.jwt_secret":   {"SUPABASE_JWT_SECRET"},
	"listen":                {"SOCKET_IO_PORT"},
	"socketio.cors.origins": {"NEXT_PUBLIC_APP_URL"},
}

// translations turn what a well-known variable holds into what its key takes.
var translations = map[string]func(string) (string, *mismatch){
	"SOCKET_IO_PORT":      portToAddress,
	"NEXT_PUBLIC_APP_URL": addressToOrigin,
}

func portToAddress(port string) (string, *mismatch) {
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return "", &mismatch{expected: "a port number from 0 to 65535", found: (&key{}).shown(port)}
	}
	return ":" + port, nil
}

// addressToOrigin cuts the path off: an origin has none.
func addressToOrigin(address string) (string, *mismatch) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", &mismatch{expected: "an address such as https://app.example.com", found: (&key{}).shown(address)}
	}
	return u.Scheme + "://" + u.Host, nil
}

// environment is all variables by name, those of the process and those of the files.
type environment map[string]setting

// newEnvironment merges the process's environment, given as os.Environ does,
// with the files; what comes first counts. A variable that is set but empty
// keeps the files from setting it, and itself sets nothing.
func newEnvironment(environ, files []string) (environment, []string, error) {
	env := make(environment)
	for _, pair := range environ {
		if name, value, ok := strings.Cut(pair, "="); ok {
			env[name] = setting{text: value, origin: Origin{Kind: FromEnvironment, Name: name}}
		}
	}
	var warnings []string
	for _, path := range files {
		ofFile, warned, err := readEnvFile(path)
		if err != nil {
			return nil, nil, fmt.Errorf("read environment file: %w", err)
		}
		warnings = append(warnings, warned...)
		for name, s := range ofFile {
			if _, taken := env[name]; !taken {
				env[name] = s
			}
		}
	}
	return env, warnings, nil
}

// setting returns what the environment says of the key, if it says anything.
func (env environment) setting(k *key) (setting, bool) {
	for _, name := range append([]string{k.variable()}, wellKnown[k.path]...) {
		if s := env[name]; s.text != "" {
			return s, true
		}
	}
	return setting{}, false
}

// settings returns what the environment says, in nested maps as parseDocument does.
func (env environment) settings(k *key) map[string]any {
	all := make(map[string]any)
	for _, child := range k.children {
		if child.kind == section {
			all[child.name] = env.settings(child)
		} else if s, found := env.setting(child); found {
			all[child.name] = s
		}
	}
	return all
}

// strangers warns of SUPABRIDGE_ variables that are nearly one of ours. Others
// are let be: a container platform makes up such names for a service called supabridge.
func (env environment) strangers() []string {
	var ours, warnings []string
	for k := range root().leaves() {
		ours = append(ours, strings.ToLower(k.variable()))
	}
	for name, s := range env {
		lower := strings.ToLower(name)
		if !strings.HasPrefix(lower, strings.ToLower(variablePrefix)) {
			continue
		}
		exact := slices.Contains(ours, lower) && name == strings.ToUpper(name)
		if near := nearest(lower, ours); !exact && near != "" && editDistance(lower, near) <= 2 {
			warnings = append(warnings, fmt.Sprintf("%s: sets nothing, did you mean %s?", s.origin, strings.ToUpper(near)))
		}
	}
	slices.Sort(warnings)
	return warnings
}

// parseEnvironment reads a variable's text as the key's value.
func parseEnvironment(k *key, s setting) (any, *mismatch) {
	text := strings.TrimSpace(s.text)
	if translate := translations[s.origin.Name]; translate != nil {
		var m *mismatch
		if text, m = translate(text); m != nil {
			return nil, m
		}
	}
	if k.kind != list {
		return k.parse(text)
	}
	members := strings.Split(text, ",")
	for i := range members {
		members[i] = strings.TrimSpace(members[i])
	}
	return k.parseList(members)
}
