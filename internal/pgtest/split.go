package pgtest

import (
	"regexp"
	"strings"
)

// policyOnMessages is a statement that supautils carries out for a project's owner. It must name
// realtime.messages as it stands here, without quotes or a search path.
var policyOnMessages = regexp.MustCompile(`(?is)^(create|alter|drop)\s+policy\s.*\son\s+realtime\.messages\b`)

// dollar is what opens a string in dollar quotes.
var dollar = regexp.MustCompile(`^\$([A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*)?\$`)

// split parts SQL into its statements, without the comments before each. It knows all of
// PostgreSQL's quotes.
func split(text string) []string {
	var statements []string
	var begun bool // something but space and comments has come
	from := 0
	end := func(at int) {
		if begun {
			statements = append(statements, strings.TrimSpace(text[from:at]))
		}
		begun = false
	}
	for i := 0; i < len(text); {
		rest := text[i:]
		n := 1
		switch {
		case strings.HasPrefix(rest, "--"):
			n = until(rest, "\n")
		case strings.HasPrefix(rest, "/*"):
			n = comment(rest)
		case strings.ContainsRune(" \t\r\n", rune(rest[0])):
		case rest[0] == ';':
			end(i)
			from = i + 1
		default:
			if !begun {
				begun, from = true, i
			}
			n = token(text, i)
		}
		i += n
	}
	end(len(text))
	return statements
}

// token is the length of what is quoted at i, or of one byte.
func token(text string, i int) int {
	rest := text[i:]
	switch {
	case rest[0] == '"':
		return until(rest[1:], `"`) + 1 // a doubled quote opens the next one
	case rest[0] == '\'':
		escapes := i > 0 && (text[i-1] == 'E' || text[i-1] == 'e') && (i < 2 || !word(text[i-2]))
		for j := 1; j < len(rest); j++ {
			if escapes && rest[j] == '\\' {
				j++
			} else if rest[j] == '\'' {
				return j + 1
			}
		}
		return len(rest)
	case rest[0] == '$' && (i == 0 || !word(text[i-1])):
		if tag := dollar.FindString(rest); tag != "" {
			return len(tag) + until(rest[len(tag):], tag)
		}
	}
	return 1
}

func word(b byte) bool {
	return b == '_' || b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= 0x80
}

// until is the length up to and with what ends it, or all of it.
func until(text, what string) int {
	if i := strings.Index(text, what); i >= 0 {
		return i + len(what)
	}
	return len(text)
}

// comment is the length of a comment, in which others may be.
func comment(text string) int {
	depth := 0
	for i := 0; i+1 < len(text); i++ {
		switch text[i : i+2] {
		case "/*":
			depth++
			i++
		case "*/":
			depth--
			i++
		}
		if depth == 0 {
			return i + 1
		}
	}
	return len(text)
}
