//go:build no_gcs

package claim

func gcsStatus(error) int { return 0 }
