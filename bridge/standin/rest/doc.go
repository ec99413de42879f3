// Package rest answers as PostgREST does, for the part of it that supabase-js sends for an
// application's tables. It reads a request's filters, columns and body, has package sql carry the
// statement out for the bearer, and writes rows and errors in PostgREST's form.
//
//	handler := rest.New(db, rest.Options{})
//	handler.Serve(w, r, claims, body) // of a verified token, and the body that was read
//
// It checks no keys and bounds no bodies: the gateway of package standin has done so before. A
// Handler is immutable and holds no state of its own; rows and their locks are the DB's. The
// package starts no goroutine.
package rest
