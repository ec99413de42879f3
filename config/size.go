package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Size is a number of bytes, written in YAML as a plain number or with a unit:
// 1MiB, 64KiB (powers of 1024), 1MB, 64KB (powers of 1000), 512B.
type Size int64

// Units from the largest; within one magnitude the binary unit is tried first when printing.
var sizeUnits = []struct {
	name  string
	bytes int64
}{
	{"GiB", 1 << 30},
	{"GB", 1e9},
	{"MiB", 1 << 20},
	{"MB", 1e6},
	{"KiB", 1 << 10},
	{"KB", 1e3},
	{"B", 1},
}

var errSize = errors.New("not a size such as 1MiB, 64KiB, 1MB or a number of bytes")

// ParseSize reads what String writes, and plain numbers of bytes. It accepts no
// sign, no fraction and nothing beyond 2^63-1; units are case-sensitive.
func ParseSize(text string) (Size, error) {
	number, unit := text, int64(1)
	for _, u := range sizeUnits {
		if rest, found := strings.CutSuffix(text, u.name); found {
			number, unit = strings.TrimSuffix(rest, " "), u.bytes
			break
		}
	}
	n, err := strconv.ParseUint(number, 10, 63)
	if err != nil || n > math.MaxInt64/uint64(unit) {
		return 0, errSize
	}
	return Size(int64(n) * unit), nil
}

// String writes the size in the largest unit that divides it: 1MiB, 1MB, 1500B.
func (s Size) String() string {
	for _, u := range sizeUnits {
		if s != 0 && int64(s)%u.bytes == 0 {
			return fmt.Sprintf("%d%s", int64(s)/u.bytes, u.name)
		}
	}
	return "0B"
}
