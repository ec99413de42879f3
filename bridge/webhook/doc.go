// Package webhook takes webhooks and sends some. It takes those of Twilio and Supabase's Database
// Webhooks, and it reports to the application who is online, which rooms are occupied and what was
// read.
//
//	h, err := webhook.New(webhook.Options{Config: cfg.Webhooks, Tables: cfg.Tables, Rows: rows, Changes: changes, …})
//	h.Mount(mux)          // the paths that are configured
//	go h.Run(ctx)         // delivers until ctx ends
//	h.Report(webhook.MessagesRead, conversation, data)
//	h.Close()
//
// A webhook of Twilio's is answered once it is in the outbox, a file. From there it is posted to
// the application's own route (mode forward) or written to the tables (mode store). Mode emit sends
// a message to its rooms before the application stores it. A Database Webhook is offered to the
// feed and kept nowhere: Realtime brings the change as well. Where nothing is configured, Webhooks
// has no routes, takes no reports and opens no file.
//
// All options are fixed while it runs, as webhooks, tables and rooms are in the configuration.
//
// Goroutines: New opens the outbox, which has one goroutine that writes. Run has one for reports,
// one that serves the command "supabridge outbox", and one for each delivery under way; all have
// ended when it returns. A message that is sent before it is stored has one of its own, at most 64
// at a time. Close ends those and the outbox.
//
// State: the outbox owns what waits. reporter owns the reports that are not on disk yet (its mutex)
// and what is known of rooms (Run's goroutine). Which messages were sent early is in a cache of its
// own, written on the goroutine of Changes.
package webhook
