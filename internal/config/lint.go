package config

import (
	"maps"
	"slices"
	"strings"

	"github.com/cdc-relay/cdc-relay/internal/schema"
)

// lint checks the severities of `schemas lint`.
func (v *validator) lint() {
	for _, rule := range slices.Sorted(maps.Keys(v.cfg.Lint)) {
		if err := schema.CheckSeverity(rule, v.cfg.Lint[rule]); err != nil {
			what, do, _ := strings.Cut(err.Error(), "; ")
			v.fail("lint."+rule, do, "%s", what)
		}
	}
}
