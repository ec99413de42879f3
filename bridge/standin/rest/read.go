package rest

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/supabridge/supabridge/bridge/standin/sql"
)

// read answers GET and HEAD.
func (c *restCall) read(h http.Header) (int, []byte, error) {
	fields, err := parseSelect(c.table, c.params.Get("select"))
	if err != nil {
		return 0, nil, err
	}
	filter, _, err := c.filters()
	if err != nil {
		return 0, nil, err
	}
	order, err := parseOrder(c.table, c.params.Get("order"))
	if err != nil {
		return 0, nil, err
	}
	if err := c.maySort(order); err != nil {
		return 0, nil, err
	}
	span, err := c.window(h)
	if err != nil {
		return 0, nil, err
	}
	rows := c.table.Select(filter)
	sql.Sort(rows, order)
	total := len(rows)
	if span.limit < 0 || span.limit > c.opts.MaxRows {
		span.limit = c.opts.MaxRows
	}
	rows = span.of(rows)
	counted := c.prefer.count != ""
	if counted && span.offset > total {
		c.header.Set("Content-Range", "*/"+strconv.Itoa(total))
		return 0, nil, rangeError(
			fmt.Sprintf("An offset of %d was requested, but there are only %d rows.", span.offset, total),
		)
	}
	out, err := c.render(fields, rows)
	if err != nil {
		return 0, nil, err
	}
	c.header.Set("Content-Range", contentRange(span.offset, len(rows), total, counted))
	if counted && len(rows) < total {
		return http.StatusPartialContent, out, nil
	}
	return http.StatusOK, out, nil
}

// window is what limit, offset and the header Range leave of the rows.
func (c *restCall) window(h http.Header) (window, error) {
	span, err := parseWindow(c.params.Get("limit"), c.params.Get("offset"))
	text := strings.TrimSpace(h.Get("Range"))
	if err != nil || text == "" {
		return span, err
	}
	text = strings.TrimPrefix(text, "items=")
	from, to, ok := strings.Cut(text, "-")
	first, err := strconv.ParseUint(from, 10, 31)
	if !ok || err != nil {
		return span, nil // not of this unit: passed over
	}
	last := uint64(1<<31 - 1)
	if to != "" {
		if last, err = strconv.ParseUint(to, 10, 31); err != nil {
			return span, nil
		}
		if last < first {
			return span, rangeError("The lower boundary must be lower than or equal to the upper boundary in the Range header.")
		}
	}
	lower, upper := max(span.offset, int(first)), int(last)
	if span.limit >= 0 {
		upper = min(upper, span.offset+span.limit-1)
	}
	return window{offset: lower, limit: max(0, upper-lower+1)}, nil
}

// contentRange is 0-24/573, with * for a total not asked for and for no rows.
func contentRange(offset, rows, total int, counted bool) string {
	span, all := "*", "*"
	if rows > 0 {
		span = strconv.Itoa(offset) + "-" + strconv.Itoa(offset+rows-1)
	}
	if counted {
		all = strconv.Itoa(total)
	}
	return span + "/" + all
}
