package config

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

func TestEnvFile(t *testing.T) {
	for _, test := range []struct {
		name, data string
		want       map[string]string
		bad        []int
	}{
		{"bare", "A=1\nB = two words \n", map[string]string{"A": "1", "B": "two words"}, nil},
		{"comments and blanks", "# A=0\n\n  # B\nA=1 # one\nB=a#b\n", map[string]string{"A": "1", "B": "a"}, nil},
		{"export", "export A=1\n", map[string]string{"A": "1"}, nil},
		{"empty", "A=\nB=''\n", map[string]string{"A": "", "B": ""}, nil},
		{"the last of two counts", "A=1\nA=2\n", map[string]string{"A": "2"}, nil},
		{"quotes keep signs", `A="x # y"` + "\nB='$A \\n'\n", map[string]string{"A": "x # y", "B": `$A \n`}, nil},
		{"escapes in double quotes", `A="a\nb\"c"`, map[string]string{"A": "a\nb\"c"}, nil},
		{"several lines", "A=\"a\nb\"\nB=1\n", map[string]string{"A": "a\nb", "B": "1"}, nil},
		{"line ends of Windows", "A=1\r\nB=2\r\n", map[string]string{"A": "1", "B": "2"}, nil},
		{"references", "A=1\nB=$A${A}x\nC=\"${A}\"\n", map[string]string{"A": "1", "B": "11x", "C": "1"}, nil},
		{"no reference with a default", "A=1\nB=${NONE:-d}\nC=2\n", map[string]string{"A": "1", "C": "2"}, []int{2}},
		{"dollars that refer to nothing", `A=a\$b` + "\n", map[string]string{"A": "a$b"}, nil},
		{"not understood", "what\nA=1\n=2\nsecret value here\nB=2\n", map[string]string{"A": "1", "B": "2"}, []int{1, 3, 4}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, bad, err := parseEnvFile(test.data)
			slices.Sort(bad)
			if err != nil || !maps.Equal(got, test.want) || !slices.Equal(bad, test.bad) {
				t.Errorf("%q gives %q, bad lines %v and error %v, want %q and %v", test.data, got, bad, err, test.want, test.bad)
			}
		})
	}
}

func TestEnvFileThatCannotBeReadIsRefusedWithoutQuotingIt(t *testing.T) {
	for name, data := range map[string]string{
		"quote never closed": "A=1\nB=\"s3cret\nC=2\n",
		"no environment":     strings.Repeat("s3cret\n", maxBadLines+2),
		"endless line":       "A=" + strings.Repeat("s3cret", 20_000),
	} {
		if _, _, err := parseEnvFile(data); err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: error is %v, want one that doesn't quote the file", name, err)
		}
	}
}

func TestEnvFileNamesLines(t *testing.T) {
	path := file(t, ".env", "\ufeff# c\nexport A=1\nB = 2\nAB=3\nA = 4\n")
	values, warnings, err := readEnvFile(path)
	if err != nil || len(warnings) > 0 {
		t.Fatalf("error %v, warnings %q", err, warnings)
	}
	for name, line := range map[string]int{"A": 5, "B": 3, "AB": 4} {
		if got := values[name].origin.Line; got != line {
			t.Errorf("%s comes from line %d, want %d", name, got, line)
		}
	}
}

func FuzzEnvFile(f *testing.F) {
	f.Add("A=1\nexport B=\"x\ny\" # z\nC='$A'\nD=${A:-b}\\$\n")
	f.Add("A=`")
	f.Add("=\n$\nA=${${")
	f.Fuzz(func(t *testing.T, data string) {
		values, bad, err := parseEnvFile(data)
		if err != nil && strings.Contains(err.Error(), "`") {
			t.Errorf("the error %q quotes the file", err)
		}
		last := 1 + strings.Count(data, "\n") + strings.Count(data, "\r")
		for _, line := range bad {
			if line < 1 || line > last {
				t.Errorf("bad line %d of %q", line, data)
			}
		}
		for name := range values {
			if name == "" {
				t.Errorf("a variable without a name in %q", data)
			}
		}
	})
}
