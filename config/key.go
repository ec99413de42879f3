package config

import (
	"fmt"
	"iter"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// kind is what a key holds.
type kind int

const (
	section kind = iota // other keys
	text
	secret
	boolean
	number
	duration
	size
	list // of texts
	inRules
	outRules
)

// key is one place of the tree: a section or a leaf. The tree is built once
// from the types in tree.go and its siblings and never changes.
type key struct {
	name     string // as in YAML, "heartbeat_interval"
	path     string // from the root, "supabase.heartbeat_interval"; empty for the root
	kind     kind
	children []*key // of a section, in the order of the struct

	owner, field string   // Go struct and field, under which the description stands
	index        []int    // of the field, from Config
	enum         []string // the only values, or the only members of a list; nil means any

	bounded   bool  // low and high count
	low, high int64 // inclusive: nanoseconds, bytes or a plain number
}

// root is the tree of all keys.
var root = sync.OnceValue(func() *key {
	return grow(&key{}, reflect.TypeFor[Config]())
})

func grow(k *key, t reflect.Type) *key {
	for field := range fields(t) {
		child := &key{
			name:  field.Tag.Get("key"),
			owner: t.Name(),
			field: field.Name,
			index: append(slices.Clone(k.index), field.Index...),
			kind:  kindOf(field.Type),
		}
		child.path = strings.TrimPrefix(k.path+"."+child.name, ".")
		if enum, found := field.Tag.Lookup("enum"); found {
			child.enum = strings.Split(enum, "|")
		}
		if low, found := field.Tag.Lookup("min"); found {
			child.bounded = true
			child.low = child.mustBound(low)
			child.high = child.mustBound(field.Tag.Get("max"))
		}
		if child.kind == section {
			grow(child, field.Type)
		}
		k.children = append(k.children, child)
	}
	return k
}

// fields yields those of the struct that are keys.
func fields(t reflect.Type) iter.Seq[reflect.StructField] {
	return func(yield func(reflect.StructField) bool) {
		for i := range t.NumField() {
			if f := t.Field(i); f.IsExported() && !yield(f) {
				return
			}
		}
	}
}

func kindOf(t reflect.Type) kind {
	switch t {
	case reflect.TypeFor[string]():
		return text
	case reflect.TypeFor[Secret]():
		return secret
	case reflect.TypeFor[bool]():
		return boolean
	case reflect.TypeFor[int]():
		return number
	case reflect.TypeFor[time.Duration]():
		return duration
	case reflect.TypeFor[Size]():
		return size
	case reflect.TypeFor[[]string]():
		return list
	case reflect.TypeFor[InRules]():
		return inRules
	case reflect.TypeFor[OutRules]():
		return outRules
	}
	if t.Kind() != reflect.Struct {
		panic(fmt.Sprintf("config: no key can be a %s", t))
	}
	return section
}

// mustBound reads a min or max tag; one that can't be read is a mistake in
// tree.go that every test of the package meets.
func (k *key) mustBound(tag string) int64 {
	var n int64
	var err error
	switch k.kind {
	case duration:
		var d time.Duration
		d, err = time.ParseDuration(tag)
		n = int64(d)
	case size:
		var s Size
		s, err = ParseSize(tag)
		n = int64(s)
	default:
		n, err = strconv.ParseInt(tag, 10, 64)
	}
	if err != nil {
		panic(fmt.Sprintf("config: bound %q of %s: %v", tag, k.path, err))
	}
	return n
}

// leaves yields every key below k that holds a value, in the order of the tree.
func (k *key) leaves() iter.Seq[*key] {
	return func(yield func(*key) bool) { k.eachLeaf(yield) }
}

func (k *key) eachLeaf(yield func(*key) bool) bool {
	for _, child := range k.children {
		if child.kind == section {
			if !child.eachLeaf(yield) {
				return false
			}
		} else if !yield(child) {
			return false
		}
	}
	return true
}

// child returns the key of that name directly below k, or nil.
func (k *key) child(name string) *key {
	for _, c := range k.children {
		if c.name == name {
			return c
		}
	}
	return nil
}

// in returns the key's place in a Config.
func (k *key) in(c *Config) reflect.Value {
	return reflect.ValueOf(c).Elem().FieldByIndex(k.index)
}

// variable is the environment variable of the key.
func (k *key) variable() string {
	return variablePrefix + strings.ToUpper(strings.ReplaceAll(k.path, ".", "_"))
}

// flag is the name a command line flag must have to set the key.
func (k *key) flag() string {
	return strings.NewReplacer(".", "-", "_", "-").Replace(k.path)
}

// bound writes one of the key's bounds as it would stand in the file.
func (k *key) bound(n int64) string {
	switch k.kind {
	case duration:
		return formatDuration(time.Duration(n))
	case size:
		return Size(n).String()
	default:
		return strconv.FormatInt(n, 10)
	}
}

// formatDuration writes 1m instead of 1m0s, and 1h instead of 1h0m0s.
func formatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
