package vocabulary

import (
	"slices"
	"strings"
	"unicode"
)

// Style is a family of event names. A socket hears events in one style; what it sends may be in
// any.
type Style uint8

// The styles. StyleNone sends only what the configured rules say.
const (
	StyleNone Style = iota
	StyleUnderscore
	StyleColon
	StyleKebab
	StyleCamel
	StyleWhaticket
	styleCount
)

var styleNames = [styleCount]string{"none", "underscore", "colon", "kebab", "camel", "whaticket"}

func (s Style) String() string { return styleNames[s] }

// StyleOf gives the style of a name that String gives; false for another.
func StyleOf(name string) (Style, bool) {
	i := slices.Index(styleNames[:], name)
	return Style(max(i, 0)), i >= 0
}

// Styles lists every style, StyleNone first.
func Styles() []Style {
	return []Style{StyleNone, StyleUnderscore, StyleColon, StyleKebab, StyleCamel, StyleWhaticket}
}

// Presets lists the names that Options.Preset takes.
func Presets() []string { return styleNames[:] }

// All in Options.Accept stands for every preset, and Tutorial for the names of the old tutorials,
// which contain spaces.
const (
	All      = "all"
	Tutorial = "tutorial"
)

// whaticketNames are those that only one family of applications uses; by their form they would be
// camel.
var whaticketNames = []string{
	"joinChatBox",
	"leaveChatBox",
	"joinNotification",
	"leaveNotification",
	"joinTickets",
	"leaveTickets",
}

// styleOf tells in which style a name is written: StyleNone where any could have it, such as
// typing.
func styleOf(name string) Style {
	switch {
	case slices.Contains(whaticketNames, name):
		return StyleWhaticket
	case strings.Contains(name, ":"):
		return StyleColon
	case strings.Contains(name, " "):
		return StyleNone
	case strings.Contains(name, "_"):
		return StyleUnderscore
	case strings.Contains(name, "-"):
		return StyleKebab
	case strings.ContainsFunc(name, unicode.IsUpper):
		return StyleCamel
	}
	return StyleNone
}

// Reveals tells which style a client hears that sends an event: the one it is written in. false
// where the name says nothing: one that every style has, one that the configuration made up, or one
// that the bridge itself asks for.
func (v *Vocabulary) Reveals(event string) (Style, bool) {
	known, ok := v.inbound[event]
	if !ok || known.configured || known.intent == RenewToken || known.intent == Heartbeat {
		return StyleNone, false
	}
	style := styleOf(event)
	return style, style != StyleNone
}
