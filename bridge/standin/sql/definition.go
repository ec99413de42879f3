package sql

// TableDef defines a table, as CREATE TABLE and what belongs to it do, and the rows it holds at
// first.
type TableDef struct {
	// Line is where the definition stands in its file. Errors name it.
	Line         int
	Schema, Name string
	Columns      []ColumnDef
	// Key names the columns of the primary key.
	Key     []string
	Unique  [][]string
	Indexes [][]string
	Foreign []ForeignKeyDef
	// FullIdentity is REPLICA IDENTITY FULL.
	FullIdentity bool
	// Published puts the table in the publication supabase_realtime.
	Published bool
	// Broadcast is the private topic on which a trigger broadcasts each change of a row; empty for
	// none.
	Broadcast string
	// Granted names the columns that a role may read. A role that isn't in it reads all of them.
	Granted map[string][]string
	// RLS enables row security.
	RLS   bool
	Rules []RuleDef
	Rows  []RowDef
}

// ColumnDef defines a column.
type ColumnDef struct {
	Line    int
	Name    string
	Type    *Type
	NotNull bool
	// Default is a literal, now() or gen_random_uuid(). HasDefault says whether there is one.
	Default    string
	HasDefault bool
	// Identity numbers the rows.
	Identity bool
	// OnUpdate sets the column to the transaction's time with each update, as a trigger would.
	OnUpdate bool
}

// ForeignKeyDef says that columns of a table name a row of another.
type ForeignKeyDef struct {
	Line       int
	Columns    []string
	References string
	// To names the columns that are referred to. Nil is the primary key.
	To       []string
	OnDelete DeleteAction
}

// RuleDef is a policy of row security. It lets roles at every row (Everything), or at the rows
// whose Column, of the table or of a parent that is found Through foreign keys, equals a claim of
// the token.
type RuleDef struct {
	Line       int
	Operations Operation
	Roles      []string
	Everything bool
	Through    []string
	Column     string
	// Claim is a path into the token's claims.
	Claim []string
}

// RowDef is a row. Its values are nil, json.RawMessage, or a literal; now() - 5m stands for a time.
type RowDef struct {
	Line   int
	Values map[string]any
}
