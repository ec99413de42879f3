package twilio

import (
	"crypto/sha1"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/google/uuid"
)

// Values are what templates are filled in from, beside the event itself: what lookups found, by
// their names.
type Values map[string]json.RawMessage

// column is one column of a row to be written: "name=text", "name?=text" (left out where the text
// comes out empty) or "name:=json".
type column struct {
	name     string
	template string
	json     bool
	optional bool
}

// place is a {Name} in a template: a parameter, a name of a lookup, or one of those below.
var place = regexp.MustCompile(`\{([A-Za-z_][A-Za-z0-9_.]*)\}`)

var (
	errMapping = errors.New(`expected column=text, column?=text or column:=json`)
	errJSON    = errors.New("what it comes out as is no JSON")
)

// Columns writes rows out of events.
type Columns []column

// ParseColumns reads a mapping, a column each. In a text {Name} stands for the parameter of that
// name, {FromNumber} and {ToNumber} for the addresses without their channel, {Channel} for that
// (whatsapp or sms), {MessageUUID} for a UUID that is always the same for one MessageSid, {status}
// for the status in the application's words, {from_customer} for true or false, and the name of a
// lookup for what it found. In JSON each stands for a JSON value; {media} is the list of
// attachments and {params} an object of all parameters.
func ParseColumns(mapping []string) (Columns, error) {
	var columns Columns
	for _, m := range mapping {
		at := strings.IndexByte(m, '=')
		if at < 1 {
			return nil, fmt.Errorf("%q: %w", m, errMapping)
		}
		c := column{name: strings.TrimSpace(m[:at]), template: m[at+1:]}
		switch c.name[max(0, len(c.name)-1):] {
		case ":":
			c.json, c.name = true, strings.TrimSpace(c.name[:len(c.name)-1])
		case "?":
			c.optional, c.name = true, strings.TrimSpace(c.name[:len(c.name)-1])
		}
		if c.name == "" {
			return nil, fmt.Errorf("%q: %w", m, errMapping)
		}
		if c.json && !(c.fits("null") && c.fits(`"a"`)) {
			return nil, fmt.Errorf("%q: %w", m, errJSON)
		}
		columns = append(columns, c)
	}
	return columns, nil
}

// fits reports whether a JSON template is JSON with a value in each place.
func (c column) fits(value string) bool {
	return json.Valid([]byte(place.ReplaceAllLiteralString(c.template, value)))
}

// Has tells whether a column is written.
func (cs Columns) Has(name string) bool {
	for _, c := range cs {
		if c.name == name {
			return true
		}
	}
	return false
}

// names reports whether a template has one of the names in it.
func (cs Columns) names(names ...string) bool {
	for _, c := range cs {
		for _, m := range place.FindAllStringSubmatch(c.template, -1) {
			if slices.Contains(names, m[1]) {
				return true
			}
		}
	}
	return false
}

// Row fills the mapping in.
func (cs Columns) Row(e Event, v Values) (map[string]json.RawMessage, error) {
	row := make(map[string]json.RawMessage, len(cs))
	for _, c := range cs {
		if c.json {
			value := place.ReplaceAllStringFunc(
				c.template,
				func(p string) string { return string(valueOf(p[1:len(p)-1], e, v)) },
			)
			if !json.Valid([]byte(value)) {
				return nil, fmt.Errorf("column %s: %w", c.name, errJSON)
			}
			row[c.name] = json.RawMessage(value)
			continue
		}
		text := c.text(e, v)
		if text == "" && c.optional {
			continue
		}
		row[c.name] = quote(text)
	}
	return row, nil
}

func (c column) text(e Event, v Values) string {
	return place.ReplaceAllStringFunc(c.template, func(p string) string {
		value := valueOf(p[1:len(p)-1], e, v)
		var text string
		if json.Unmarshal(value, &text) == nil {
			return text // null is none
		}
		return string(value)
	})
}

// messages is the name space of MessageUUID.
var messages = uuid.NewHash(sha1.New(), uuid.NameSpaceURL, []byte("https://api.twilio.com/Messages"), 5)

// valueOf gives what a place stands for; null where there is no such thing.
func valueOf(name string, e Event, v Values) json.RawMessage {
	if value, ok := v[name]; ok {
		return value
	}
	switch name {
	case "FromNumber":
		return quote(number(e.From))
	case "ToNumber":
		return quote(number(e.To))
	case "Channel":
		if channel, _, ok := strings.Cut(e.From, ":"); ok {
			return quote(channel)
		}
		return quote("sms")
	case "MessageSid":
		return quote(e.Sid)
	case "from_customer":
		return marshal(e.FromCustomer())
	case "MessageUUID":
		return quote(uuid.NewHash(sha1.New(), messages, []byte(e.Sid), 5).String())
	case "media":
		return marshal(append([]Media{}, e.Media...))
	case "params":
		all := make(map[string]string, len(e.Params))
		for _, p := range e.Params {
			all[p.Name] = p.Value
		}
		return marshal(all)
	}
	if e.Params.Has(name) {
		return quote(e.Params.Get(name))
	}
	return json.RawMessage("null")
}

// number is an address without its channel: whatsapp:+15550111 is +15550111.
func number(address string) string {
	if _, bare, ok := strings.Cut(address, ":"); ok {
		return bare
	}
	return address
}

func quote(text string) json.RawMessage { return marshal(text) }

func marshal(value any) json.RawMessage {
	raw, err := json.Marshal(value)
	if err != nil {
		panic("twilio: texts can't be marshaled: " + err.Error())
	}
	return raw
}

// Lookup finds one value in a table: of the row in which columns equal what their templates come
// out as.
type Lookup struct {
	Name   string // under which templates have it
	table  string
	column string
	where  Columns
}

var lookupForm = regexp.MustCompile(`^\s*([A-Za-z_][A-Za-z0-9_]*)\s*=\s*([^.:\s]+)\.([^.:\s]+)\s+where\s+(.+)$`)

// ParseLookups reads lookups of the form "name = table.column where column=text", with " and "
// between several conditions.
func ParseLookups(lookups []string) ([]Lookup, error) {
	var all []Lookup
	for _, text := range lookups {
		m := lookupForm.FindStringSubmatch(text)
		if m == nil {
			return nil, fmt.Errorf("%q: expected name = table.column where column=text", text)
		}
		where, err := ParseColumns(strings.Split(m[4], " and "))
		if err != nil {
			return nil, err
		}
		all = append(all, Lookup{m[1], m[2], m[3], where})
	}
	return all, nil
}
