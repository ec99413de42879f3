//go:build unix

package doctor

import "syscall"

// FileLimit is how many files this process may have open; Go has raised it to what the system
// allows at most.
func FileLimit() (limit uint64, ok bool) {
	var r syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r) != nil {
		return 0, false
	}
	return uint64(r.Cur), true
}
