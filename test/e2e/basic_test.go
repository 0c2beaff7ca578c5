package e2e

import (
	"testing"
	"time"
)

func TestEventsArriveExactlyOnce(t *testing.T) {
	l := newLab(t)
	r := l.start()
	l.writes("a", 300)
	report := l.settled(time.Minute)
	t.Log(report, report.P50, report.P99)
	code, err := r.Stop(l.ctx(30 * time.Second))
	if err != nil || code != 0 {
		t.Fatalf("exit code %d, %v", code, err)
	}
}
