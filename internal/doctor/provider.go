package doctor

import (
	"slices"
	"strings"
)

// Provider is who runs a Postgres: where settings and rights are set differs.
// The zero Provider is a server of one's own.
type Provider string

// The providers that are told apart.
const (
	SelfHosted Provider = ""
	RDS        Provider = "Amazon RDS"
	Aurora     Provider = "Amazon Aurora"
	CloudSQL   Provider = "Google Cloud SQL"
	AlloyDB    Provider = "Google AlloyDB"
	Azure      Provider = "Azure Database for PostgreSQL"
	Supabase   Provider = "Supabase"
	Neon       Provider = "Neon"
)

// Hints are what a provider is recognised by; the caller reads them.
type Hints struct {
	Host      string   // of the connection string
	Port      int      // 0 unknown
	Settings  []string // names in pg_settings with a dot in them
	Functions []string // names in pg_proc: aurora_version
	Roles     []string // names in pg_roles: rds_superuser, cloudsqlsuperuser, …
}

// Detect tells the provider. What the server says counts more than the name of
// its host: hosts have aliases.
func Detect(h Hints) Provider {
	host := strings.ToLower(strings.TrimSuffix(h.Host, "."))
	setting := func(prefix string) bool {
		return slices.ContainsFunc(h.Settings, func(s string) bool { return strings.HasPrefix(s, prefix) })
	}
	role := func(name string) bool { return slices.Contains(h.Roles, name) }
	in := func(domains ...string) bool {
		return slices.ContainsFunc(domains, func(d string) bool { return strings.HasSuffix(host, "."+d) })
	}
	amazon := in("rds.amazonaws.com", "rds.amazonaws.com.cn")
	switch {
	case slices.Contains(h.Functions, "aurora_version"), amazon && strings.Contains(host, ".cluster-"):
		return Aurora
	case role("rds_superuser"), setting("rds."), amazon:
		return RDS
	case setting("alloydb."), role("alloydbsuperuser"):
		return AlloyDB
	case setting("cloudsql."), role("cloudsqlsuperuser"):
		return CloudSQL
	case role("azure_pg_admin"), setting("azure."), in("postgres.database.azure.com", "postgres.database.usgovcloudapi.net", "postgres.database.chinacloudapi.cn"):
		return Azure
	case setting("neon."), role("neon_superuser"), in("neon.tech"):
		return Neon
	case role("supabase_admin"), in("supabase.co", "supabase.com"):
		return Supabase
	}
	return SelfHosted
}

// reloaded are the settings that need no restart.
var reloaded = map[string]bool{"synchronous_standby_names": true, "max_slot_wal_keep_size": true, "idle_replication_slot_timeout": true,
	"synchronized_standby_slots": true, "sync_replication_slots": true, "hot_standby_feedback": true, "primary_slot_name": true, "primary_conninfo": true}

// set says how to give a server setting a value.
func (p Provider) set(name, value string) string {
	restart := "and restart Postgres"
	if reloaded[name] {
		restart = "and select pg_reload_conf()"
	}
	switch p {
	case RDS:
		return "set " + name + " = " + value + " in the instance's DB parameter group, and reboot the instance if it asks for it"
	case Aurora:
		return "set " + name + " = " + value + " in the DB cluster parameter group, and reboot the writer if it asks for it"
	case CloudSQL:
		return "gcloud sql instances patch INSTANCE --database-flags=" + name + "=" + value + " (list every other flag too: the command replaces them all)"
	case AlloyDB:
		return "set the database flag " + name + " = " + value + " on the primary instance"
	case Azure:
		return "az postgres flexible-server parameter set --name " + name + " --value " + value + ", and restart the server if it asks for it"
	case Supabase:
		return "supabase postgres-config update --config " + name + "=" + value
	case Neon:
		return "ask Neon's support for " + name + " = " + value
	}
	return "ALTER SYSTEM SET " + name + " = '" + value + "' " + restart
}

// walLevel says how to have logical replication, on a server that needs this
// wal_level for it.
func (p Provider) walLevel(need string) string {
	switch p {
	case RDS:
		return "set rds.logical_replication = 1 in the instance's DB parameter group and reboot the instance"
	case Aurora:
		return "set rds.logical_replication = 1 in the DB cluster parameter group and reboot the writer"
	case CloudSQL:
		return "gcloud sql instances patch INSTANCE --database-flags=cloudsql.logical_decoding=on (list every other flag too: the command replaces them all; the instance restarts)"
	case AlloyDB:
		return "set the database flag alloydb.logical_decoding = on on the primary instance (it restarts)"
	case Azure:
		return "az postgres flexible-server parameter set --name wal_level --value " + need + ", and restart the server"
	case Neon:
		return "enable Logical Replication in the project's settings in the Neon console (it restarts the computes and cannot be undone)"
	}
	return p.set("wal_level", need)
}

// grant says how a role may replicate.
func (p Provider) grant(role string) string {
	switch p {
	case RDS, Aurora:
		return "GRANT rds_replication TO " + name1(role)
	}
	return "ALTER ROLE " + name1(role) + " WITH REPLICATION"
}

// notes are what one should know of a provider, given how it is reached.
func (p Provider) notes(h Hints) []Finding {
	host := strings.ToLower(h.Host)
	switch {
	case p == Supabase && (strings.HasSuffix(host, "pooler.supabase.com") || h.Port == 6543):
		return []Finding{{Level: Fail, Check: "provider", What: "the connection goes through Supabase's pooler, which cannot replicate",
			Do: "use the direct connection, db.<project>.supabase.co:5432 (IPv6, or the IPv4 add-on)"}}
	case p == Neon && strings.Contains(host, "-pooler."):
		return []Finding{{Level: Fail, Check: "provider", What: "the connection goes through Neon's pooler, which cannot replicate",
			Do: "take -pooler out of the host name"}}
	case p == Neon:
		return []Finding{{Level: Warn, Check: "provider", What: "Neon drops replication slots that nobody reads for some time (about 40 hours), and events with them",
			Do: "do not leave the relay down for longer than a day"}}
	case p == Aurora && strings.Contains(host, ".cluster-ro-"):
		return []Finding{{Level: Fail, Check: "provider", What: "the connection goes to Aurora's reader endpoint, which has no logical slots of the writer",
			Do: "use the cluster (writer) endpoint, without -ro"}}
	case p == SelfHosted:
		return nil
	}
	return []Finding{{Level: OK, Check: "provider", What: string(p)}}
}
