//go:build !unix

package main

// fileLimit is not known here: there is no such limit.
func fileLimit() (limit uint64, ok bool) { return 0, false }
