package sql

// Bytes is what the rows of a DB are accounted for.
func Bytes(db *DB) int64 { return db.bytes }

// Places is how many places the heap of a table has, and how many rows are in them.
func Places(db *DB, schema, name string) (places, rows int) {
	t := db.tables[tableName{schema, name}]
	return len(t.heap), t.live
}

// Looks are the places of the rows that a filter has to look at.
func Looks(db *DB, schema, name string, filter Filter) (places []int) {
	t := db.tables[tableName{schema, name}]
	for _, r := range t.rowsWith(func(column int) ([]value, bool) { vs, ok := filter.known[column]; return vs, ok }) {
		places = append(places, r.pos)
	}
	return places
}
