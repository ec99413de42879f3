package main

import (
	"math"
	"runtime"
	"runtime/debug"

	"github.com/rs/zerolog"

	"github.com/supabridge/supabridge/internal/doctor"
)

// warnOfFileLimit logs a limit on open files that is low for a server. Go has raised the process's
// own to what it may at most.
func warnOfFileLimit(log zerolog.Logger) {
	if limit, ok := doctor.FileLimit(); ok && limit < doctor.FewFiles {
		log.Warn().
			Uint64("limit", limit).
			Msg("few files may be open, and so few browsers connect: raise the limit (ulimit -n, LimitNOFILE of systemd, --ulimit nofile of Docker)")
	}
}

// runtimeLimits are what GOMAXPROCS and GOMEMLIMIT, or the container, allow.
func runtimeLimits() *zerolog.Event {
	limits := zerolog.Dict().Int("gomaxprocs", runtime.GOMAXPROCS(0))
	if memory := debug.SetMemoryLimit(-1); memory != math.MaxInt64 {
		limits = limits.Int64("gomemlimit", memory)
	}
	return limits
}
