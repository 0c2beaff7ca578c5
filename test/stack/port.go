package stack

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// lease holds a port of 127.0.0.1 for as long as a part exists, also while the
// part is stopped: a restart needs the same one.
type lease struct {
	port int
	file *os.File
}

// leasePort takes a free port below the ranges from which systems give ports to
// outgoing connections, and locks a file of its number against other processes
// that use the same cache folder.
func leasePort(c *cache) (*lease, error) {
	dir := filepath.Join(c.dir, "ports")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("folder of the port locks: %w", err)
	}
	var last error
	for range 100 {
		port := 15000 + rand.IntN(17000)
		l, err := tryPort(dir, port)
		if err == nil {
			return l, nil
		}
		last = err
	}
	return nil, fmt.Errorf("no free port on 127.0.0.1 in 100 attempts: %w", last)
}

func tryPort(dir string, port int) (*lease, error) {
	f, err := os.OpenFile(filepath.Join(dir, strconv.Itoa(port)), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	ln, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if err := ln.Close(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &lease{port: port, file: f}, nil
}

// release gives the port back.
func (l *lease) release() {
	_ = os.Remove(l.file.Name())
	_ = l.file.Close()
}

func (l *lease) addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(l.port)) }
