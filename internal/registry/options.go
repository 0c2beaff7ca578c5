package registry

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Options say how to reach a schema registry. Only URL is required.
type Options struct {
	// URL is the base of the Confluent-compatible API, as in
	// http://registry:8081 or http://apicurio:8080/apis/ccompat/v7. A user and
	// password in it are used when Username is empty, and never printed.
	URL      string
	Username string // basic authentication
	Password string
	// BearerToken is sent instead of basic authentication when it is set.
	BearerToken string
	// Headers are added to every request, as in X-Tenant.
	Headers map[string]string
	TLS     *tls.Config // nil: the system's roots

	Timeout time.Duration // of one request; default 10 s
	// Retries is how often a request is sent again after a broken connection
	// or a 5xx; default 4, negative: never. A 4xx is never sent again.
	Retries int
	// Backoff is the wait before the first repetition; it doubles each time,
	// with jitter, up to 5 s. Default 200 ms.
	Backoff  time.Duration
	Parallel int // requests at once; default 8

	Logger     *slog.Logger          // default: none
	Registerer prometheus.Registerer // default: none
}

func (o Options) withDefaults() Options {
	if o.Timeout <= 0 {
		o.Timeout = 10 * time.Second
	}
	if o.Retries == 0 {
		o.Retries = 4
	}
	if o.Backoff <= 0 {
		o.Backoff = 200 * time.Millisecond
	}
	if o.Parallel <= 0 {
		o.Parallel = 8
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// TLSFiles names PEM files for LoadTLS; each may be empty.
type TLSFiles struct {
	CA         string // certificates to trust instead of the system's
	Cert, Key  string // client certificate; both or none
	ServerName string // expected name, when it is not the host of the URL
}

// LoadTLS reads the files. Errors name the file.
func LoadTLS(f TLSFiles) (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: f.ServerName}
	if f.CA != "" {
		pem, err := os.ReadFile(f.CA)
		if err != nil {
			return nil, fmt.Errorf("read the registry's CA file: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("CA file %s of the registry holds no PEM certificate", f.CA)
		}
	}
	if (f.Cert == "") != (f.Key == "") {
		return nil, fmt.Errorf("the registry's client certificate needs both a certificate file and a key file")
	}
	if f.Cert != "" {
		pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
		if err != nil {
			return nil, fmt.Errorf("read the registry's client certificate %s and key %s: %w", f.Cert, f.Key, err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}
