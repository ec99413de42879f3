//go:build !unix

package doctor

// FileLimit is not known here: there is no such limit.
func FileLimit() (limit uint64, ok bool) { return 0, false }
