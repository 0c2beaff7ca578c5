package replication

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

// A walsender of a logical slot is no standby's. What a role may not see of
// others is null: such a walsender is taken for a standby that streams.
// The worker that keeps slots in step has a name of its own only where
// primary_conninfo gives none; else its last query tells it.
// primary_conninfo is in pg_settings for those only who may read it.
const standbysSQL = `select jsonb_build_object(
  'named', coalesce(current_setting('synchronized_standby_slots', true), ''),
  'standbys', (select coalesce(jsonb_agg(jsonb_build_object('slot', coalesce(s.slot_name, ''), 'name', coalesce(r.application_name, ''),
      'active', r.pid is not null, 'feedback', s.xmin is not null or r.backend_xmin is not null, 'flush', coalesce(r.flush_lsn, '0/0'))
      order by s.slot_name, r.application_name), '[]')
    from (select * from pg_stat_replication r where coalesce(r.state, 'streaming') in ('startup', 'catchup', 'streaming')
        and not exists (select 1 from pg_replication_slots l where l.slot_type = 'logical' and l.active_pid = r.pid)) as r
    full join (select * from pg_replication_slots where slot_type = 'physical' and not temporary) as s on s.active_pid = r.pid),
  'slot_worker', case when not pg_has_role(session_user, 'pg_read_all_stats', 'USAGE') then 'unknown'
    when exists (select 1 from pg_stat_activity where backend_type = 'client backend'
      and (application_name like '%slotsync worker' or query like '%pg_replication_slots WHERE failover and NOT temporary%')) then 'yes' else 'no' end,
  'sync_slots', coalesce(current_setting('sync_replication_slots', true), ''),
  'feedback', current_setting('hot_standby_feedback')::bool,
  'primary_slot', current_setting('primary_slot_name'),
  'primary_no_db', coalesce((select setting !~ 'dbname *=|://[^?]*/[^?]' from pg_settings where name = 'primary_conninfo'), false),
  'received', case when pg_is_in_recovery() then greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) end,
  'receiver_lost', pg_is_in_recovery() and not exists (select 1 from pg_stat_wal_receiver)
)::text`

// Failover reads what the server says about its standbys, or about itself as
// one. It touches nothing.
func (s *Source) Failover(ctx context.Context) (event.Failover, error) {
	var row struct {
		Named        string          `json:"named"`
		Standbys     []event.Replica `json:"standbys"`
		SlotWorker   string          `json:"slot_worker"`
		SyncSlots    string          `json:"sync_slots"`
		Feedback     bool            `json:"feedback"`
		PrimarySlot  string          `json:"primary_slot"`
		PrimaryNoDB  bool            `json:"primary_no_db"`
		Received     *event.LSN      `json:"received"`
		ReceiverLost bool            `json:"receiver_lost"`
	}
	err := s.sql.do(ctx, func(ctx context.Context, pc *pgconn.PgConn) error {
		got, err := queryRow(ctx, pc, standbysSQL)
		if err != nil {
			return fmt.Errorf("read what there is of standbys: %w", err)
		}
		return json.Unmarshal(got[0], &row)
	})
	if err != nil {
		return event.Failover{}, s.opts.wrap(phaseRead, err)
	}
	return event.Failover{Known: true, Named: listed(row.Named), Standbys: row.Standbys, SlotWorker: row.SlotWorker, SyncSlots: row.SyncSlots,
		Feedback: row.Feedback, PrimarySlot: row.PrimarySlot, PrimaryNoDB: row.PrimaryNoDB, Received: lsnOf(row.Received), ReceiverLost: row.ReceiverLost}, nil
}

// listed takes a setting apart that is a list of names; those of slots need no
// quotes.
func listed(setting string) []string {
	var names []string
	for name := range strings.SplitSeq(setting, ",") {
		if name = strings.Trim(strings.TrimSpace(name), `"`); name != "" {
			names = append(names, name)
		}
	}
	return names
}
