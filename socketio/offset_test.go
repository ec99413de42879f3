package socketio

import (
	"encoding/json"
	"testing"
)

func TestOffsetsAreReadAsTheyWereWritten(t *testing.T) {
	for _, p := range []place{
		{kind: carried, at: Position{1764102678123, 4}},
		{kind: carried, at: Position{1764102678123, 4}, mark: Mark{1, 2, 3}, seq: 99},
		{kind: local, seq: firstSeq},
		{kind: mirrored, at: Position{1<<64 - 1, 1<<64 - 1}, mark: Mark{1<<64 - 1, 1<<64 - 1, 1<<64 - 1}, seq: 1<<64 - 1},
	} {
		text := p.stamp("aB-_3z")
		s, ok := parseSeen(text)
		plain := p.kind == carried && p.mark == Mark{}
		if !ok || s.none || s.at != p.at || s.mark != p.mark || !plain && (s.seq != p.seq || s.tag != "aB-_3z") || plain != (s.tag == "") {
			t.Errorf("%+v is %q, which is read as %+v, %v", p, text, s, ok)
		}
		if len(text) > maxOffset {
			t.Errorf("%q is too long", text)
		}
	}
}

func TestWhatIsNoOffsetIsNone(t *testing.T) {
	for _, text := range []string{"1", "1-", "-1", "01-0", "1-0~", "1-0~~", "1-0~~5", "1-0~~5.", "1-0~1.2~5.tagtag", "1-0~1.2.x!~5.tagtag", "1-0~~-5.tagtag", "1-0~~5.tagtag~", "1-0~~5.tagta!", "1-0~~5.tag", "nope", " 1-0", "1-0 "} {
		if s, ok := parseSeen(text); ok {
			t.Errorf("%q is read as %+v", text, s)
		}
	}
}

func FuzzOffset(f *testing.F) {
	for _, text := range []string{"", "1764102678123-0", "1764102678123-0~1.2.3~9znh8.Jiq-Ld", "0-0~~1.tagtag"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, ok := parseSeen(text)
		if !ok || s.none {
			return
		}
		p := spot{seen: s}
		if s.tag == "" {
			if s.at.String() != text {
				t.Errorf("%q is read as %+v", text, s)
			}
			p.tag = "tagtag"
		}
		b, err := json.Marshal(&p)
		var again spot
		if err != nil || json.Unmarshal(b, &again) != nil || again != p {
			t.Errorf("%q: %+v becomes %s and %+v, %v", text, p, b, again, err)
		}
	})
}
