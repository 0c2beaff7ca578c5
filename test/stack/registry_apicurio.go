package stack

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// apicurioRelease is Apicurio Registry for every Java from 17 on. The 3.x line
// needs 21, opens a second port, and would be another registry on another
// machine: one release means one behaviour.
const apicurioRelease = "2.6.13.Final"

// apicurio runs Apicurio Registry with its storage in memory.
type apicurio struct {
	stack   *Stack
	java    java
	jar     string
	archive string
	base    string
	log     string
	port    *lease
	proc    *proc
}

// apicurioJar downloads and unpacks the registry once.
func (c *cache) apicurioJar(ctx context.Context) (string, error) {
	name := "apicurio-registry-app-" + apicurioRelease
	dir, err := c.once(ctx, name, func(dir string) error {
		if err := c.mavenCopy(ctx, "io.apicurio:apicurio-registry-app:"+apicurioRelease+":tar.gz:all", dir); err != nil {
			return err
		}
		packed := filepath.Join(dir, name+"-all.tar.gz")
		if err := unpackTarGz(packed, dir); err != nil {
			return fmt.Errorf("unpack %s: %w", filepath.Base(packed), err)
		}
		return os.Remove(packed)
	})
	return filepath.Join(dir, name+"-runner.jar"), err
}

func unpackTarGz(path, dir string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	z, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	return unpackTar(z, dir)
}

// newApicurio starts a registry.
func (s *Stack) newApicurio(ctx context.Context) (_ *SR, err error) {
	j, err := findJava(ctx)
	if err != nil {
		return nil, err
	}
	jar, err := s.cache.apicurioJar(ctx)
	if err != nil {
		return nil, err
	}
	archive, err := s.archive(ctx, "apicurio-"+apicurioRelease, j, jar, func(options []string, _ string) (*proc, error) {
		a := &apicurio{stack: s, java: j, jar: jar}
		if err := a.layOut(); err != nil {
			return nil, err
		}
		defer a.port.release()
		if err := a.launch(options); err != nil {
			return nil, err
		}
		return a.proc, registryReady(ctx, a.url(), a.running)
	})
	if err != nil {
		return nil, err
	}
	a := &apicurio{stack: s, java: j, jar: jar, archive: archive}
	if err := a.layOut(); err != nil {
		return nil, errors.Join(err, a.close())
	}
	done, err := s.cache.turn(ctx)
	if err == nil {
		err = a.start(ctx)
		done()
	}
	if err != nil {
		return nil, errors.Join(err, a.close())
	}
	return &SR{info: RegistryInfo{URL: a.url(), Kind: "apicurio", Log: a.log}, server: a, own: true}, nil
}

func (a *apicurio) layOut() (err error) {
	if a.base, err = a.stack.guard.tempDir("registry"); err != nil {
		return err
	}
	a.log = filepath.Join(a.base, "server.log")
	a.port, err = leasePort(a.stack.cache)
	return err
}

func (a *apicurio) url() string { return "http://" + a.port.addr() + "/apis/ccompat/v7" }

func (a *apicurio) running() error {
	if a.proc.exited() {
		return a.proc.failure("did not start")
	}
	return nil
}

func (a *apicurio) launch(options []string) error {
	args := append(append([]string{"-Xmx256m"}, quick()...), options...)
	args = append(args, "-Dquarkus.http.host=127.0.0.1", "-Dquarkus.http.port="+strconv.Itoa(a.port.port),
		"-Dquarkus.log.level=WARN", "-Djava.io.tmpdir="+a.base, "-jar", a.jar)
	p, err := a.stack.guard.start(command{
		name: "apicurio", path: a.java.path, args: args, dir: a.base, log: a.log, ask: "KILL",
	})
	if err != nil {
		return err
	}
	a.proc = p
	return nil
}

func (a *apicurio) start(ctx context.Context) error {
	if a.proc != nil && !a.proc.exited() {
		return errors.New("it is running")
	}
	if err := a.launch(useArchive(a.archive)); err != nil {
		return err
	}
	if err := registryReady(ctx, a.url(), a.running); err != nil {
		return err
	}
	return setBackward(ctx, a.url())
}

// stop kills: the storage is in memory, there is nothing to finish.
func (a *apicurio) stop() error {
	if a.proc == nil {
		return nil
	}
	return a.proc.killTree()
}

func (a *apicurio) close() error {
	err := a.stop()
	if a.port != nil {
		a.port.release()
	}
	return errors.Join(err, a.stack.guard.removeDir(a.base))
}
