package replication

import (
	"errors"
	"fmt"
	"net"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

// SQLSTATEs that decide something.
const (
	stateInsufficientPrivilege = "42501"
	stateUndefinedObject       = "42704"
	stateDuplicateObject       = "42710"
	stateObjectInUse           = "55006"
	stateNotInPrerequisite     = "55000" // invalidated slot, other database, wal_level, skipped publication (18)
	stateNotSupported          = "0A000" // logical decoding in recovery, before 16
	stateConfigurationLimit    = "53400" // all replication slots are in use
	stateTooManyConnections    = "53300" // max_wal_senders too
	stateAdminShutdown         = "57P01"
	stateCrashShutdown         = "57P02"
	stateCannotConnectNow      = "57P03"
	stateQueryCanceled         = "57014"
	stateInvalidAuthorization  = "28000" // pg_hba.conf
)

// errClosed says that Close ended the call.
var errClosed = errors.New("the source was closed")

// phase is what was being done when Postgres objected; the same SQLSTATE means
// different things in each.
type phase string

const (
	phaseConnect phase = "connect"
	phaseRead    phase = "read the server's facts"
	phaseTake    phase = "take the slot"
	phaseStream  phase = "read the stream"
	phaseChange  phase = "change the slot or the publication"
)

// sqlState is the SQLSTATE of err, "" if Postgres did not speak.
func sqlState(err error) string {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Code
	}
	return ""
}

// isShutdown reports that the server ended or refused the session because it
// goes down (or is not up yet, which has the same SQLSTATE).
func isShutdown(err error) bool {
	switch sqlState(err) {
	case stateAdminShutdown, stateCrashShutdown, stateCannotConnectNow:
		return true
	}
	return false
}

func isTimeout(err error) bool {
	ne, ok := errors.AsType[net.Error](err)
	return ok && ne.Timeout()
}

// wrap names the slot and the database, and judges what Postgres said.
func (o Options) wrap(p phase, err error) error {
	if err == nil {
		return nil
	}
	if f, ok := errors.AsType[*event.Fault](err); ok && f != nil {
		return err
	}
	err = fmt.Errorf("%s (slot %q, database %q): %w", p, o.Slot, o.database(), err)
	if isShutdown(err) {
		return fmt.Errorf("%w: %w", event.ErrShutdown, err)
	}
	switch sqlState(err) {
	case stateObjectInUse:
		if p == phaseTake {
			return &event.Fault{Verdict: event.Standby, What: fmt.Sprintf("slot %q is held by another process", o.Slot), Err: err,
				Do: "nothing if another relay is at work; else select active_pid from pg_replication_slots"}
		}
		return fault(err, event.Restart, "the object is in use", "stop the process that holds it, or wait until it lets go")
	case stateInsufficientPrivilege:
		return fault(err, event.Refuse, "the role lacks a privilege",
			"cdc-relay doctor   (it prints the grant; for the replication connection: alter role … replication)")
	case stateUndefinedObject:
		return o.undefined(p, err)
	case stateNotInPrerequisite, stateNotSupported:
		return o.prerequisite(p, err)
	case stateConfigurationLimit, stateTooManyConnections:
		return fault(err, event.Restart, "the server has no room", "raise max_replication_slots, max_wal_senders or max_connections and restart Postgres")
	case stateInvalidAuthorization:
		return fault(err, event.Restart, "the server does not let us in", "check pg_hba.conf; before 15 a replication connection may need a line of its own")
	}
	return err
}

func (o Options) undefined(p phase, err error) error {
	switch p {
	case phaseTake:
		slot := o.Slot
		if o.CopyOf != "" {
			slot = o.CopyOf
		}
		return fault(err, event.Restart, fmt.Sprintf("there is no slot %q", slot), "cdc-relay slots list")
	case phaseStream:
		return o.publicationGone(err)
	}
	return err
}

// publicationGone: pgoutput looks the publication up in the catalogue as it was
// when the row was written, so making it again does not help the slot.
func (o Options) publicationGone(err error) error {
	return fault(err, event.Refuse,
		fmt.Sprintf("publication %q did not exist when a change behind the slot was written; rows may have been lost", o.Publication),
		"cdc-relay slots recreate --accept-gap; then cdc-relay audit finds the rows in between, and cdc-relay repair publishes them")
}

func (o Options) prerequisite(p phase, err error) error {
	if p != phaseTake && p != phaseStream {
		return err
	}
	if sqlState(err) == stateNotSupported { // decoding on a standby, before 16
		return &event.Fault{Verdict: event.Standby, What: "the server is in recovery", Do: "nothing: wait for the promotion", Err: err}
	}
	return fault(err, event.Refuse, fmt.Sprintf("slot %q cannot be read", o.Slot),
		"cdc-relay doctor; if the slot is invalidated or lost: cdc-relay slots recreate --accept-gap")
}

func fault(err error, v event.Verdict, what, do string) error {
	return &event.Fault{Verdict: v, What: what, Do: do, Err: err}
}

// database is the name of the database for messages; "" if the connection
// string cannot be read.
func (o Options) database() string {
	cfg, err := pgconn.ParseConfig(o.URL)
	if err != nil {
		return ""
	}
	if cfg.Database == "" {
		return cfg.User
	}
	return cfg.Database
}
