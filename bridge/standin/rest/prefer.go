package rest

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/supabridge/supabridge/bridge/standin/sql"
)

// preferences are what a request's Prefer headers ask for. Of several values of one kind the first
// counts.
type preferences struct {
	ret         string // minimal, representation, headers-only
	resolution  string // ignore-duplicates, merge-duplicates
	missing     string // default, null
	count       string // exact, planned, estimated
	maxAffected int    // -1: no bound
	applied     []string
}

// parsePrefer reads the Prefer headers, one list or several. Unknown preferences are passed over,
// or refused under handling=strict.
func parsePrefer(h http.Header) (preferences, error) {
	p := preferences{maxAffected: -1}
	strict, handled := false, false
	var unknown, accepted []string
	affected := ""
	for item := range strings.SplitSeq(strings.Join(h.Values("Prefer"), ","), ",") {
		item = strings.TrimSpace(item)
		name, v, _ := strings.Cut(item, "=")
		var into *string
		var allowed string
		switch name {
		case "":
			continue
		case "return":
			into, allowed = &p.ret, " minimal representation headers-only "
		case "resolution":
			into, allowed = &p.resolution, " ignore-duplicates merge-duplicates "
		case "missing":
			into, allowed = &p.missing, " default null "
		case "count":
			into, allowed = &p.count, " exact planned estimated "
		case "handling":
			if !handled && (v == "strict" || v == "lenient") {
				handled, strict = true, v == "strict"
				accepted = append(accepted, item)
			}
			continue
		case "max-affected":
			if _, err := strconv.ParseUint(v, 10, 31); err == nil && affected == "" {
				affected = v
			}
			continue
		case "tx", "timezone":
			continue // needs rights of the database that Supabase doesn't give
		}
		if into == nil || !strings.Contains(allowed, " "+v+" ") {
			unknown = append(unknown, item)
			continue
		}
		if *into == "" {
			*into = v
			accepted = append(accepted, item)
		}
	}
	if strict && len(unknown) > 0 {
		return p, &sql.Error{Code: "PGRST122", Message: "Invalid preferences given with handling=strict",
			Details: "Invalid preferences: " + strings.Join(unknown, ", ")}
	}
	if strict && affected != "" {
		p.maxAffected, _ = strconv.Atoi(affected)
		accepted = append(accepted, "max-affected="+affected)
	}
	p.applied = accepted
	return p, nil
}
