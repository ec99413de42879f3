package config

import (
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Print writes the whole configuration as YAML, secrets as [redacted], and
// behind each value that isn't the default where it came from.
func (c *Config) Print(w io.Writer) error {
	document := toYAML(root(), c, func(k *key, name, value *yaml.Node) {
		if origin := c.origins[k.path]; k.kind != section && origin.Kind != FromDefault {
			value.LineComment = "# " + origin.String()
		}
	})
	if err := writeYAML(w, document); err != nil {
		return fmt.Errorf("print configuration: %w", err)
	}
	return nil
}

// Origin returns where the value of the key came from, such as "supabase.url";
// FromDefault for one that nothing set, or that there isn't.
func (c *Config) Origin(key string) Origin { return c.origins[key] }

// toYAML builds the mapping of the keys below k with c's values. decorate may
// add comments to each.
func toYAML(k *key, c *Config, decorate func(k *key, name, value *yaml.Node)) *yaml.Node {
	mapping := &yaml.Node{Kind: yaml.MappingNode}
	if len(k.children) == 0 {
		mapping.Style = yaml.FlowStyle
	}
	for _, child := range k.children {
		name := &yaml.Node{Kind: yaml.ScalarNode, Value: child.name}
		var value *yaml.Node
		if child.kind == section {
			value = toYAML(child, c, decorate)
		} else {
			value = child.leafYAML(child.in(c))
		}
		decorate(child, name, value)
		mapping.Content = append(mapping.Content, name, value)
	}
	return mapping
}

func (k *key) leafYAML(value reflect.Value) *yaml.Node {
	switch k.kind {
	case list:
		sequence := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
		for _, member := range value.Interface().([]string) {
			sequence.Content = append(sequence.Content, textYAML(member))
		}
		return sequence
	case inRules, outRules:
		return mappingYAML(value.Interface())
	case boolean:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: strconv.FormatBool(value.Bool())}
	case number:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: k.bound(value.Int())}
	case duration, size:
		return textYAML(k.bound(value.Int()))
	case secret:
		return textYAML(value.Interface().(Secret).String())
	default:
		return textYAML(value.String())
	}
}

// textYAML writes a text so that every YAML reader, and every person, takes it
// for one: what begins or goes on with signs is quoted.
func textYAML(s string) *yaml.Node {
	node := &yaml.Node{}
	node.SetString(s)
	if node.Style == 0 && strings.ContainsAny(s, ":/{}[]*&#\"'") {
		node.Style = yaml.DoubleQuotedStyle
	}
	return node
}

func writeYAML(w io.Writer, document *yaml.Node) error {
	encoder := yaml.NewEncoder(w)
	encoder.SetIndent(2)
	if err := encoder.Encode(document); err != nil {
		return err
	}
	return encoder.Close()
}
