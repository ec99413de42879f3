package sql

import (
	"fmt"
	"strconv"
	"strings"
)

// kind groups the types that read, print and compare alike.
type kind uint8

const (
	kindText kind = iota
	kindInt
	kindFloat
	kindNumeric
	kindBool
	kindUUID
	kindJSON
	kindJSONB
	kindTimestamptz
	kindTimestamp
	kindDate
	kindTime
	kindBytea
	kindEnum
	kindArray
	kindOpaque // kept as the text it came in: interval, inet, ranges, geometry
)

// Type is a Postgres type. It is immutable.
type Type struct {
	name   string // as in pg_type: int8, _int4
	kind   kind
	size   int // bits of an integer or float; characters of varchar(n), bpchar(n), 0 is any
	prec   int // numeric(prec,scale); prec 0 is any
	scale  int
	labels []string // of an enum, in order
	elem   *Type    // of an array
}

// longNames are the SQL names that differ from pg_type's, both ways.
var longNames = map[string]string{
	"int2": "smallint", "int4": "integer", "int8": "bigint", "float4": "real", "float8": "double precision",
	"bool": "boolean", "varchar": "character varying", "bpchar": "character",
	"timestamptz": "timestamp with time zone", "timestamp": "timestamp without time zone",
	"timetz": "time with time zone", "time": "time without time zone",
}

// shortNames are the spellings a seed may use beside pg_type's own.
var shortNames = map[string]string{
	"smallint": "int2", "integer": "int4", "int": "int4", "bigint": "int8", "real": "float4", "double precision": "float8",
	"decimal": "numeric", "boolean": "bool", "character varying": "varchar", "char": "bpchar", "character": "bpchar",
	"timestamp with time zone": "timestamptz", "timestamp without time zone": "timestamp",
	"time with time zone": "timetz", "time without time zone": "time",
}

var kinds = map[string]kind{
	"text": kindText, "varchar": kindText, "bpchar": kindText, "name": kindText, "citext": kindText,
	"int2": kindInt, "int4": kindInt, "int8": kindInt, "float4": kindFloat, "float8": kindFloat, "numeric": kindNumeric,
	"bool": kindBool, "uuid": kindUUID, "json": kindJSON, "jsonb": kindJSONB,
	"timestamptz": kindTimestamptz, "timestamp": kindTimestamp, "date": kindDate, "time": kindTime, "bytea": kindBytea,
	"timetz": kindOpaque, "interval": kindOpaque, "inet": kindOpaque, "cidr": kindOpaque, "macaddr": kindOpaque,
	"macaddr8": kindOpaque, "int4range": kindOpaque, "int8range": kindOpaque, "numrange": kindOpaque,
	"tsrange":   kindOpaque,
	"tstzrange": kindOpaque, "daterange": kindOpaque, "point": kindOpaque, "line": kindOpaque, "box": kindOpaque,
	"path": kindOpaque, "polygon": kindOpaque, "circle": kindOpaque, "bit": kindOpaque, "varbit": kindOpaque,
	"xml": kindOpaque, "tsvector": kindOpaque, "oid": kindOpaque,
}

// ParseType reads a type as a seed spells it: int8, bigint, varchar(20), numeric(10,2), text[], or
// an enum's name.
func ParseType(text string, enums map[string][]string) (*Type, error) {
	name := strings.TrimSpace(text)
	if base, ok := strings.CutSuffix(name, "[]"); ok {
		elem, err := ParseType(base, enums)
		if err != nil {
			return nil, err
		}
		if elem.kind == kindArray {
			return nil, fmt.Errorf("type %q: arrays of any dimension are written with one []", text)
		}
		return &Type{name: "_" + elem.name, kind: kindArray, elem: elem}, nil
	}
	if labels, ok := enums[name]; ok {
		return &Type{name: name, kind: kindEnum, labels: labels}, nil
	}
	name = strings.ToLower(name)
	name, args, err := cutModifiers(name)
	if err != nil {
		return nil, fmt.Errorf("type %q: %w", text, err)
	}
	if short, ok := shortNames[name]; ok {
		name = short
	}
	k, ok := kinds[name]
	if !ok {
		return nil, fmt.Errorf("unknown type %q", text)
	}
	t := &Type{name: name, kind: k}
	switch name {
	case "int2":
		t.size = 16
	case "int4", "float4":
		t.size = 32
	case "int8", "float8":
		t.size = 64
	}
	switch {
	case len(args) == 0:
	case len(args) == 1 && (name == "varchar" || name == "bpchar"):
		t.size = args[0]
	case len(args) <= 2 && name == "numeric":
		t.prec = args[0]
		if len(args) == 2 {
			t.scale = args[1]
		}
		if t.prec < 1 || t.prec > 1000 || t.scale > t.prec {
			return nil, fmt.Errorf("type %q: precision is 1 to 1000 and scale no more than it", text)
		}
	case len(args) == 1 && k == kindOpaque:
	default:
		return nil, fmt.Errorf("type %q takes no such modifier", text)
	}
	return t, nil
}

// cutModifiers splits numeric(10,2) into its name and numbers.
func cutModifiers(text string) (string, []int, error) {
	name, rest, ok := strings.Cut(text, "(")
	if !ok {
		return text, nil, nil
	}
	inner, ok := strings.CutSuffix(rest, ")")
	if !ok {
		return "", nil, fmt.Errorf("missing )")
	}
	var args []int
	for part := range strings.SplitSeq(inner, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(part))
		if err != nil || n < 0 || n > 10_000_000 {
			return "", nil, fmt.Errorf("modifier %q is no sensible number", part)
		}
		args = append(args, n)
	}
	return strings.TrimSpace(name), args, nil
}

// long is the SQL name that Postgres uses in messages.
func (t *Type) long() string {
	if t.kind == kindArray {
		return t.elem.long() + "[]"
	}
	if l, ok := longNames[t.name]; ok {
		return l
	}
	return t.name
}

// textual tells whether LIKE and regular expressions apply.
func (t *Type) textual() bool { return t.kind == kindText }
