package audit

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

func TestEntriesReadBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		row := Row{
			Created: rapid.Int64().Draw(t, "created"), XID: rapid.Uint32().Draw(t, "xid"), KeyHash: rapid.Uint32().Draw(t, "hash"),
			Topic: rapid.Uint16().Draw(t, "topic"), Hashed: rapid.Bool().Draw(t, "hashed"),
			Place: Place{rapid.Uint16().Draw(t, "part"), rapid.Uint16().Draw(t, "tuple"), rapid.Uint32().Draw(t, "block")},
		}
		rec := Record{
			Offset: rapid.Int64().Draw(t, "offset"), Time: rapid.Int64().Draw(t, "time"), Partition: rapid.Int32().Draw(t, "partition"),
			Topic: row.Topic, Mark: Mark(rapid.IntRange(0, 2).Draw(t, "mark")), Hashed: row.Hashed,
		}
		copy(row.ID[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
		copy(row.Key[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "key"))
		rec.ID, rec.Key = row.Key, row.ID
		var row2 Row
		var rec2 Record
		row2.read(row.append(nil))
		rec2.read(rec.append(nil))
		if row != row2 || rec != rec2 || len(row.append(nil)) != rowBytes || len(rec.append(nil)) != recordBytes {
			t.Errorf("%+v became %+v; %+v became %+v", row, row2, rec, rec2)
		}
	})
}

// The comparison against one that keeps everything in maps.
func TestAgainstTheNaive(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		a, err := New(Options{Dir: dir, Tolerance: 3, Limit: 1000, buckets: rapid.SampledFrom([]int{1, 2, 16}).Draw(rt, "buckets")})
		if err != nil {
			rt.Fatal(err)
		}
		defer a.Close()
		topic, _ := a.Topic("t")
		type ident struct{ n int }
		rows, live, replays := map[ident]int{}, map[ident]int{}, map[ident]int{}
		small := rapid.IntRange(0, 12)
		for range rapid.IntRange(0, 40).Draw(rt, "rows") {
			n := small.Draw(rt, "row")
			rows[ident{n}]++
			if err := a.AddRow(&Row{ID: sum(n), Topic: topic, Key: KeyOf([]byte{byte(n % 3)})}); err != nil {
				rt.Fatal(err)
			}
		}
		newest, disorder := map[string]int64{}, int64(0)
		for i := range rapid.IntRange(0, 60).Draw(rt, "records") {
			n, at := small.Draw(rt, "record"), int64(rapid.IntRange(0, 20).Draw(rt, "time"))
			m := Mark(rapid.IntRange(0, 2).Draw(rt, "mark"))
			p := int32(rapid.IntRange(0, 1).Draw(rt, "partition"))
			if m == Replayed {
				replays[ident{n}]++
			} else {
				live[ident{n}]++
			}
			key := fmt.Sprint(n%3, p)
			if last, ok := newest[key]; m == Live {
				if ok && at < last-3 {
					disorder++
				}
				newest[key] = max(at, last)
			}
			r := Record{ID: sum(n), Topic: topic, Key: KeyOf([]byte{byte(n % 3)}), Partition: p, Offset: int64(i), Time: at, Mark: m}
			if err := a.AddRecord(&r); err != nil {
				rt.Fatal(err)
			}
		}
		var missing, duplicate, unknown int64
		for n := range 13 {
			id := ident{n}
			missing += int64(max(rows[id]-max(live[id], replays[id]), 0))
			duplicate += int64(max(live[id]-max(rows[id], 1), 0))
			if rows[id] == 0 && live[id]+replays[id] > 0 {
				unknown++
			}
		}
		res, err := a.Compare(t.Context(), facts(), func(int, int) {})
		if err != nil {
			rt.Fatal(err)
		}
		if c := res.Counts; c[Missing] != missing || c[Duplicate] != duplicate || c[Unknown] != unknown || c[OutOfOrder] != disorder {
			rt.Errorf("found %v, want missing %d, duplicate %d, unknown %d, out of order %d", c, missing, duplicate, unknown, disorder)
		}
	})
}
