package stack

import (
	"context"
	"fmt"
	"maps"
	"slices"
)

// startPostgres chooses a kind and starts a server of it.
func (s *Stack) startPostgres(ctx context.Context, c pgConfig) (*PG, error) {
	installed := installedPostgres(ctx)
	version := c.version
	if version == 0 && len(installed) > 0 {
		version = slices.Max(slices.Collect(maps.Keys(installed)))
	}
	if bin, ok := installed[version]; ok {
		return s.newPGProcess(ctx, "installed", bin, version, c)
	}
	if version == 0 {
		version = pgDefault
	}
	bin, err := s.cache.mavenPostgres(ctx, version)
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL %d: %w", version, err)
	}
	return s.newPGProcess(ctx, "maven", bin, version, c)
}
