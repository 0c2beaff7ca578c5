package replication

import (
	"context"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

// peekSQL decodes what a slot keeps, from its position to the end, and returns
// of each BEGIN of some transactions the LSN of the commit. Nothing is
// confirmed: the slot stays where it is.
const peekSQL = `select xid::text, encode(substring(data from 2 for 8), 'hex')
  from pg_logical_slot_peek_binary_changes($1, null, null, 'proto_version', '1', 'publication_names', $2)
  where get_byte(data, 0) = ascii('B') and xid::text = any($3::text[])`

// CommitLSNs finds where transactions were committed, in the log that an anchor
// keeps. Those that committed before its position, or published nothing, are
// left out. Postgres decodes all the log from there on: minutes, if it is much.
func (s *Source) CommitLSNs(ctx context.Context, anchor string, xids []uint32) (map[uint32]event.LSN, error) {
	texts := make([]string, len(xids))
	for i, x := range xids {
		texts[i] = strconv.FormatUint(uint64(x), 10)
	}
	found := make(map[uint32]event.LSN, len(xids))
	err := s.change(ctx, func(pc *pgconn.PgConn) error {
		args := [][]byte{[]byte(anchor), []byte(quoteIdent(s.opts.Publication)), []byte("{" + strings.Join(texts, ",") + "}")}
		res := pc.ExecParams(ctx, peekSQL, args, nil, nil, nil).Read()
		if res.Err != nil {
			return fmt.Errorf("look into the log that slot %q keeps: %w", anchor, res.Err)
		}
		for _, row := range res.Rows {
			xid, err := strconv.ParseUint(string(row[0]), 10, 32)
			if err != nil {
				return fmt.Errorf("transaction id: %w", err)
			}
			var lsn [8]byte
			if n, err := hex.Decode(lsn[:], row[1]); err != nil || n != 8 {
				return fmt.Errorf("BEGIN of transaction %d: %q is no LSN", xid, row[1])
			}
			c := cursor{b: lsn[:]}
			found[uint32(xid)] = c.lsn()
		}
		return nil
	})
	return found, err
}
