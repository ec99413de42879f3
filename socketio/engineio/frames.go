package engineio

import (
	"encoding/binary"
	"errors"
	"math"
	"math/bits"
)

// frames takes the websocket frames of a client apart (RFC 6455 §5). A message that lies whole in
// the bytes that were read is handed on where it lies; something is kept only of a message that
// isn't complete yet. So a client that sends half of one holds up no goroutine.
//
// gorilla/websocket, against which this is tested, would block until a frame is complete, and keep
// a kilobyte for each client at rest.
type frames struct {
	limit  int         // bytes of one message; the reader sets it
	broken *unfinished // nil between messages
}

// unfinished is a message of which the rest is still to come.
type unfinished struct {
	op   byte   // of the message
	data []byte // what has come of it
	left int    // bytes that are still to come of its frame
	last bool   // that frame is the last
	key  uint32 // the mask, as it applies to the next byte
}

// Opcodes without the FIN bit.
const (
	opContinuation = 0x0
	opcodeText     = opText &^ finBit
	opcodeBinary   = opBinary &^ finBit
	opcodeClose    = opClose &^ finBit
	opcodePing     = 0x9
	opcodePong     = opPong &^ finBit
)

const (
	finBit     = 0x80
	maskBit    = 0x80
	maxControl = 125 // bytes of a control frame's payload

	// maxUnparsed is how many bytes next may leave untouched: a control frame without its last byte.
	maxUnparsed = 6 + maxControl - 1
)

// closeError is a client's fault that is told to it in a close frame, with this code.
type closeError uint16

const (
	errFrame   closeError = 1002 // breaks the protocol
	errTooLong closeError = 1009
)

func (e closeError) Error() string {
	if e == errTooLong {
		return "websocket message larger than the limit"
	}
	return "websocket frame breaks the protocol"
}

// next takes the next message, or control frame, from b, which it changes, and returns its opcode,
// its payload, and the bytes after it. Without a whole one it returns false; the rest, at most
// maxUnparsed bytes, has to come again, with more behind it. The payload is valid until b is used
// otherwise. After an error there is no going on.
func (f *frames) next(b []byte) (op byte, payload, rest []byte, ok bool, err error) {
	for {
		if u := f.broken; u != nil && u.left > 0 {
			n := min(u.left, len(b))
			u.key = unmask(b[:n], u.key)
			u.data = append(u.grown(n), b[:n]...)
			u.left -= n
			b = b[n:]
			if u.left > 0 {
				return 0, nil, nil, false, nil
			}
		}
		if u := f.broken; u != nil && u.last {
			f.broken = nil
			return u.op, u.data, b, true, nil
		}
		u := f.broken
		head, size, key, err := frameHead(b, u != nil)
		if err != nil || head == 0 {
			return 0, nil, b, false, err
		}
		op, last := b[0]&^finBit, b[0]&finBit != 0
		if op >= opcodeClose { // control frames may come in between
			if len(b) < head+size {
				return 0, nil, b, false, nil
			}
			payload, rest = b[head:head+size], b[head+size:]
			unmask(payload, key)
			return op, payload, rest, true, nil
		}
		had := 0
		if u != nil {
			had = len(u.data)
		}
		if size > f.limit-had {
			return 0, nil, nil, false, errTooLong
		}
		if last && u == nil && len(b) >= head+size {
			payload, rest = b[head:head+size], b[head+size:]
			unmask(payload, key)
			return op, payload, rest, true, nil
		}
		if u == nil {
			u = &unfinished{op: op}
			f.broken = u
		}
		u.left, u.last, u.key = size, last, key
		b = b[head:]
	}
}

// minKept is the least that a buffer for an incomplete message has, in bytes.
const minKept = 2 << 10

// grown returns the data with room for n bytes more. The room doubles at least, so that few buffers
// become garbage on the way, and in the last frame of a message, whose length is known, it is never
// more than the message takes.
func (u *unfinished) grown(n int) []byte {
	need := len(u.data) + n
	if need <= cap(u.data) {
		return u.data
	}
	size := max(need, 2*cap(u.data), minKept)
	if cap(u.data) < readSize {
		size = max(size, 4*cap(u.data))
	}
	if u.last {
		size = min(size, len(u.data)+u.left)
	}
	return append(make([]byte, 0, size), u.data...)
}

// held is how many bytes are kept of a message that isn't complete.
func (f *frames) held() int {
	if f.broken == nil {
		return 0
	}
	return cap(f.broken.data)
}

// frameHead reads a frame's header. Its length is 0 if it isn't complete; size is the payload's.
// within says that the frame before was not the last of its message.
func frameHead(b []byte, within bool) (head, size int, key uint32, err error) {
	if len(b) < 2 {
		return 0, 0, 0, nil
	}
	op, last := b[0]&^finBit, b[0]&finBit != 0
	head, size = 2, int(b[1]&^maskBit)
	switch {
	case b[1]&maskBit == 0, op > opcodePong: // extensions have opcodes of their own, and bits above them
		return 0, 0, 0, errFrame
	case op >= opcodeClose:
		if size > maxControl || !last {
			return 0, 0, 0, errFrame
		}
	case op > opcodeBinary, (op == opContinuation) != within:
		return 0, 0, 0, errFrame
	}
	switch size {
	case 126:
		if head = 4; len(b) >= head {
			size = int(binary.BigEndian.Uint16(b[2:]))
		}
	case 127:
		if head = 10; len(b) >= head {
			n := binary.BigEndian.Uint64(b[2:])
			if n > math.MaxInt64 {
				return 0, 0, 0, errTooLong
			}
			size = int(min(n, math.MaxInt32)) // more than any limit
		}
	}
	if len(b) < head+4 {
		return 0, 0, 0, nil
	}
	return head + 4, size, binary.LittleEndian.Uint32(b[head:]), nil
}

// unmask removes the mask from b and returns it as it applies to the byte after.
func unmask(b []byte, key uint32) uint32 {
	if key == 0 {
		return key
	}
	wide := uint64(key)<<32 | uint64(key)
	for len(b) >= 8 {
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^wide)
		b = b[8:]
	}
	for i := range b {
		b[i] ^= byte(key)
		key = bits.RotateLeft32(key, -8)
	}
	return key
}

// goingAway is the status of a close frame that browsers send when a page is closed, left or loaded
// anew (RFC 6455 §7.4.1).
const goingAway = 1001

// errHungUp means that the client has closed the websocket as the protocol wants it.
var errHungUp = errors.New("closed by the client")
