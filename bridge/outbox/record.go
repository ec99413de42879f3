package outbox

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"hash/crc32"
	"time"

	"go.etcd.io/bbolt"
)

// The buckets of the file. An entry is under its number, big-endian, in queue while it waits and in
// dead when it is given up. seen has the dedupe keys with their time, seen_at the same the other
// way about, so that the oldest can be found.
var (
	queueBucket  = []byte("queue")
	deadBucket   = []byte("dead")
	seenBucket   = []byte("seen")
	seenAtBucket = []byte("seen_at")
)

func makeBuckets(tx *bbolt.Tx) error {
	for _, name := range [][]byte{queueBucket, deadBucket, seenBucket, seenAtBucket} {
		if _, err := tx.CreateBucketIfNotExists(name); err != nil {
			return err
		}
	}
	return nil
}

// head is what an entry's record says besides the body. Its names stay: files outlive versions.
type head struct {
	Target   string            `json:"target"`
	Lane     string            `json:"lane,omitempty"`
	Header   map[string]string `json:"header,omitempty"`
	At       int64             `json:"at"` // nanoseconds since 1970
	Attempts int               `json:"attempts,omitempty"`
	Reason   string            `json:"reason,omitempty"`
	Since    int64             `json:"since,omitempty"` // nanoseconds since 1970
	Dead     bool              `json:"dead,omitempty"`
}

var errRecord = errors.New("not a record")

// A record is the CRC-32 of the rest, the length of the head, the head as JSON, and the body.
const recordPrefix = 8

func encode(item Item) ([]byte, error) {
	h, err := json.Marshal(head{Target: item.Target, Lane: item.Lane, Header: item.Header, At: item.At.UnixNano(),
		Attempts: item.Attempts, Reason: item.Reason, Since: nanos(item.Since), Dead: item.Dead})
	if err != nil {
		return nil, err
	}
	record := make([]byte, recordPrefix, recordPrefix+len(h)+len(item.Body))
	binary.BigEndian.PutUint32(record[4:], uint32(len(h)))
	record = append(append(record, h...), item.Body...)
	binary.BigEndian.PutUint32(record, crc32.ChecksumIEEE(record[4:]))
	return record, nil
}

// decode copies what it gives: a record of bbolt's is gone with its transaction.
func decode(key, record []byte) (Item, error) {
	if len(key) != 8 || len(record) < recordPrefix || crc32.ChecksumIEEE(record[4:]) != binary.BigEndian.Uint32(record) {
		return Item{}, errRecord
	}
	length := binary.BigEndian.Uint32(record[4:])
	rest := record[recordPrefix:]
	if uint64(length) > uint64(len(rest)) {
		return Item{}, errRecord
	}
	var h head
	if err := json.Unmarshal(rest[:length], &h); err != nil {
		return Item{}, errRecord
	}
	return Item{
		Entry: Entry{Target: h.Target, Lane: h.Lane, Header: h.Header, Body: append([]byte{}, rest[length:]...)},
		ID:    binary.BigEndian.Uint64(key), Attempts: h.Attempts, At: time.Unix(0, h.At), Reason: h.Reason,
		Since: fromNanos(h.Since), Dead: h.Dead,
	}, nil
}

func number(id uint64) []byte { return binary.BigEndian.AppendUint64(nil, id) }

// nanos gives a time as nanoseconds since 1970, 0 for none; fromNanos is its inverse.
func nanos(at time.Time) int64 {
	if at.IsZero() {
		return 0
	}
	return at.UnixNano()
}

func fromNanos(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n)
}
