package row

import (
	"maps"
	"sync"
	"sync/atomic"
)

// The names of columns are few and come with every row, so each is made a string once. A reader
// takes the map as it is; who adds to it puts a copy in its place. Names of what clients send are
// looked for too and pass through here, so their number is bounded: beyond maxNames, and for those
// longer than maxName bytes, each is made anew.
const (
	maxNames = 2048
	maxName  = 64
)

var names struct {
	known atomic.Pointer[map[string]string]
	add   sync.Mutex
}

// intern gives the text as a string.
func intern(text []byte) string {
	if known := names.known.Load(); known != nil {
		if name, ok := (*known)[string(text)]; ok { // does not allocate
			return name
		}
		if len(*known) >= maxNames {
			return string(text)
		}
	}
	name := string(text)
	if len(name) <= maxName {
		remember(name)
	}
	return name
}

func remember(name string) {
	names.add.Lock()
	defer names.add.Unlock()
	next := make(map[string]string)
	if known := names.known.Load(); known != nil {
		if len(*known) >= maxNames {
			return
		}
		maps.Copy(next, *known)
	}
	next[name] = name
	names.known.Store(&next)
}
