package replication

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
)

// Hints are what tells who runs the server, and settings a guard has no use
// for.
type Hints struct {
	Host                    string   `json:"-"` // of the connection string
	Port                    int      `json:"-"`
	Settings                []string `json:"settings"`  // names with a dot in them
	Functions               []string `json:"functions"` // those providers add
	Roles                   []string `json:"roles"`     // those providers add
	SynchronousStandbyNames string   `json:"synchronous_standby_names"`
}

const hintsSQL = `select json_build_object(
  'settings', (select coalesce(json_agg(name), '[]') from pg_settings where name like '%.%'),
  'functions', (select coalesce(json_agg(distinct proname), '[]') from pg_proc where proname = 'aurora_version'),
  'roles', (select coalesce(json_agg(rolname), '[]') from pg_roles where rolname in
    ('rds_superuser', 'alloydbsuperuser', 'cloudsqlsuperuser', 'azure_pg_admin', 'neon_superuser', 'supabase_admin')),
  'synchronous_standby_names', current_setting('synchronous_standby_names'))::text`

// Hints reads them. It touches nothing.
func (s *Source) Hints(ctx context.Context) (Hints, error) {
	var h Hints
	err := s.sql.do(ctx, func(ctx context.Context, pc *pgconn.PgConn) error {
		row, err := queryRow(ctx, pc, hintsSQL)
		if err != nil {
			return fmt.Errorf("read what tells the provider: %w", err)
		}
		return json.Unmarshal(row[0], &h)
	})
	if err != nil {
		return h, s.opts.wrap(phaseRead, err)
	}
	cfg, err := pgconn.ParseConfig(s.opts.URL)
	if err == nil {
		h.Host, h.Port = cfg.Host, int(cfg.Port)
	}
	return h, err
}
