package config

import "fmt"

// Origin says where a value came from, for messages and for Print.
type Origin struct {
	Kind OriginKind
	File string // path of the YAML file or environment file, else empty
	Line int    // line in File, from 1; 0 where there is none
	Name string // name of the environment variable or of the flag, else empty
}

// OriginKind is one of the layers a value can come from.
type OriginKind int

// The layers, from the one that yields to all to the one that beats all.
// Derived values are computed from others after everything is read.
const (
	FromDefault OriginKind = iota
	FromFile
	FromEnvFile
	FromEnvironment
	FromFlag
	Derived
)

// String says it in words, such as "environment SUPABASE_URL", or as
// file:line for a value of the YAML file.
func (o Origin) String() string {
	switch o.Kind {
	case FromFile:
		if o.Line == 0 {
			return o.File
		}
		return fmt.Sprintf("%s:%d", o.File, o.Line)
	case FromEnvFile:
		return fmt.Sprintf("%s in %s", o.Name, o.File)
	case FromEnvironment:
		return "environment " + o.Name
	case FromFlag:
		return "flag --" + o.Name
	case Derived:
		return "derived"
	default:
		return "default"
	}
}
