// Package config is the daemon's configuration: one tree, read from flags, the
// environment, a YAML file and defaults, in that order.
//
//	cfg, err := config.Load(config.Sources{
//		File:    "supabridge.yaml",
//		Environ: os.Environ(),
//	})
//
// Every key has a variable, SUPABRIDGE_ and its path in capitals with _ for
// dots; a few are also found under the names that apps on Supabase use, such as
// SUPABASE_URL. [Reference] writes all keys with their defaults and what they
// are for, [Schema] the same for editors, and [Config.Print] a configuration
// with the place each value came from.
//
// Load is strict. An unknown key, a value of the wrong type or out of bounds,
// and a key given twice are errors that name the place, the key and what was
// expected, and all of them are reported at once as [Errors].
//
// The package keeps no state: a [Config] once loaded
// doesn't change.
package config
