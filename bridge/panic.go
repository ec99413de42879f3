package bridge

import (
	"fmt"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/supabridge/supabridge/socketio"
)

// A defect that one client or one node brings to light is that client's failure and not
// everybody's. So each function that is called on behalf of one recovers from a panic: it is logged
// with its stack, counted by what was being done, and the socket is closed, since what the bridge
// knows of it may be wrong.

func newPanics() *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "panics_total",
		Help: "Defects that were recovered from, by what was being done. Each is logged with its stack; please report it."}, []string{"during"})
}

// survive recovers from a panic of the function that defers it. The socket may be nil, for what no
// socket caused.
func (b *Bridge) survive(s *socketio.Socket, during string) {
	if defect := recover(); defect != nil {
		b.panicked(s, during, defect)
	}
}

// panicked logs and counts a panic, and closes the socket.
func (b *Bridge) panicked(s *socketio.Socket, during string, defect any) {
	b.metrics.panics.WithLabelValues(during).Inc()
	event := b.log.Error().Str("during", during).Bytes("stack", debug.Stack())
	if s != nil {
		event = event.Str("socket", s.ID())
		defer s.CloseConnection()
	}
	event.Msg("a defect was recovered from: " + fmt.Sprint(defect))
}
