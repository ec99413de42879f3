package phxserver

import (
	"encoding/json"
	"math/big"
	"sort"
	"strconv"
)

// bindingID is the id Realtime gives a postgres_changes binding: Erlang's
// phash2 of the parameters as the client sent them, below 2^27. Equal
// parameters get equal ids on every channel, server and restart, and clients
// that keep ids over a reconnect rely on it.
//
// v is a JSON value decoded with json.Number. Numbers that aren't integers are
// hashed by their text: no client sends any.
func bindingID(v any) uint32 { return termHash(v, 0) & (1<<27 - 1) }

// golden is the constant of Bob Jenkins' hash; phash2 marks each type of term by
// a multiple of it.
const golden = 0x9e3779b9

func typeMark(n uint32) uint32 { return n * golden }

// Marks of the term types, and what stands for the end of a list.
const (
	markAtom    = 3
	markNil     = 2
	markBytes   = 4
	markBinary  = 13
	markMap     = 16
	markMapTail = 19

	nilTerm      = 2
	emptyListTop = 3468870702
)

func jenkinsMix(a, b, c uint32) (uint32, uint32, uint32) {
	a = (a - b - c) ^ c>>13
	b = (b - c - a) ^ a<<8
	c = (c - a - b) ^ b>>13
	a = (a - b - c) ^ c>>12
	b = (b - c - a) ^ a<<16
	c = (c - a - b) ^ b>>5
	a = (a - b - c) ^ c>>3
	b = (b - c - a) ^ a<<10
	c = (c - a - b) ^ b>>15
	return a, b, c
}

// mixWord mixes one 32-bit word into the hash.
func mixWord(hash, word, mark uint32) uint32 {
	_, _, c := jenkinsMix(mark+word, mark, hash)
	return c
}

func mixBytes(k string, seed uint32) uint32 {
	le := func(i int) uint32 {
		return uint32(k[i]) | uint32(k[i+1])<<8 | uint32(k[i+2])<<16 | uint32(k[i+3])<<24
	}
	a, b, c := uint32(golden), uint32(golden), seed
	n := uint32(len(k))
	for ; len(k) >= 12; k = k[12:] {
		a, b, c = jenkinsMix(a+le(0), b+le(4), c+le(8))
	}
	c += n
	for i := range len(k) {
		word := uint32(k[i])
		switch {
		case i < 4:
			a += word << (8 * i)
		case i < 8:
			b += word << (8 * (i - 4))
		default: // the lowest byte of c holds the length
			c += word << (8 * (i - 7))
		}
	}
	_, _, c = jenkinsMix(a, b, c)
	return c
}

// atomValue is the hash Erlang keeps in its atom table.
func atomValue(name string) uint32 {
	var h uint32
	for i := range len(name) {
		h = h<<4 + uint32(name[i])
		if g := h & 0xf0000000; g != 0 {
			h ^= g >> 24
			h ^= g
		}
	}
	return h
}

func atomHash(name string, hash uint32) uint32 {
	if hash == 0 {
		return atomValue(name)
	}
	return mixWord(hash, atomValue(name), typeMark(markAtom))
}

func termHash(v any, hash uint32) uint32 {
	switch v := v.(type) {
	case nil:
		return atomHash("nil", hash)
	case bool:
		return atomHash(strconv.FormatBool(v), hash)
	case string:
		return binaryHash(v, hash)
	case json.Number:
		return numberHash(v, hash)
	case []any:
		return listHash(v, hash)
	case map[string]any:
		return mapHash(v, hash)
	}
	return hash
}

func binaryHash(s string, hash uint32) uint32 {
	seed := typeMark(markBinary) + hash
	if s == "" {
		return seed
	}
	return mixBytes(s, seed)
}

func numberHash(n json.Number, hash uint32) uint32 {
	i, ok := new(big.Int).SetString(string(n), 10)
	if !ok || i.BitLen() > 27 {
		return binaryHash(string(n), hash)
	}
	word := int32(i.Int64())
	if word < 0 { // negative numbers are mixed twice
		hash = mixWord(hash, uint32(-word), golden)
	}
	return mixWord(hash, uint32(word), golden)
}

// listHash takes runs of bytes, which Erlang can't tell from a string, four at a time.
func listHash(list []any, hash uint32) uint32 {
	if len(list) == 0 && hash == 0 {
		return emptyListTop
	}
	for i := 0; i < len(list); {
		var word uint32
		count := 0
		for ; i < len(list); i++ {
			b, ok := byteTerm(list[i])
			if !ok {
				break
			}
			word = word<<8 + b
			if count == 3 {
				hash = mixWord(hash, word, typeMark(markBytes))
				word, count = 0, 0
			} else {
				count++
			}
		}
		if count > 0 {
			hash = mixWord(hash, word, typeMark(markBytes))
		}
		if i < len(list) {
			hash = termHash(list[i], hash)
			i++
		}
	}
	return mixWord(hash, nilTerm, typeMark(markNil))
}

func byteTerm(v any) (uint32, bool) {
	n, ok := v.(json.Number)
	if !ok {
		return 0, false
	}
	b, err := strconv.ParseUint(string(n), 10, 8)
	return uint32(b), err == nil
}

// mapHash doesn't depend on the order of the keys.
func mapHash(m map[string]any, hash uint32) uint32 {
	hash = mixWord(hash, uint32(len(m)), typeMark(markMap))
	if len(m) == 0 {
		return hash
	}
	var pairs uint32
	for k, v := range m {
		pairs ^= termHash(v, binaryHash(k, 0))
	}
	return mixWord(hash, pairs, typeMark(markMapTail))
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
