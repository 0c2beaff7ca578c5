package claim

import (
	"context"
	"errors"
	"io/fs"
	"net/http"

	"gocloud.dev/gcerrors"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

// fault judges an error of the storage: refused for good stops the pipeline,
// anything else is tried again from the checkpoint.
func (s *Store) fault(err error, doing string) error {
	what := "the claim check's bucket " + s.place() + ": " + doing
	if !refused(err) {
		return &event.Fault{Verdict: event.Restart, What: what, Err: err}
	}
	do := "let the relay's credentials write and read objects there (s3:PutObject and s3:GetObject, roles/storage.objectUser, " +
		"Storage Blob Data Contributor), then: cdc-relay doctor"
	status := statusOf(err)
	switch code := gcerrors.Code(err); {
	case status == http.StatusForbidden || status == http.StatusUnauthorized: // NotFound, says the driver of GCS
	case code == gcerrors.NotFound:
		do = "create the bucket, or mend claim_check.bucket, then: cdc-relay doctor"
	case code == gcerrors.InvalidArgument:
		do = "mend claim_check.bucket and its parameters, or claim_check.prefix, then: cdc-relay doctor"
	}
	return &event.Fault{Verdict: event.Refuse, What: what, Do: do, Err: err}
}

// transient are codes of S3 that look like a refusal and pass.
var transient = map[string]bool{
	"ExpiredToken": true, "ExpiredTokenException": true, "TokenRefreshRequired": true,
	"RequestExpired": true, "RequestTimeTooSkewed": true, "SlowDown": true,
}

// refused reports that trying again is of no use.
func refused(err error) bool {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || transient[codeOf(err)] {
		return false
	}
	switch gcerrors.Code(err) {
	case gcerrors.NotFound, gcerrors.PermissionDenied, gcerrors.InvalidArgument:
		return true
	}
	switch statusOf(err) {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound:
		return true
	}
	return errors.Is(err, fs.ErrPermission)
}

// codeOf is the code of an error of S3 or Azure; "" none.
func codeOf(err error) string {
	var s3 interface{ ErrorCode() string }
	if errors.As(err, &s3) {
		return s3.ErrorCode()
	}
	code, _ := azureError(err)
	return code
}

// statusOf is the HTTP status of an error; 0 none.
func statusOf(err error) int {
	var s3 interface{ HTTPStatusCode() int }
	if errors.As(err, &s3) {
		return s3.HTTPStatusCode()
	}
	if _, status := azureError(err); status != 0 {
		return status
	}
	return gcsStatus(err)
}

// notImplemented reports that the storage takes no conditional writes.
func notImplemented(err error) bool {
	return gcerrors.Code(err) == gcerrors.Unimplemented || statusOf(err) == http.StatusNotImplemented || codeOf(err) == "NotImplemented"
}
