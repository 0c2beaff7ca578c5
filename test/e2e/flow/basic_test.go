package flow

import (
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/test/e2e/lab"
)

func TestEventsArriveExactlyOnce(t *testing.T) {
	l := lab.New(t)
	r := l.Start()
	l.Writes("a", 300)
	report := l.Settled(time.Minute)
	t.Log(report, report.P50, report.P99)
	code, err := r.Stop(l.Ctx(30 * time.Second))
	if err != nil || code != 0 {
		t.Fatalf("exit code %d, %v", code, err)
	}
}
