// Package standin is a Supabase in one process, in memory: tables with row security, the part of
// PostgREST that supabase-js sends for an application's tables, Realtime on the same tables, and
// the tokens for all of it. It is what the dev command runs against and what tests have as their
// backend.
//
//	server, err := standin.New(standin.Options{})
//	if err != nil {
//		return err
//	}
//	defer server.Close(context.Background())
//	return http.ListenAndServe("127.0.0.1:54321", server.Handler())
//
// Goroutines are started only by Realtime, for its sockets and its feed of changes; Close ends them
// and waits. REST runs on those of the http.Server.
//
// # The parts
//
// Package sql owns the tables, their rows and transactions, and row security. Package rest reads
// requests as PostgREST does and has sql carry them out. Package realtime tells sockets of changes
// of the same tables. Package tokens mints and checks the project's JWTs. This package reads the
// seed and wires them: the gateway in front of all, the auth service, and /admin.
//
// # What REST answers
//
// /rest/v1/ reads with columns, aliases and paths into JSON (select), the operators eq neq gt gte
// lt lte in is like ilike match imatch isdistinct with not, (any) and (all), trees of or and and,
// order, limit, offset, Range, single objects and counts; it inserts one or many, with on_conflict
// and both resolutions, updates and deletes, and answers with PostgREST's errors and statuses. What
// it lacks is refused with PGRST127, or PGRST202 for functions: embedding, casts, cs cd ov and the
// range and full text operators, limits on writes. It differs in this: text is ordered by bytes,
// planned and estimated counts are exact, and exponents of numbers end at 1000. Grants are those of
// reading alone: the seed may name the columns of a table that a role may SELECT, and others are
// refused with 42501. Writing needs no grant; row security decides on it.
//
// A body may have 8 MiB, a URL 64 KiB, an answer [Options].MaxRows rows (1000), all tables together
// [Limits].MaxBytes. A request is one transaction; [DB.Tx] is how Go code makes one.
//
// # The seed
//
// The tables come from a seed in YAML (see [ParseSeed]); without one they are those of a WhatsApp
// inbox: distributors, users, conversations and messages.
package standin
