package socketio

import (
	"cmp"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

// Where there is a [Keeper] an event has a place in several orders at once: that of the Keeper,
// which all nodes share; that of marks, which all nodes share too; and the order in which this node
// sends, its numbers. The client gets it as its offset, and returns it, perhaps to another node.

// Mark is a place in an order of events that every node emits by itself: see [Target.Mirrored]. It
// is ascending at each node, by Term, then N, then K. The zero Mark is no place.
type Mark struct{ Term, N, K uint64 }

// Compare is negative where m comes before o, 0 where they are the same.
func (m Mark) Compare(o Mark) int {
	return cmp.Or(cmp.Compare(m.Term, o.Term), cmp.Compare(m.N, o.N), cmp.Compare(m.K, o.K))
}

// kind is how an event came to be sent.
type kind uint8

const (
	local    kind = iota // by this node alone
	early                // by this node to its own, ahead of the Keeper
	carried              // through the Keeper
	mirrored             // by every node, with a mark
	stateful             // by every node, in no order
)

// place is where an event is in the orders. It is immutable once the event has been sent.
type place struct {
	kind kind
	at   Position // of the event, or of the last kept one before it
	mark Mark     // of the event, or of the last mirrored one before it
	seq  uint64   // its number here
	when int64    // ms since 1970
	// ahead is, of a kept event that was sent to this node's sockets early, the number of the last
	// packet then. Sessions that began later have not had it.
	ahead uint64
}

// seen is an offset that a client gives: the place of the last event it has got.
type seen struct {
	none bool
	at   Position
	mark Mark
	seq  uint64 // counts where tag isn't empty
	tag  string // of the node that numbered it; empty where the event came through the Keeper and there were no marks
}

const offsetSeparator = "~"

// stamp is the offset of an event: of one that came through the Keeper its position alone, as Node
// servers write and read it, unless there are marks.
func (p *place) stamp(tag string) string {
	if p.kind == carried && p.mark == (Mark{}) {
		return p.at.String()
	}
	return p.full(tag)
}

// full is the offset with all there is to it, which Node servers do not take for one.
func (p *place) full(tag string) string {
	b := append([]byte(p.at.String()), offsetSeparator...)
	b = append(p.mark.append(b), offsetSeparator...)
	b = append(strconv.AppendUint(b, p.seq, 36), '.')
	return string(append(b, tag...))
}

// append appends the mark in few letters; nothing of a zero one.
func (m Mark) append(b []byte) []byte {
	if m == (Mark{}) {
		return b
	}
	b = append(strconv.AppendUint(b, m.Term, 36), '.')
	b = append(strconv.AppendUint(b, m.N, 36), '.')
	return strconv.AppendUint(b, m.K, 36)
}

func parseMark(text string) (m Mark, ok bool) {
	if text == "" {
		return m, true
	}
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return m, false
	}
	for i, to := range []*uint64{&m.Term, &m.N, &m.K} {
		v, err := strconv.ParseUint(parts[i], 36, 64)
		if err != nil {
			return m, false
		}
		*to = v
	}
	return m, true
}

// maxOffset bounds what is looked at, in bytes.
const maxOffset = 160

// parseSeen reads an offset.
func parseSeen(text string) (s seen, ok bool) {
	if text == "" {
		return seen{none: true}, true
	}
	if len(text) > maxOffset {
		return s, false
	}
	parts := strings.Split(text, offsetSeparator)
	var err error
	if s.at, err = ParsePosition(parts[0]); err != nil || s.at.String() != parts[0] {
		return s, false
	}
	if len(parts) == 1 {
		return s, true
	}
	if len(parts) != 3 {
		return s, false
	}
	if s.mark, ok = parseMark(parts[1]); !ok {
		return s, false
	}
	number, tag, ok := strings.Cut(parts[2], ".")
	if !ok || !isTag(tag) {
		return s, false
	}
	s.tag = tag
	s.seq, err = strconv.ParseUint(number, 36, 64)
	return s, err == nil
}

// tagLength is how much of a node's id is in offsets.
const tagLength = 6

// isTag says whether a text may be of a node's id, which is base64 for URLs.
func isTag(text string) bool {
	return len(text) == tagLength && !strings.ContainsFunc(text, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
	})
}

// precedes says whether the offset is of before another place, so that a session which began there
// has no event yet.
func (s seen) precedes(o seen) bool {
	return cmp.Or(s.at.Compare(o.at), s.mark.Compare(o.mark)) < 0
}

// text gives it as an offset.
func (s seen) text() string { return (&place{at: s.at, mark: s.mark, seq: s.seq}).full(s.tag) }

// spot is the place of an event that some node has sent, as told to other nodes.
type spot struct {
	seen
	kept bool // it came through the Keeper
}

// covers says whether a client with this offset has got the event at the spot, if it is the last of
// its session that it got and the spot is of the node that had the session last. Offsets of that
// node are later than the spot or not; one of an earlier node means that the client has got nothing
// of the later one.
func (s seen) covers(p spot) bool {
	switch {
	case s.none:
		return false
	case s.tag != "" && s.tag == p.tag:
		return s.seq >= p.seq
	case s.at != p.at:
		return s.at.Compare(p.at) > 0
	case s.mark != p.mark:
		return s.mark.Compare(p.mark) > 0
	}
	return p.kept
}

func (p *place) spot(tag string) spot {
	return spot{seen{at: p.at, mark: p.mark, seq: p.seq, tag: tag}, p.kind == carried}
}

// spots are written as offsets, with a mark for those that came through the Keeper.
const spotKept = "!"

func (p *spot) MarshalJSON() ([]byte, error) {
	text := p.text()
	if p.kept {
		text += spotKept
	}
	return json.Marshal(text)
}

func (p *spot) UnmarshalJSON(b []byte) error {
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return err
	}
	text, p.kept = strings.CutSuffix(text, spotKept)
	s, ok := parseSeen(text)
	if !ok || s.none {
		return errPosition
	}
	p.seen = s
	return nil
}

// placeAt gives the orders' places as of a number: false if that is too long ago to say, and then
// the places are somewhat later ones.
func (h *history) placeAt(seq uint64) (seen, bool) {
	k := h.kept
	i, found := slices.BinarySearchFunc(h.entries, seq, func(e *entry, seq uint64) int { return cmp.Compare(e.seq, seq) })
	if found {
		i++
	}
	s := seen{at: k.floor, mark: k.markFloor, seq: seq, tag: k.tag}
	if i > 0 {
		p := h.entries[i-1].place
		s.at, s.mark = p.at, p.mark
	}
	if len(h.entries) == 0 {
		s.at, s.mark = k.at, k.mark
	}
	return s, seq >= k.droppedSeq
}
