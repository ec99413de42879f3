// Package wire is the one codec under both ends of Supabase Realtime: Phoenix
// Channels frames of serializer versions 1.0.0 and 2.0.0, text and binary, as a
// client and as a server read and write them.
//
//	m, err := wire.DecodeServerText(wire.V2, frame)   // a client reads
//	buf, binary, err := wire.AppendClient(nil, wire.V2, &m) // a client writes
//
// The package holds no state and starts no goroutine. A decoded Message aliases
// the frame it was read from (Payload, Metadata); whoever reuses the frame's
// buffer copies first.
package wire

import (
	"fmt"
	"strconv"
	"strings"
)

// Version is a Phoenix serializer version, the vsn of the WebSocket URL.
type Version uint8

const (
	// V1 is vsn 1.0.0: every text frame is a JSON object; there are no binary frames.
	V1 Version = 1
	// V2 is vsn 2.0.0: text frames are JSON arrays, and binary frames exist.
	V2 Version = 2
)

// ParseVersion reads a vsn query parameter. Empty means V1, as for a server that
// gets none; 1.0.x is V1 and 2.0.x is V2. Anything else is an error (a server
// answers it with HTTP 403).
func ParseVersion(s string) (Version, error) {
	if s == "" {
		return V1, nil
	}
	parts := strings.Split(s, ".")
	if len(parts) == 3 && parts[1] == "0" {
		if _, err := strconv.ParseUint(parts[2], 10, 32); err == nil {
			switch parts[0] {
			case "1":
				return V1, nil
			case "2":
				return V2, nil
			}
		}
	}
	return 0, fmt.Errorf("serializer version %.32q: want 1.0.x or 2.0.x", s)
}

// String is the vsn as it stands in a URL.
func (v Version) String() string {
	switch v {
	case V1:
		return "1.0.0"
	case V2:
		return "2.0.0"
	}
	return "vsn(" + strconv.Itoa(int(v)) + ")"
}
