package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// mismatch is why a text is no value for a key. A nil mismatch is none.
type mismatch struct {
	expected string
	found    string // fit to be shown; empty if that is better not shown
	hint     string // what to write instead, may be empty
}

func (m *mismatch) String() string {
	s := "expected " + m.expected
	if m.found != "" {
		s += ", found " + m.found
	}
	if m.hint != "" {
		s += " (" + m.hint + ")"
	}
	return s
}

// parse reads the text of a scalar as the key's value: string, Secret, bool,
// int, time.Duration or Size. Lists are read by parseList.
func (k *key) parse(s string) (any, *mismatch) {
	switch k.kind {
	case secret:
		return Secret(s), nil
	case boolean:
		switch s {
		case "true":
			return true, nil
		case "false":
			return false, nil
		}
		return nil, k.mismatch(s)
	case number:
		n, err := strconv.ParseInt(strings.ReplaceAll(s, "_", ""), 10, 0)
		if err != nil || !k.admits(n) {
			return nil, k.mismatch(s)
		}
		return int(n), nil
	case duration:
		d, err := time.ParseDuration(s)
		if err != nil || !k.admits(int64(d)) {
			m := k.mismatch(s)
			if _, err := strconv.Atoi(s); err == nil {
				m.hint = "give the unit, such as " + s + "s"
			}
			return nil, m
		}
		return d, nil
	case size:
		n, err := ParseSize(s)
		if err != nil || !k.admits(int64(n)) {
			return nil, k.mismatch(s)
		}
		return n, nil
	case inRules, outRules:
		return k.parseMapping(s)
	default:
		if k.enum != nil && !slices.Contains(k.enum, s) {
			return nil, k.mismatch(s)
		}
		return s, nil
	}
}

// parseList checks the members and returns them as the key's value.
func (k *key) parseList(members []string) ([]string, *mismatch) {
	for _, m := range members {
		if k.enum != nil && !slices.Contains(k.enum, m) {
			return nil, k.mismatch(m)
		}
		if m == "" {
			return nil, &mismatch{expected: "a list without empty members"}
		}
	}
	return members, nil
}

func (k *key) admits(n int64) bool {
	return !k.bounded || k.low <= n && n <= k.high
}

// mismatch describes a value that is of no use for the key.
func (k *key) mismatch(found string) *mismatch {
	m := &mismatch{expected: k.expectation(), found: k.shown(found)}
	if near := nearest(found, k.enum); near != "" {
		m.hint = "did you mean " + near + "?"
	}
	return m
}

// expectation says in words what the key takes.
func (k *key) expectation() string {
	if k.enum != nil {
		s := "one of " + strings.Join(k.enum, ", ")
		if k.kind == list {
			s = "a list of some of " + strings.Join(k.enum, ", ")
		}
		return s
	}
	var s string
	switch k.kind {
	case section:
		if len(k.children) == 0 {
			return "no keys yet"
		}
		return "keys below it"
	case boolean:
		return "true or false"
	case number:
		s = "a whole number"
	case duration:
		s = "a duration such as 1m30s"
	case size:
		s = "a size such as 1MiB, 64KiB, 1MB or a number of bytes"
	case list:
		return "a list of texts"
	case inRules:
		return "rules by intent"
	case outRules:
		return "lists of rules by event"
	default:
		return "a text"
	}
	if k.bounded {
		s += fmt.Sprintf(" from %s to %s", k.bound(k.low), k.bound(k.high))
	}
	return s
}

// shown is what a message may say of a value: never a secret's, nor what looks
// like a credential put in the wrong place.
func (k *key) shown(value string) string {
	if k.kind == secret || looksSecret(value) {
		return ""
	}
	const longest = 80
	if runes := []rune(value); len(runes) > longest {
		value = string(runes[:longest]) + "…"
	}
	return strconv.Quote(value)
}

// looksSecret tells keys, tokens and addresses with a password.
func looksSecret(value string) bool {
	return strings.Contains(value, "sb_secret_") || strings.Contains(value, "eyJ") || strings.Contains(value, "@")
}
