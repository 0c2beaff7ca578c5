package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"

	"github.com/cdc-relay/cdc-relay/test/rig"
)

//go:embed pprof.go.txt
var pprofFile []byte

// build builds the relay; for a profile with net/http/pprof laid over it.
func (b *bench) build(ctx context.Context) (string, error) {
	if !b.profile {
		return rig.Build(ctx, dir())
	}
	file, overlay := filepath.Join(dir(), "pprof.go"), filepath.Join(dir(), "overlay.json")
	text, err := json.Marshal(map[string]map[string]string{
		"Replace": {filepath.Join(rig.Root(), "cmd", "cdc-relay", "bench_pprof.go"): file},
	})
	if err != nil {
		return "", err
	}
	if err := errors.Join(os.WriteFile(file, pprofFile, 0o644), os.WriteFile(overlay, text, 0o644)); err != nil {
		return "", err
	}
	return rig.Build(ctx, dir(), "-overlay", overlay)
}

// freeAddr is an address nobody listens on.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// profiled takes a CPU profile of the process at addr for as many seconds.
func profiled(ctx context.Context, addr string, seconds int) error {
	for _, p := range []struct{ name, path string }{
		{"cpu.pprof", fmt.Sprintf("profile?seconds=%d", seconds)}, {"allocs.pprof", "allocs"}, {"goroutines.txt", "goroutine?debug=1"},
		{"block.pprof", "block"}, {"mutex.pprof", "mutex"},
	} {
		if err := download(ctx, "http://"+addr+"/debug/pprof/"+p.path, filepath.Join(dir(), p.name)); err != nil {
			return err
		}
	}
	fmt.Println("  profiles are in build/bench: go tool pprof -top build/bench/cdc-relay build/bench/cpu.pprof")
	return nil
}

func download(ctx context.Context, url, path string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, res.Status)
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, res.Body)
	return errors.Join(err, f.Close())
}
