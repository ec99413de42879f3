package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// envFileNames are the environment files a Next.js app keeps, the first beating the second.
var envFileNames = []string{".env.local", ".env"}

// EnvFilesIn returns the environment files that exist in the directory, for
// Sources.EnvFiles: .env.local, then .env.
func EnvFilesIn(dir string) []string {
	var found []string
	for _, name := range envFileNames {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			found = append(found, path)
		}
	}
	return found
}

// assignment is one NAME=value of an environment file.
type assignment struct {
	name, value string
	line        int // from 1
}

// parseDotenv reads an environment file as Node's dotenv does: NAME=value, an
// optional export in front, # comments, values bare or in single, double or
// back quotes, the quoted ones over several lines if need be. \n and \r are
// understood in double quotes. $NAME, ${NAME} and ${NAME:-default} are replaced
// in bare and double-quoted values by what lookup or an earlier line of the file
// says, unless a backslash stands before the dollar sign.
//
// A line that is none of this is left out and its number returned in bad: the
// file belongs to another program, which may understand more.
func parseDotenv(data string, lookup func(name string) (string, bool)) (all []assignment, bad []int) {
	data = strings.TrimPrefix(data, "\ufeff")
	data = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(data)
	earlier := make(map[string]string)
	expand := func(s string) (string, bool) {
		return expandVariables(s, func(name string) string {
			if v, found := lookup(name); found {
				return v
			}
			return earlier[name]
		})
	}
	keep := func(name, value string, line int, ok bool) {
		if !ok {
			bad = append(bad, line)
			return
		}
		earlier[name] = value
		all = append(all, assignment{name, value, line})
	}
	for line := 1; data != ""; {
		first, rest, _ := strings.Cut(data, "\n")
		at := line
		name, value, found := strings.Cut(first, "=")
		name = strings.TrimSpace(name)
		if after, exported := strings.CutPrefix(name, "export "); exported {
			name = strings.TrimSpace(after)
		}
		value = strings.TrimLeft(value, " \t")
		switch {
		case name == "" && !found, strings.HasPrefix(name, "#"):
			data, line = rest, line+1
			continue
		case !found || !isVariableName(name):
			bad = append(bad, at)
			data, line = rest, line+1
			continue
		}
		if value != "" && strings.ContainsRune("\"'`", rune(value[0])) {
			quoted := data[len(first)-len(value):] // the rest of the file from the quote on
			if end := closingQuote(quoted); end > 0 {
				whole := quoted[:end+1]
				_, rest, _ = strings.Cut(quoted[end+1:], "\n")
				line += strings.Count(whole, "\n")
				value, found = unquote(whole, expand)
				keep(name, value, at, found)
				data, line = rest, line+1
				continue
			}
		}
		value, _, _ = strings.Cut(value, "#")
		value, found = expand(strings.TrimSpace(value))
		keep(name, value, at, found)
		data, line = rest, line+1
	}
	return all, bad
}

func isVariableName(s string) bool {
	for i := range len(s) {
		if !isNameByte(s[i], i == 0) && (i == 0 || s[i] != '.' && s[i] != '-') {
			return false
		}
	}
	return s != ""
}

func isNameByte(c byte, first bool) bool {
	letter := c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
	return letter || !first && '0' <= c && c <= '9'
}

// closingQuote returns where the quote that s begins with closes, or -1.
func closingQuote(s string) int {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case s[0]:
			return i
		}
	}
	return -1
}

// unquote takes the quotes off.
func unquote(s string, expand func(string) (string, bool)) (string, bool) {
	inner := s[1 : len(s)-1]
	if s[0] != '"' {
		return inner, true
	}
	return expand(strings.NewReplacer(`\n`, "\n", `\r`, "\r", `\"`, `"`).Replace(inner))
}

// expandVariables replaces references to variables. It gives up on a value
// that grows beyond maxFileSize, as one can that doubles from line to line.
func expandVariables(s string, value func(name string) string) (string, bool) {
	if !strings.Contains(s, "$") {
		return s, true
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		if b.Len() > maxFileSize {
			return "", false
		}
		switch {
		case strings.HasPrefix(s[i:], `\$`):
			b.WriteByte('$')
			i += 2
		case s[i] == '$':
			name, fallback, length := reference(s[i:])
			if length == 0 {
				b.WriteByte('$')
				i++
				continue
			}
			if v := value(name); v != "" {
				b.WriteString(v)
			} else {
				b.WriteString(fallback)
			}
			i += length
		default:
			b.WriteByte(s[i])
			i++
		}
	}
	return b.String(), true
}

// reference reads the $NAME, ${NAME} or ${NAME:-default} that s begins with; length 0 means there is none.
func reference(s string) (name, fallback string, length int) {
	if strings.HasPrefix(s, "${") {
		inside, _, closed := strings.Cut(s[2:], "}")
		name, fallback, _ = strings.Cut(inside, ":-")
		if !closed || !isVariableName(name) {
			return "", "", 0
		}
		return name, fallback, len("${}") + len(inside)
	}
	end := 1
	for end < len(s) && isNameByte(s[end], end == 1) {
		end++
	}
	if end == 1 {
		return "", "", 0
	}
	return s[1:end], "", end
}

// readDotenv reads an environment file; bad lines become warnings.
func readDotenv(path string, lookup func(name string) (string, bool)) ([]assignment, []string, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, nil, err
	}
	all, bad := parseDotenv(string(data), lookup)
	var warnings []string
	for _, line := range bad {
		warnings = append(warnings, fmt.Sprintf("%s:%d: not understood, left out: expected NAME=value", path, line))
	}
	return all, warnings, nil
}
