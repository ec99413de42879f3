package engineio

import "sync/atomic"

// Traffic counts packets, heartbeats included, and their bytes: as the client framed them on the
// way in, with the frames' headers on the way out.
type Traffic struct {
	PacketsIn, BytesIn, PacketsOut, BytesOut uint64
}

// traffic is counted once a packet on the way in and once a write on the way out.
type traffic struct{ packetsIn, bytesIn, packetsOut, bytesOut atomic.Uint64 }

func (t *traffic) in(bytes int) {
	t.packetsIn.Add(1)
	t.bytesIn.Add(uint64(bytes))
}

func (t *traffic) out(packets, bytes int) {
	t.packetsOut.Add(uint64(packets))
	t.bytesOut.Add(uint64(bytes))
}

// Traffic returns what went over all connections since the server was made.
func (s *Server) Traffic() Traffic {
	t := &s.traffic
	return Traffic{t.packetsIn.Load(), t.bytesIn.Load(), t.packetsOut.Load(), t.bytesOut.Load()}
}
