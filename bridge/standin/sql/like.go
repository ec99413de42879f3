package sql

import (
	"unicode"
	"unicode/utf8"
)

// likeToken is one step of a LIKE pattern: a character, any one (_), or any number (%).
type likeToken struct {
	char rune
	one  bool
	many bool
}

// parseLike reads a pattern, in which a backslash takes the next character as itself.
func parseLike(pattern string, fold bool) []likeToken {
	tokens := make([]likeToken, 0, len(pattern))
	escaped := false
	for _, r := range pattern {
		switch {
		case escaped:
			escaped = false
			tokens = append(tokens, likeToken{char: folded(r, fold)})
		case r == '\\':
			escaped = true
		case r == '%':
			if n := len(tokens); n == 0 || !tokens[n-1].many {
				tokens = append(tokens, likeToken{many: true})
			}
		case r == '_':
			tokens = append(tokens, likeToken{one: true})
		default:
			tokens = append(tokens, likeToken{char: folded(r, fold)})
		}
	}
	return tokens
}

func folded(r rune, fold bool) rune {
	if fold {
		return unicode.ToLower(r)
	}
	return r
}

// matchLike matches the whole text. It goes back only to the last %, so its time is at most the
// product of the two lengths.
func matchLike(pattern []likeToken, text string, fold bool) bool {
	p, i := 0, 0
	star, from := -1, 0 // the last % and where in the text it is tried to end
	for i < len(text) {
		r, size := utf8.DecodeRuneInString(text[i:])
		switch {
		case p < len(pattern) && pattern[p].many:
			star, from = p, i
			p++
		case p < len(pattern) && (pattern[p].one || pattern[p].char == folded(r, fold)):
			p++
			i += size
		case star >= 0:
			_, skip := utf8.DecodeRuneInString(text[from:])
			from += skip
			p, i = star+1, from
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p].many {
		p++
	}
	return p == len(pattern)
}

// Like is SQL's LIKE.
func Like(pattern, text string) bool { return matchLike(parseLike(pattern, false), text, false) }
