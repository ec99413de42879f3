// Package ops is what operators look at: metrics for Prometheus, the status page, traces, health,
// the last problems of the log; and, in package tail, what passes through the bridge.
//
//	registry := ops.NewRegistry()
//	changes := ops.NewChanges(ops.Prefixed(registry))
//	changes.Sent(change, committed)
//	http.ListenAndServe(listen, ops.Handler(ops.HandlerOptions{Metrics: registry, …}))
//
// It starts no goroutine, but for the one with which OpenTelemetry sends spans where ops.traces.url
// is set; Traces.Close ends that.
package ops
