package config

import "strings"

// nearest returns the candidate most like the word, or "" if none is like it:
// a third of the letters may differ, and two in any case; else one that the
// word is a part of will do.
func nearest(word string, candidates []string) string {
	best, least := "", 0
	if len(word) > 200 {
		return ""
	}
	for _, c := range candidates {
		d := editDistance(strings.ToLower(word), c)
		if d <= max(2, len(c)/3) && d < len(c) && (best == "" || d < least) {
			best, least = c, d
		}
	}
	if best != "" || len(word) < 3 {
		return best
	}
	for _, c := range candidates {
		if strings.Contains(c, strings.ToLower(word)) {
			return c
		}
	}
	return ""
}

// editDistance counts the insertions, deletions, changes and swaps of
// neighbours that make b of a.
func editDistance(a, b string) int {
	s, t := []rune(a), []rune(b)
	before, last, row := make([]int, len(t)+1), make([]int, len(t)+1), make([]int, len(t)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(s); i++ {
		row[0] = i
		for j := 1; j <= len(t); j++ {
			change := last[j-1]
			if s[i-1] != t[j-1] {
				change++
			}
			row[j] = min(change, last[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && s[i-1] == t[j-2] && s[i-2] == t[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(t)]
}
