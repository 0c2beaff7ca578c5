package rig

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// Put sends a JSON body and demands an answer of success.
func Put(ctx context.Context, url, body string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, url, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close() // read to the end
	text, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode/100 != 2 {
		err = fmt.Errorf("PUT %s: %s: %s", url, res.Status, text)
	}
	return err
}
