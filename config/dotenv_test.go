package config

import (
	"slices"
	"strings"
	"testing"
)

func TestDotenvIsReadAsNodeReadsIt(t *testing.T) {
	for _, test := range []struct {
		name, data string
		want       []assignment
		bad        []int
	}{
		{"bare", "A=1\nB = two words \n", []assignment{{"A", "1", 1}, {"B", "two words", 2}}, nil},
		{"comments and blanks", "# A=0\n\n  # B\nA=1 # one\nB=a#b\n", []assignment{{"A", "1", 4}, {"B", "a", 5}}, nil},
		{"export", "export A=1\n", []assignment{{"A", "1", 1}}, nil},
		{"empty", "A=\nB=''\n", []assignment{{"A", "", 1}, {"B", "", 2}}, nil},
		{"quotes keep signs", `A="x # y"` + "\nB='$A \\n'\nC=`\"'`\n", []assignment{{"A", "x # y", 1}, {"B", `$A \n`, 2}, {"C", `"'`, 3}}, nil},
		{"escapes in double quotes", `A="a\nb\"c"`, []assignment{{"A", "a\nb\"c", 1}}, nil},
		{"several lines", "A=\"a\nb\"\nB=1\n", []assignment{{"A", "a\nb", 1}, {"B", "1", 3}}, nil},
		{"quote never closed", "A=\"a\nB=1\n", []assignment{{"A", "\"a", 1}, {"B", "1", 2}}, nil},
		{"after the closing quote", "A='a' # b\nB='c' d\n", []assignment{{"A", "a", 1}, {"B", "c", 2}}, nil},
		{"line ends of Windows, byte order mark", "\ufeffA=1\r\nB=2\r\n", []assignment{{"A", "1", 1}, {"B", "2", 2}}, nil},
		{"references", "A=1\nB=$A${A}x\nC=\"${A}\"\nD=${NONE:-d}\nE=$OUTSIDE\nF=$NONE\n", []assignment{
			{"A", "1", 1}, {"B", "11x", 2}, {"C", "1", 3}, {"D", "d", 4}, {"E", "out", 5}, {"F", "", 6},
		}, nil},
		{"dollars that refer to nothing", `A=a\$b` + "\nB=$\nC=${\nD=$1\n", []assignment{
			{"A", "a$b", 1}, {"B", "$", 2}, {"C", "${", 3}, {"D", "$1", 4},
		}, nil},
		{"not understood", "what\nA=1\n=2\n1A=3\n", []assignment{{"A", "1", 2}}, []int{1, 3, 4}},
		{"doubling", "A=" + strings.Repeat("x", 1024) + strings.Repeat("\nA=$A$A", 30), nil, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, bad := parseDotenv(test.data, func(name string) (string, bool) {
				return "out", name == "OUTSIDE"
			})
			if test.name == "doubling" {
				if len(bad) == 0 {
					t.Error("a value doubled thirty times was taken")
				}
				return
			}
			if !slices.Equal(got, test.want) || !slices.Equal(bad, test.bad) {
				t.Errorf("%q gives %+v and bad lines %v, want %+v and %v", test.data, got, bad, test.want, test.bad)
			}
		})
	}
}

func FuzzDotenv(f *testing.F) {
	f.Add("A=1\nexport B=\"x\ny\" # z\nC='$A'\nD=${A:-b}\\$\n")
	f.Add("A=`")
	f.Add("=\n$\nA=${${")
	f.Fuzz(func(t *testing.T, data string) {
		all, bad := parseDotenv(data, func(string) (string, bool) { return "", false })
		last := 1 + strings.Count(data, "\n") + strings.Count(data, "\r")
		for _, a := range all {
			if !isVariableName(a.name) || a.line < 1 || a.line > last {
				t.Errorf("assignment %+v of %q", a, data)
			}
		}
		for _, line := range bad {
			if line < 1 || line > last {
				t.Errorf("bad line %d of %q", line, data)
			}
		}
	})
}
