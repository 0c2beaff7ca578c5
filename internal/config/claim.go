package config

import (
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
)

// ClaimCheck is the object storage that takes what is too large for a record.
type ClaimCheck struct {
	// Bucket is a URL of gocloud.dev/blob: s3://bucket?region=…, gs://bucket,
	// azblob://container or file:///folder. Credentials come from the environment.
	Bucket   string        `yaml:"bucket" config:"url"`
	Prefix   string        `yaml:"prefix"`   // of the keys
	URI      string        `yaml:"uri"`      // where references begin, instead of the bucket's URL
	Timeout  time.Duration `yaml:"timeout"`  // of all objects of one batch
	Parallel int           `yaml:"parallel"` // uploads at the same time, of the process
}

var (
	claimSchemes = []string{"s3", "gs", "azblob", "file"}
	prefixForm   = regexp.MustCompile(`^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*$`)
)

const bucketForms = "write s3://BUCKET?region=REGION, gs://BUCKET, azblob://CONTAINER or file:///FOLDER"

func (v *validator) claimCheck() {
	c := v.cfg.ClaimCheck
	v.between("claim_check.timeout", c.Timeout, time.Second, 10*time.Minute)
	if c.Parallel < 1 || c.Parallel > 256 {
		v.fail("claim_check.parallel", "write a number from 1 to 256, such as 8", "%d is out of range", c.Parallel)
	}
	if c.Prefix != "" && (!prefixForm.MatchString(c.Prefix) || path.Clean(c.Prefix) != c.Prefix || strings.HasPrefix(c.Prefix, "..")) {
		v.fail("claim_check.prefix", "write names of letters, digits, dots, dashes and underscores with / between, such as events/claims", "%q is no prefix of keys", c.Prefix)
	}
	if c.URI != "" {
		if u, err := url.Parse(c.URI); err != nil || u.Scheme == "" || u.Host == "" && u.Path == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
			v.fail("claim_check.uri", "write where consumers find the bucket, such as https://artifacts.example.org", "%q is no URL without parameters", c.URI)
		}
	}
	if c.Bucket == "" {
		return
	}
	u, err := url.Parse(c.Bucket)
	switch {
	case err != nil || !slices.Contains(claimSchemes, u.Scheme):
		v.fail("claim_check.bucket", bucketForms, "%q is not the URL of a bucket", v.shown("claim_check.bucket", c.Bucket))
	case u.User != nil:
		v.fail("claim_check.bucket", "leave them out; credentials come from the environment, as for every program of that cloud", "%q has a user in it", v.shown("claim_check.bucket", c.Bucket))
	case u.Scheme == "file" && (u.Host != "" || !path.IsAbs(u.Path)):
		v.fail("claim_check.bucket", "write file:///FOLDER, with three slashes", "%q names no absolute folder", c.Bucket)
	case u.Scheme != "file" && u.Host == "":
		v.fail("claim_check.bucket", bucketForms, "%q names no bucket", c.Bucket)
	}
}

// claimNeeds demands a bucket where a contract claims something.
func (v *validator) claimNeeds() {
	for _, p := range v.cfg.pipelines {
		if p.Contract != nil && p.Contract.Claims() && v.cfg.ClaimCheck.Bucket == "" && !v.bad["claim_check"] {
			v.fail("claim_check.bucket", bucketForms+", or take claim_check out of the contract", "it is missing, and the contract of %s has a claim_check", p.Name)
			return
		}
	}
}
