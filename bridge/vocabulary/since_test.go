package vocabulary

import (
	"encoding/json"
	"testing"
	"time"
)

func TestSinceIsReadAsFrontendsWriteIt(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 7, 1, 10, 20, 30, 0, time.UTC)
	ms := at.Add(123 * time.Millisecond)
	columns := SinceColumns{ID: "msg_id", Updated: "changed_on", Created: "sent_on"}
	for text, want := range map[string]Since{
		`1782901230123`:                   {ID: "1782901230123", At: ms, Alone: true}, // may be an id as well
		`"1782901230123"`:                 {ID: "1782901230123", At: ms, Alone: true},
		`1782901230.123`:                  {ID: "1782901230.123", At: ms, Alone: true},
		`1782901230`:                      {ID: "1782901230", At: at, Alone: true},
		`"2026-07-01T10:20:30.123Z"`:      {At: ms, Alone: true},
		`"2026-07-01T12:20:30.123+02:00"`: {At: ms, Alone: true},
		`"2026-07-01 10:20:30.123+00"`:    {At: ms, Alone: true},
		`"2026-07-01T10:20:30.123"`:       {At: ms, Alone: true},
		`"2026-07-01T10:20Z"`:             {At: at.Add(-30 * time.Second), Alone: true},
		`"2026-07-01"`:                    {At: at.Truncate(24 * time.Hour), Alone: true},
		`"Wed, 01 Jul 2026 10:20:30 GMT"`: {At: at, Alone: true},
		`"Wed Jul 01 2026 12:20:30 GMT+0200 (Central European Summer Time)"`: {At: at, Alone: true},
		`42`:                 {ID: "42", Alone: true},
		`"9007199254740993"`: {ID: "9007199254740993", Alone: true},
		`"a1"`:               {ID: "a1", Alone: true},
		`"NaN"`:              {ID: "NaN", Alone: true},
		`{"id":"a1","updated_at":"2026-07-01T10:20:30.123+00:00"}`:            {ID: "a1", At: ms},
		`{"id":7,"updated_at":null,"created_at":"2026-07-01T10:20:30+00:00"}`: {ID: "7", At: at},
		`{"msg_id":"b2","changed_on":null,"sentOn":1782901230}`:               {ID: "b2", At: at},
		`{"id":"a1","updated_at":"soon","createdAt":1782901230123}`:           {ID: "a1", At: ms},
		`{"id":"","timestamp":1782901230123}`:                                 {At: ms},
		`{"id":"temp-1","content":"hi"}`:                                      {ID: "temp-1"},
		`{"id":{"$oid":"x"},"updated_at":["2026-07-01"]}`:                     {},
		`{"updated_at":"99999-01-01T00:00:00Z"}`:                              {},
		`{"updated_at":1e300}`:                                                {},
		`{}`:                                                                  {},
		`true`:                                                                {},
		`""`:                                                                  {},
	} {
		for _, form := range []string{`{"since":` + text + `}`, `{"since":[` + text + `]}`, `{"since": ` + text + ` }`} {
			got, asked := SinceOf([]json.RawMessage{json.RawMessage(`"c1"`), json.RawMessage(form)}, columns)
			same := len(got) == 1 && got[0].ID == want.ID && got[0].At.Equal(want.At) && got[0].Alone == want.Alone
			if !asked || !same {
				t.Errorf("%s: %+v, asked %t; want %+v", form, got, asked, want)
			}
		}
	}
	for text, want := range map[string]struct {
		asked bool
		list  bool // not nil
		n     int
	}{
		`{"since":null}`:        {asked: true},
		`{"since": null }`:      {asked: true},
		`{"since":[]}`:          {asked: true, list: true},
		`{"since":[null,[],1]}`: {asked: true, list: true, n: 3},
		`{}`:                    {},
		`"since"`:               {},
		`null`:                  {},
	} {
		got, asked := SinceOf([]json.RawMessage{json.RawMessage(text)}, columns)
		if asked != want.asked || (got != nil) != want.list || len(got) != want.n {
			t.Errorf("%s: %+v, asked %t; want %+v", text, got, asked, want)
		}
	}
}
