package replication

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
)

// queryRow runs sql and returns its one row in the text format; the values are
// the caller's. Parameters are sent as text.
func queryRow(ctx context.Context, pc *pgconn.PgConn, sql string, args ...string) ([][]byte, error) {
	params := make([][]byte, len(args))
	for i, a := range args {
		params[i] = []byte(a)
	}
	res := pc.ExecParams(ctx, sql, params, nil, nil, nil).Read()
	if res.Err != nil {
		return nil, res.Err
	}
	if len(res.Rows) != 1 {
		return nil, fmt.Errorf("want one row, got %d", len(res.Rows))
	}
	return res.Rows[0], nil
}

// tablesJSON gives schema.table names to a query as a set of records.
func tablesJSON(names []string) string {
	type record struct {
		Pos  int    `json:"pos"`
		Name string `json:"name"`
		Nsp  string `json:"nsp"`
		Rel  string `json:"rel"`
	}
	list := make([]record, 0, len(names))
	for i, n := range names {
		schema, table := splitTable(n)
		list = append(list, record{Pos: i, Name: n, Nsp: schema, Rel: table})
	}
	b, err := json.Marshal(list)
	if err != nil {
		return "[]" // strings and numbers always marshal
	}
	return string(b)
}
