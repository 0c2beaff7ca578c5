package claim

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"
	"golang.org/x/sync/errgroup"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

// Options are what a Store is made of.
type Options struct {
	Bucket   string        // URL of gocloud.dev/blob: s3://, gs://, azblob://, file://
	Prefix   string        // of keys, without a slash at its ends; empty: none
	URI      string        // where references begin, instead of the bucket's URL
	Timeout  time.Duration // of all objects of one batch
	Parallel int           // uploads at the same time, of the process
}

// Store is one bucket. It is safe for concurrent use; the pipelines of a process
// share it, and with it the limit of uploads.
type Store struct {
	opt   Options
	slots chan struct{}
	plain atomic.Bool // the storage knows no conditional writes

	mu     sync.Mutex
	bucket *blob.Bucket // nil: not open yet
	open   func(context.Context, string) (*blob.Bucket, error)
}

// New returns a Store. It connects to nothing.
func New(o Options) *Store {
	return &Store{opt: o, slots: make(chan struct{}, max(o.Parallel, 1)), open: blob.OpenBucket}
}

// Base is where the URIs of objects begin: the bucket without the parameters of
// its URL, or Options.URI, and the prefix.
func (s *Store) Base() string {
	base := s.opt.URI
	if base == "" {
		base = s.place()
	}
	base = strings.TrimRight(base, "/")
	if s.opt.Prefix != "" {
		base += "/" + s.opt.Prefix
	}
	return base
}

// place is the bucket without parameters, for people and for URIs.
func (s *Store) place() string {
	u, err := url.Parse(s.opt.Bucket)
	if err != nil {
		return "the bucket"
	}
	return strings.TrimRight((&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String(), "/")
}

// Close lets go of the bucket.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bucket == nil {
		return nil
	}
	err := s.bucket.Close()
	s.bucket = nil
	return err
}

// opened is the bucket, opened at the first call. Opening needs credentials,
// which some providers fetch over the network.
func (s *Store) opened(ctx context.Context) (*blob.Bucket, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bucket != nil {
		return s.bucket, nil
	}
	b, err := s.open(ctx, s.opt.Bucket)
	if err != nil {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("open %s: %w", s.place(), err)
		}
		return nil, &event.Fault{
			Verdict: event.Refuse, What: "the claim check's bucket " + s.place() + " cannot be opened", Err: err,
			Do: "mend claim_check.bucket or its credentials (docs/claim-check.md), then: cdc-relay doctor",
		}
	}
	s.bucket = b
	return b, nil
}

// Upload stores the blobs, each content once, and returns when all are there.
func (s *Store) Upload(ctx context.Context, blobs []event.Blob, m *Metrics) error {
	ctx, cancel := context.WithTimeout(ctx, s.opt.Timeout)
	defer cancel()
	err := s.upload(ctx, blobs, m)
	if err != nil {
		m.failed(err)
	}
	return err
}

func (s *Store) upload(ctx context.Context, blobs []event.Blob, m *Metrics) error {
	bucket, err := s.opened(ctx)
	if err != nil {
		return err
	}
	g, running := errgroup.WithContext(ctx)
	seen := make(map[[sha256.Size]byte]bool, len(blobs))
	for i := range blobs {
		if seen[blobs[i].Sum] {
			continue
		}
		seen[blobs[i].Sum] = true
		select {
		case s.slots <- struct{}{}:
		case <-running.Done():
			if err := g.Wait(); err != nil {
				return err
			}
			return fmt.Errorf("wait for a turn to store objects in %s: %w", s.place(), ctx.Err())
		}
		g.Go(func() error {
			defer func() { <-s.slots }()
			return s.one(running, bucket, &blobs[i], m)
		})
	}
	return g.Wait()
}

// fresh is how old an object with a time to live may be to be taken as it is.
// The rule that deletes objects counts from their writing, so an older one is
// written again; rules count in days, hence one.
const fresh = 24 * time.Hour

// one stores one blob. What is there already is left alone if it is whole and
// will live as long as it is needed.
func (s *Store) one(ctx context.Context, bucket *blob.Bucket, b *event.Blob, m *Metrics) error {
	begun, key := time.Now(), s.key(b)
	if !s.plain.Load() {
		err := s.write(ctx, bucket, key, b, true)
		switch {
		case err == nil:
			m.stored(b, begun)
			return nil
		case gcerrors.Code(err) == gcerrors.FailedPrecondition:
			attrs, err := bucket.Attributes(ctx, key)
			if err == nil && attrs.Size == int64(len(b.Data)) && (b.TTL == 0 || time.Since(attrs.ModTime) < fresh) {
				m.present()
				return nil
			}
			if err != nil && gcerrors.Code(err) != gcerrors.NotFound {
				return s.fault(err, "look at "+key)
			}
		case codeOf(err) == "ConditionalRequestConflict": // another write of the same key is under way
		case notImplemented(err):
			s.plain.Store(true)
		default:
			return s.fault(err, "store "+key)
		}
	}
	if err := s.write(ctx, bucket, key, b, false); err != nil {
		return s.fault(err, "store "+key)
	}
	m.stored(b, begun)
	return nil
}

func (s *Store) key(b *event.Blob) string {
	if s.opt.Prefix == "" {
		return b.Key()
	}
	return s.opt.Prefix + "/" + b.Key()
}

func (s *Store) write(ctx context.Context, bucket *blob.Bucket, key string, b *event.Blob, absent bool) error {
	return bucket.Upload(ctx, key, bytes.NewReader(b.Data), &blob.WriterOptions{
		ContentType: b.ContentType, IfNotExist: absent, BufferSize: s.buffer(len(b.Data)), MaxConcurrency: 1,
	})
}

// buffer is what a driver may hold of an object of n bytes; 0: its default, for
// S3, whose parts have a least size and which needs no copy of ours. GCS and
// Azure would take 16 MiB and 40 MiB for each upload, however small it is.
func (s *Store) buffer(n int) int {
	const unit, most = 256 << 10, 8 << 20
	if strings.HasPrefix(s.opt.Bucket, "s3:") {
		return 0
	}
	return min((n/unit+1)*unit, most)
}

// Probe is the key of the object a check writes, below the prefix.
const Probe = "cdc-relay-probe"

// Check finds out whether the bucket is there and can be written and read: it
// writes one small object, always the same.
func (s *Store) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.opt.Timeout)
	defer cancel()
	bucket, err := s.opened(ctx)
	if err != nil {
		return err
	}
	key := strings.TrimPrefix(s.opt.Prefix+"/"+Probe, "/")
	text := []byte("cdc-relay writes this to find out whether it may\n")
	if err := s.write(ctx, bucket, key, &event.Blob{Data: text, ContentType: "text/plain"}, false); err != nil {
		return s.fault(err, "write "+key)
	}
	if _, err := bucket.Attributes(ctx, key); err != nil {
		return s.fault(err, "read "+key)
	}
	return nil
}
