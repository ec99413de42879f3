package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/subosito/gotenv"
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

// maxBadLines bounds the lines of an environment file that are left out, each with a warning,
// before the file is refused.
const maxBadLines = 100

// parseEnvFile reads an environment file with gotenv. The file belongs to another program, which
// may understand more than gotenv does, so a line that gotenv refuses is left out, and its number
// (from 1) returned in bad. An error never quotes the file, which holds secrets.
//
// References ($NAME, ${NAME}) are replaced by the process's environment or by an earlier line.
// gotenv knows no defaults in them: a line with ${NAME:-default} is left out, since gotenv would
// take a wrong value from it.
func parseEnvFile(data string) (values gotenv.Env, bad []int, err error) {
	lines := strings.Split(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(data), "\n")
	for i, line := range lines {
		if !strings.HasPrefix(strings.TrimSpace(line), "#") && strings.Contains(line, "${") && strings.Contains(line, ":-") {
			bad, lines[i] = append(bad, i+1), ""
		}
	}
	for len(bad) <= maxBadLines {
		values, err = gotenv.Unmarshal(strings.Join(lines, "\n"))
		if err == nil {
			return values, bad, nil
		}
		// gotenv names the statement, between back quotes, and not its line.
		_, statement, _ := strings.Cut(err.Error(), "`")
		end := strings.LastIndex(statement, "`")
		first, length := -1, 0
		if end >= 0 {
			first, length = findStatement(lines, statement[:end])
		}
		if first < 0 {
			return nil, nil, fmt.Errorf(
				"not understood as an environment file: is a quote never closed, or a line longer than 64 KiB?",
			)
		}
		bad = append(bad, first+1)
		clear(lines[first : first+length])
	}
	return nil, nil, fmt.Errorf("not an environment file: more than %d lines are not NAME=value", maxBadLines)
}

// findStatement returns where a statement that may span lines stands in the file; -1 where it
// doesn't.
func findStatement(lines []string, statement string) (first, length int) {
	head, _, _ := strings.Cut(statement, "\n")
	for i, line := range lines {
		if strings.TrimSpace(line) == strings.TrimSpace(head) {
			return i, min(1+strings.Count(statement, "\n"), len(lines)-i)
		}
	}
	return -1, 0
}

// lineOf returns the number of the last line that assigns the variable, from 1; 0 where none is
// found.
func lineOf(name, data string) int {
	found, line := 0, 0
	for text := range strings.Lines(strings.ReplaceAll(data, "\r", "\n")) {
		line++
		text = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(text), "export "))
		rest, ok := strings.CutPrefix(text, name)
		if rest = strings.TrimSpace(rest); ok && (strings.HasPrefix(rest, "=") || strings.HasPrefix(rest, ":")) {
			found = line
		}
	}
	return found
}

// readEnvFile reads an environment file; lines that are left out become warnings.
func readEnvFile(path string) (values environment, warnings []string, err error) {
	data, err := readFile(path)
	if err != nil {
		return nil, nil, err
	}
	text := strings.TrimPrefix(string(data), "\ufeff")
	text = strings.ReplaceAll(text, "\r\n", "\n")
	parsed, bad, err := parseEnvFile(text)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	values = make(environment, len(parsed))
	for name, value := range parsed {
		values[name] = setting{
			text:   value,
			origin: Origin{Kind: FromEnvFile, File: path, Line: lineOf(name, text), Name: name},
		}
	}
	for _, line := range bad {
		warnings = append(warnings, fmt.Sprintf("%s:%d: not understood, left out: expected NAME=value", path, line))
	}
	return values, warnings, nil
}
