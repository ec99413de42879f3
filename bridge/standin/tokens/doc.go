// Package tokens mints and verifies the JWTs of one Supabase project, and says why it refuses one.
// REST, Realtime and the auth service of the stand-in use the same [Tokens].
//
//	project, err := tokens.New(tokens.DefaultJWTSecret)
//	if err != nil {
//		return err
//	}
//	token, err := project.Mint("authenticated", "a user's id", nil, time.Now(), time.Hour)
//	if err != nil {
//		return err
//	}
//	claims, err := project.Verify(token, time.Now())
//
// A Tokens owns the project's secret and its signing keys. A mutex guards the signing keys; the
// rest is immutable. The package starts no goroutine.
package tokens
