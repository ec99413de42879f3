package supabase

import "testing"

func TestOnlyWhatBlamesTheRowIsTheRowsFault(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]bool{
		"22001": true, "22003": true, "22007": true, "22021": true, "22P02": true, "22P05": true,
		"23502": true, "23505": true, "23514": true, "23P01": true, "44000": true, "54000": true, "P0001": true,
		"22023": false, "23503": false, "42501": false, "42703": false, "42P01": false, "42804": false, "428C9": false,
		"40001": false, "40P01": false, "53300": false, "55P03": false, "57014": false, "57P01": false, "25006": false,
		"PGRST000": false, "PGRST002": false, "PGRST204": false, "PGRST205": false, "PGRST301": false, "": false,
		"22": false, "2200000": false,
	} {
		if got := (&Error{Status: 400, Code: code}).RowFault(); got != want {
			t.Errorf("%q: the row's fault %t, want %t", code, got, want)
		}
	}
}
