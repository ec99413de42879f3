package ops

import (
	"net/http"
	"net/http/pprof"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// NewRegistry makes a registry that has the metrics of Go and of the process already.
func NewRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// Prefixed returns a registerer that puts supabridge_ before each name.
func Prefixed(r prometheus.Registerer) prometheus.Registerer {
	return prometheus.WrapRegistererWithPrefix("supabridge_", r)
}

// HandlerOptions are what the ops port shows.
type HandlerOptions struct {
	Metrics prometheus.Gatherer
	Ready   http.HandlerFunc // answers /readyz
	Tail    http.Handler     // answers /tail
	Status  func() Status    // for the status page, asked at each look
}

// Handler serves what is for those who run the daemon and nobody else: a status page at /, /metrics
// for Prometheus, /tail, /debug/pprof/, and /healthz and /readyz again. It asks for no password;
// see guard.
func Handler(opts HandlerOptions) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(opts.Metrics, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", Healthz)
	mux.HandleFunc("GET /readyz", opts.Ready)
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	mux.Handle("GET /tail", opts.Tail)
	mountStatus(mux, opts.Status)
	return guard(mux)
}
