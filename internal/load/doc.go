// Package load puts a bridge under load as browsers do, so that those who run one can size it:
// connections, rooms, messages, typing, and connections that break and come back.
//
//	report, err := load.Run(ctx, load.Options{URL: "http://127.0.0.1:3001", Connections: 1000, Messages: 10, Duration: time.Minute, Secret: publishSecret})
//	fmt.Print(report.Table())
//
// Messages are posted to the bridge's publish path, so nothing is written to a database and what is
// measured is the bridge alone: from the moment before the post until a browser's handler has it.
// Generator and bridge share a clock only on one machine or by a good NTP; the generator takes CPU
// of its own.
//
// Run starts a goroutine for each connection and a few more, and has waited for all of them when it
// returns.
package load
