package sql

import (
	"strconv"
	"strings"
)

// Postgres' own bounds on numeric: digits before and after the point. The bound on exponents is
// ours: a short text must not become a very long number.
const (
	maxNumericWhole    = 131072
	maxNumericFraction = 16383
	maxExponent        = 1000
)

// parseNumeric reads a decimal number of any size and prints it without exponent, keeping the
// digits of its fraction; a type with a scale rounds to it, half away from zero.
func (t *Type) parseNumeric(text string) (value, error) {
	s := strings.TrimSpace(text)
	switch strings.ToLower(s) {
	case "nan":
		return value{text: "NaN"}, nil
	case "infinity", "inf", "+infinity", "+inf":
		return t.infinite("Infinity")
	case "-infinity", "-inf":
		return t.infinite("-Infinity")
	}
	sign, whole, fraction, ok := splitDecimal(s)
	if !ok {
		return null, invalidSyntax(t, text)
	}
	if len(whole) > maxNumericWhole || len(fraction) > maxNumericFraction {
		return null, &Error{Code: "22003", Message: "value overflows numeric format"}
	}
	if t.prec > 0 {
		whole, fraction = roundDecimal(whole, fraction, t.scale)
		if len(whole) > t.prec-t.scale {
			return null, t.numericOverflow()
		}
	}
	if whole == "" {
		whole = "0"
	}
	out := whole
	if fraction != "" {
		out += "." + fraction
	}
	if sign && strings.Trim(out, "0.") != "" {
		out = "-" + out
	}
	return value{text: out}, nil
}

func (t *Type) infinite(text string) (value, error) {
	if t.prec > 0 {
		return null, t.numericOverflow()
	}
	return value{text: text}, nil
}

func (t *Type) numericOverflow() *Error {
	return &Error{
		Code:    "22003",
		Message: "numeric field overflow",
		Details: "A field with precision " + strconv.Itoa(t.prec) +
			", scale " + strconv.Itoa(t.scale) + " must round to an absolute value less than 10^" +
			strconv.Itoa(t.prec-t.scale) + ".",
	}
}

// splitDecimal takes a decimal with an optional exponent apart into the digits before and after its
// point, without leading zeros. ok is false if it is no number or one too large for any numeric.
func splitDecimal(s string) (negative bool, whole, fraction string, ok bool) {
	if s != "" && (s[0] == '-' || s[0] == '+') {
		negative, s = s[0] == '-', s[1:]
	}
	exponent := 0
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		n, err := strconv.Atoi(s[i+1:])
		if err != nil || n > maxExponent || n < -maxExponent {
			return false, "", "", false
		}
		exponent, s = n, s[:i]
	}
	whole, fraction, _ = strings.Cut(s, ".")
	if whole == "" && fraction == "" || strings.Trim(whole+fraction, "0123456789") != "" {
		return false, "", "", false
	}
	switch {
	case exponent > 0:
		if pad := exponent - len(fraction); pad > 0 {
			fraction += strings.Repeat("0", pad)
		}
		whole, fraction = whole+fraction[:exponent], fraction[exponent:]
	case exponent < 0:
		if pad := -exponent - len(whole); pad > 0 {
			whole = strings.Repeat("0", pad) + whole
		}
		cut := len(whole) + exponent
		whole, fraction = whole[:cut], whole[cut:]+fraction
	}
	return negative, strings.TrimLeft(whole, "0"), fraction, true
}

// roundDecimal gives the fraction exactly scale digits.
func roundDecimal(whole, fraction string, scale int) (string, string) {
	if len(fraction) <= scale {
		return whole, fraction + strings.Repeat("0", scale-len(fraction))
	}
	up := fraction[scale] >= '5'
	fraction = fraction[:scale]
	if !up {
		return whole, fraction
	}
	digits := []byte(whole + fraction)
	for i := len(digits) - 1; ; i-- {
		if i < 0 {
			digits = append([]byte{'1'}, digits...)
			break
		}
		if digits[i] != '9' {
			digits[i]++
			break
		}
		digits[i] = '0'
	}
	cut := len(digits) - scale
	return strings.TrimLeft(string(digits[:cut]), "0"), string(digits[cut:])
}

// trimNumeric drops the zeros at the end of a canonical numeric's fraction.
func trimNumeric(s string) string {
	if strings.IndexByte(s, '.') < 0 {
		return s
	}
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}

// compareNumerics orders two canonical numerics by value; NaN is the largest.
func compareNumerics(a, b string) int {
	ra, rb := numericRank(a), numericRank(b)
	if ra != rb {
		return ra - rb
	}
	switch ra {
	case 1:
		return compareMagnitudes(a, b)
	case -1:
		return compareMagnitudes(b[1:], a[1:])
	}
	return 0
}

// numericRank is the sign of a canonical numeric, wider for the infinities and NaN.
func numericRank(s string) int {
	switch {
	case s == "NaN":
		return 3
	case s == "Infinity":
		return 2
	case s == "-Infinity":
		return -2
	case s[0] == '-':
		return -1
	case strings.Trim(s, "0.") == "":
		return 0
	}
	return 1
}

func compareMagnitudes(a, b string) int {
	aw, af, _ := strings.Cut(a, ".")
	bw, bf, _ := strings.Cut(b, ".")
	if len(aw) != len(bw) {
		return len(aw) - len(bw)
	}
	if c := strings.Compare(aw, bw); c != 0 {
		return c
	}
	return strings.Compare(strings.TrimRight(af, "0"), strings.TrimRight(bf, "0"))
}
