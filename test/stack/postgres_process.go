package stack

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	osuser "os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// pgProcess runs a server from a folder of programs.
type pgProcess struct {
	stack *Stack
	bin   string // folder of initdb and postgres
	base  string // temporary folder of this server
	user  *user
	port  *lease
	log   string
	proc  *proc
}

// newPGProcess makes the cluster with initdb and starts it. initdb runs each
// time (about a second): a copied cluster would have the system identifier of
// its original, and telling servers apart by it is what guards are tested for.
func (s *Stack) newPGProcess(ctx context.Context, kind, bin string, version int, c pgConfig) (_ *PG, err error) {
	base, err := s.guard.tempDir("pg" + strconv.Itoa(version))
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.guard.removeDir(base))
		}
	}()
	p := &pgProcess{stack: s, base: base, log: filepath.Join(base, "server.log"), user: serverUser()}
	if p.bin, err = s.reachable(bin, p.user, version); err != nil {
		return nil, err
	}
	info := PGInfo{
		Version: version, Kind: kind, BinDir: p.bin, Log: p.log,
		DataDir: filepath.Join(base, "data"), SocketDir: filepath.Join(base, "s"),
	}
	done, err := s.cache.turn(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	if err := p.initdb(info); err != nil {
		return nil, err
	}
	if p.port, err = leasePort(s.cache); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			p.port.release()
		}
	}()
	info.Address = fmt.Sprintf("postgres://postgres@%s/postgres?sslmode=disable", p.port.addr())
	if c.tls {
		if info.CA, err = p.certificates(info.DataDir); err != nil {
			return nil, err
		}
	}
	if err := p.configure(info, c); err != nil {
		return nil, err
	}
	if err := p.start(ctx); err != nil {
		return nil, errors.Join(err, p.end())
	}
	return &PG{info: info, server: p, own: true, running: true}, nil
}

// serverUser is the user id servers run as: PostgreSQL refuses to be root.
func serverUser() *user {
	if os.Geteuid() != 0 {
		return nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := osuser.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err1 == nil && err2 == nil && uid != 0 {
			return &user{uid: uint32(uid), gid: uint32(gid)}
		}
	}
	return &user{uid: 65534, gid: 65534}
}

// reachable returns bin, or a copy of the tree it is in when another user id
// could not enter it (a clone in root's home).
func (s *Stack) reachable(bin string, u *user, version int) (string, error) {
	if u == nil || othersMayEnter(bin) {
		return bin, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if dir, ok := s.copies[bin]; ok {
		return dir, nil
	}
	dir, err := s.guard.tempDir("pgbin" + strconv.Itoa(version))
	if err != nil {
		return "", err
	}
	root := filepath.Join(dir, "pg")
	if err := os.CopyFS(root, os.DirFS(filepath.Dir(bin))); err != nil {
		return "", fmt.Errorf("copy %s to where user id %d may read it: %w", filepath.Dir(bin), u.uid, err)
	}
	s.copies[bin] = filepath.Join(root, filepath.Base(bin))
	return s.copies[bin], nil
}

// othersMayEnter reports whether every folder down to dir has x for others.
func othersMayEnter(dir string) bool {
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return false
	}
	for ; real != filepath.Dir(real); real = filepath.Dir(real) {
		if st, err := os.Stat(real); err != nil || st.Mode().Perm()&0o001 == 0 {
			return false
		}
	}
	return true
}

func (p *pgProcess) initdb(info PGInfo) error {
	for _, dir := range []string{info.DataDir, info.SocketDir} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
		if err := p.chown(dir); err != nil {
			return err
		}
	}
	// Others may connect by the socket: tests may run as another user.
	if err := os.Chmod(info.SocketDir, 0o755); err != nil {
		return err
	}
	proc, err := p.stack.guard.start(command{
		name: "initdb", path: filepath.Join(p.bin, "initdb"), dir: p.base, user: p.user, ask: "KILL",
		log: filepath.Join(p.base, "initdb.log"),
		args: []string{"-D", info.DataDir, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C",
			"--no-sync", "--no-instructions"},
	})
	if err != nil {
		return err
	}
	if err := proc.wait(patience); err != nil {
		return errors.Join(proc.failure("too slow"), proc.killTree())
	}
	if proc.status.ExitStatus() != 0 || !proc.status.Exited() {
		return proc.failure("failed")
	}
	return nil
}

func (p *pgProcess) chown(path string) error {
	if p.user == nil {
		return nil
	}
	return os.Chown(path, int(p.user.uid), int(p.user.gid))
}

// configure sets what the wishes and this server's place ask for.
func (p *pgProcess) configure(info PGInfo, c pgConfig) error {
	all := c.merged()
	all["port"] = strconv.Itoa(p.port.port)
	all["unix_socket_directories"] = info.SocketDir
	if c.tls {
		all["ssl"] = "on"
		all["ssl_cert_file"] = "server.crt"
		all["ssl_key_file"] = "server.key"
	}
	return p.append(info.DataDir, all)
}

// append writes settings behind those in postgresql.conf, where the last line
// wins.
func (p *pgProcess) append(data string, settings map[string]string) error {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		fmt.Fprintf(&b, "%s = '%s'\n", name, strings.ReplaceAll(settings[name], "'", "''"))
	}
	f, err := os.OpenFile(filepath.Join(data, "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("postgresql.conf: %w", err)
	}
	_, err = f.WriteString("\n# cdc-relay test stack\n" + b.String())
	return errors.Join(err, f.Close())
}

// start starts the postmaster and waits until it says ready in its pid file,
// which it does after recovery. The file is the server's own statement, so no
// connection attempt is spent on waiting.
func (p *pgProcess) start(ctx context.Context) error {
	if p.proc != nil && !p.proc.exited() {
		return errors.New("it is running")
	}
	data := filepath.Join(p.base, "data")
	proc, err := p.stack.guard.start(command{
		name: "postgres", path: filepath.Join(p.bin, "postgres"), args: []string{"-D", data},
		dir: p.base, log: p.log, user: p.user, ask: "QUIT",
	})
	if err != nil {
		return err
	}
	p.proc = proc
	up := poll(patience, 5*time.Millisecond, func() bool {
		return ctx.Err() != nil || proc.exited() || postmasterReady(filepath.Join(data, "postmaster.pid"), proc.pid)
	})
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case !up:
		return proc.failure("not ready within " + patience.String())
	case proc.exited():
		return proc.failure("did not start")
	}
	return nil
}

// postmasterReady reads the status line (the eighth) of postmaster.pid.
func postmasterReady(path string, pid int) bool {
	b, err := os.ReadFile(path)
	if err != nil {
		return false
	}
	lines := strings.Split(string(b), "\n")
	return len(lines) >= 8 && strings.TrimSpace(lines[0]) == strconv.Itoa(pid) &&
		strings.HasPrefix(lines[7], "ready")
}

type pgSignal struct {
	number syscall.Signal
	name   string
}

// pgSignals are the shutdown modes of the postmaster.
func pgSignals() map[string]pgSignal {
	return map[string]pgSignal{
		"smart":     {syscall.SIGTERM, "SIGTERM"},
		"fast":      {syscall.SIGINT, "SIGINT"},
		"immediate": {syscall.SIGQUIT, "SIGQUIT"},
	}
}

func (p *pgProcess) stop(ctx context.Context, mode string) error {
	sig, ok := pgSignals()[mode]
	if !ok {
		return fmt.Errorf("mode %q: smart, fast or immediate", mode)
	}
	if err := p.proc.signal(sig.number); err != nil {
		return err
	}
	bound := patience
	if end, ok := ctx.Deadline(); ok {
		bound = time.Until(end)
	}
	return p.proc.wait(bound)
}

func (p *pgProcess) kill() error   { return p.proc.killTree() }
func (p *pgProcess) pause() error  { return p.proc.pauseTree() }
func (p *pgProcess) resume() error { return p.proc.resumeTree() }

// end kills what may run; the data is not needed any more.
func (p *pgProcess) end() error {
	if p.proc == nil || p.proc.exited() {
		return nil
	}
	return p.proc.killTree()
}

func (p *pgProcess) close() error {
	err := p.end()
	p.port.release()
	return errors.Join(err, p.stack.guard.removeDir(p.base))
}
