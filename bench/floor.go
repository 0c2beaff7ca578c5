package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// floor reads a slot and does nothing with it: no relay can be faster.
type floor struct {
	name string
	path string // of pg_recvlogical; "": the reader of this program
}

// findFloor finds pg_recvlogical: beside the server, on PATH, in the folders of
// the usual packages.
func (b *bench) findFloor() floor {
	var paths []string
	if dir := b.stack.Postgres().BinDir(); dir != "" {
		paths = append(paths, filepath.Join(dir, "pg_recvlogical"))
	}
	if p, err := exec.LookPath("pg_recvlogical"); err == nil {
		paths = append(paths, p)
	}
	for _, pattern := range []string{"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/*/bin", "/usr/local/opt/*/bin"} {
		found, _ := filepath.Glob(filepath.Join(pattern, "pg_recvlogical")) // the patterns are right
		slices.Reverse(found)                                               // the newest first
		paths = append(paths, found...)
	}
	for _, p := range paths {
		if info, err := os.Stat(p); err == nil && !info.IsDir() {
			return floor{name: "pg_recvlogical", path: p}
		}
	}
	fmt.Println("  pg_recvlogical is not on this machine: the floor is a small Go reader of this program (facts: no slower)")
	return floor{name: "go reader"}
}

// drained is one run of a contender.
type drained struct {
	took   time.Duration
	steady float64 // rows/s; 0: not known
	cpu    time.Duration
	peak   int64 // bytes of resident memory

	commits  float64 // Kafka transactions
	inCommit float64 // part of the time in which one was being committed
	busy     float64 // part of all processors' time that anybody used
}

func (f floor) run(ctx context.Context, s *source, slot string, events int) (drained, error) {
	if f.path == "" {
		return readSlot(ctx, s, slot, events)
	}
	u, err := url.Parse(s.url)
	if err != nil {
		return drained{}, err
	}
	cmd := exec.CommandContext(ctx, f.path, "-d", s.url, "--slot="+slot, "--start", "--no-loop", "--endpos="+s.end.String(),
		"--file=/dev/null", "-o", "proto_version=1", "-o", "publication_names=cdc_relay")
	began := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		return drained{}, fmt.Errorf("pg_recvlogical on %s: %w\n%s", u.Host, err, out)
	}
	took := time.Since(began)
	return drained{took: took, cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}, nil
}

// readSlot is the floor without pg_recvlogical.
func readSlot(ctx context.Context, s *source, slot string, events int) (drained, error) {
	cfg, err := pgconn.ParseConfig(s.url)
	if err != nil {
		return drained{}, err
	}
	cfg.RuntimeParams["replication"] = "database"
	began := time.Now()
	pc, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		return drained{}, err
	}
	defer pc.Close(ctx) // nothing is confirmed
	fe := pc.Frontend()
	fe.Send(&pgproto3.Query{String: `START_REPLICATION SLOT "` + slot + `" LOGICAL 0/0 (proto_version '1', publication_names 'cdc_relay')`})
	if err := fe.Flush(); err != nil {
		return drained{}, err
	}
	for rows := 0; ; {
		msg, err := fe.Receive()
		if err != nil {
			return drained{}, err
		}
		data, ok := msg.(*pgproto3.CopyData)
		if e, bad := msg.(*pgproto3.ErrorResponse); bad {
			return drained{}, pgconn.ErrorResponseToPgError(e)
		}
		if !ok || len(data.Data) < 18 {
			continue
		}
		const head = 25 // of XLogData; pgoutput's message follows
		switch {
		case data.Data[0] == 'w' && len(data.Data) > head && data.Data[head] == 'I':
			rows++
		case data.Data[0] == 'w' && len(data.Data) > head && data.Data[head] == 'C' && rows == events:
			return drained{took: time.Since(began)}, nil
		case data.Data[0] == 'k' && data.Data[17] == 1:
			if err := answer(fe); err != nil {
				return drained{}, err
			}
		}
		if rows > events {
			return drained{}, errors.New("more rows than were written")
		}
	}
}

// answer tells the server that the reader lives: a standby status update at
// the first position, so that nothing is confirmed.
func answer(fe *pgproto3.Frontend) error {
	status := append([]byte{'r'}, make([]byte, 33)...)
	for i := range 3 {
		binary.BigEndian.PutUint64(status[1+8*i:], 1)
	}
	fe.Send(&pgproto3.CopyData{Data: status})
	return fe.Flush()
}
