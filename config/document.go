package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxFileSize bounds the YAML file and each environment file, in bytes.
const maxFileSize = 1 << 20

// setting is one value on its way into the tree.
type setting struct {
	value  any    // parsed already if not nil (from the file, and defaults)
	text   string // to be parsed if it turns out to win (environment)
	origin Origin
}

// readFile returns the file's bytes, at most maxFileSize.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFileSize+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFileSize {
		return nil, fmt.Errorf("%s is larger than %s", path, Size(maxFileSize))
	}
	return data, nil
}

// parseDocument reads a YAML document into nested maps of settings, sections
// by name and leaves as setting, and adds what is wrong to errs.
func parseDocument(file string, data []byte, errs *Errors) map[string]any {
	reader := documentReader{file: file, errs: errs}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var document yaml.Node
	if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
		return make(map[string]any)
	} else if err != nil {
		reader.syntaxError(err)
		return make(map[string]any)
	}
	var second yaml.Node
	if err := decoder.Decode(&second); err == nil {
		errs.add(reader.at(&second), "", "expected one YAML document, found another")
	} else if !errors.Is(err, io.EOF) {
		reader.syntaxError(err)
	}
	if len(document.Content) == 0 {
		return make(map[string]any)
	}
	return reader.section(root(), document.Content[0])
}

// documentReader walks a document along the tree of keys, and so never deeper
// than that, whatever anchors and aliases the document plays with.
type documentReader struct {
	file string
	errs *Errors
}

func (r *documentReader) at(n *yaml.Node) Origin {
	return Origin{Kind: FromFile, File: r.file, Line: n.Line}
}

var syntaxLine = regexp.MustCompile(`^(?:yaml: )?(?:line (\d+): )?`)

func (r *documentReader) syntaxError(err error) {
	prefix := syntaxLine.FindStringSubmatch(err.Error())
	line, _ := strconv.Atoi(prefix[1])
	origin := Origin{Kind: FromFile, File: r.file, Line: line}
	reason := strings.TrimPrefix(err.Error(), prefix[0])
	if strings.HasPrefix(reason, "unknown anchor") {
		// Its name may well be a secret that begins with a star.
		reason = "an alias to no anchor; put a text that begins with * in quotes"
	}
	r.errs.add(origin, "", "not valid YAML: %s", reason)
}

func (r *documentReader) section(k *key, n *yaml.Node) map[string]any {
	settings := make(map[string]any)
	n = resolve(n)
	if isNull(n) {
		return settings // everything below it is commented out
	}
	if n.Kind != yaml.MappingNode {
		r.errs.add(r.at(n), k.path, "expected %s, found %s", k.expectation(), describe(n))
		return settings
	}
	lines := make(map[string]int) // of each key met, to tell of duplicates
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := resolve(n.Content[i]), n.Content[i+1]
		full := strings.TrimPrefix(k.path+"."+named(name.Value), ".")
		if name.Kind != yaml.ScalarNode {
			r.errs.add(r.at(n.Content[i]), k.path, "expected a key, found %s", describe(name))
			continue
		}
		if first, again := lines[name.Value]; again {
			r.errs.add(r.at(n.Content[i]), full, "given twice, first in line %d", first)
			continue
		}
		lines[name.Value] = n.Content[i].Line
		child := k.child(name.Value)
		switch {
		case child == nil:
			r.errs.add(r.at(n.Content[i]), full, "%s", unknown(k, name.Value))
		case child.kind == section:
			settings[child.name] = r.section(child, value)
		case child.kind == inRules || child.kind == outRules:
			settings[child.name] = setting{value: r.mapping(child, value), origin: r.at(n.Content[i])}
		default:
			if v, m := parseNode(child, resolve(value)); m != nil {
				r.errs.add(r.at(value), child.path, "%s", m)
			} else {
				settings[child.name] = setting{value: v, origin: r.at(n.Content[i])}
			}
		}
	}
	return settings
}

// named is a key as a message may have it.
func named(name string) string {
	if looksSecret(name) || len(name) > 100 {
		return "[not shown]"
	}
	return name
}

// unknown says why there is no such key below parent, and which was probably meant.
func unknown(parent *key, name string) string {
	if name == "<<" {
		return "merge keys are not supported"
	}
	siblings := make([]string, len(parent.children))
	for i, c := range parent.children {
		siblings[i] = c.name
	}
	if near := nearest(name, siblings); near != "" {
		return fmt.Sprintf("unknown key, did you mean %s?", strings.TrimPrefix(parent.path+"."+near, "."))
	}
	for k := range root().leaves() {
		if k.name == name {
			return fmt.Sprintf("unknown key, did you mean %s?", k.path)
		}
	}
	return "unknown key, known here are " + strings.Join(siblings, ", ")
}

// parseNode reads a leaf's value. Only what YAML 1.1 and 1.2 read alike is
// taken as a boolean or number; yes, on and 0o17 are not.
func parseNode(k *key, n *yaml.Node) (any, *mismatch) {
	if k.kind == list {
		return parseSequence(k, n)
	}
	if n.Kind != yaml.ScalarNode || isNull(n) {
		return nil, &mismatch{expected: k.expectation(), found: describe(n)}
	}
	quoted := n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0
	switch k.kind {
	case text, secret:
		if n.ShortTag() != "!!str" {
			m := &mismatch{expected: k.expectation(), found: describe(n), hint: "put it in quotes"}
			if k.kind == text && n.ShortTag() != "!!binary" {
				m.found += " " + k.shown(n.Value)
			}
			return nil, m
		}
	case boolean, number:
		if quoted {
			m := k.mismatch(n.Value)
			m.found, m.hint = "a text "+m.found, "take off the quotes"
			return nil, m
		}
	}
	return k.parse(n.Value)
}

func parseSequence(k *key, n *yaml.Node) (any, *mismatch) {
	if n.Kind != yaml.SequenceNode {
		m := &mismatch{expected: k.expectation(), found: describe(n)}
		if n.Kind == yaml.ScalarNode && !isNull(n) && !looksSecret(n.Value) && len(n.Value) < 80 {
			m.hint = fmt.Sprintf("write [%q]", n.Value)
		}
		return nil, m
	}
	members := make([]string, 0, len(n.Content))
	for _, item := range n.Content {
		item = resolve(item)
		if item.Kind != yaml.ScalarNode || item.ShortTag() != "!!str" {
			return nil, &mismatch{expected: k.expectation(), found: describe(item) + " in it"}
		}
		members = append(members, item.Value)
	}
	return k.parseList(members)
}

// resolve follows an alias to what it stands for.
func resolve(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
}

// describe says what sort of thing stands there, without its value.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "keys below it"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.ShortTag() {
	case "!!null":
		return "nothing"
	case "!!bool":
		return "a boolean"
	case "!!int", "!!float":
		return "a number"
	case "!!timestamp":
		return "a date"
	case "!!str":
		return "a text"
	default:
		return "a value with a tag" // which may be a text that begins with an exclamation mark
	}
}
