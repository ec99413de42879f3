package sql

import "testing"

func TestLikeMatchesWholeTexts(t *testing.T) {
	for _, c := range []struct {
		pattern, text string
		fold, want    bool
	}{
		{"abc", "abc", false, true}, {"abc", "abcd", false, false}, {"a%", "a", false, true}, {"%c", "abc", false, true},
		{"a_c", "aéc", false, true}, {"a_c", "ac", false, false}, {"%b%", "abc", false, true}, {"%a%b%c%", "xaxbxcx", false, true},
		{"a%b%c", "abcb", false, false}, {"", "", false, true}, {"%", "", false, true}, {"_", "", false, false},
		{`50\%`, "50%", false, true}, {`50\%`, "50x", false, false}, {`a\_b`, "axb", false, false}, {`a\\b`, `a\b`, false, true},
		{"ABC", "abc", false, false}, {"ABC", "abc", true, true}, {"É%", "été", true, true},
	} {
		if got := matchLike(parseLike(c.pattern, c.fold), c.text, c.fold); got != c.want {
			t.Errorf("%q like %q (fold %v) is %v", c.text, c.pattern, c.fold, got)
		}
	}
}
