package audit

import (
	"cmp"
	"context"
	"slices"
)

// comparison is one run of Compare.
type comparison struct {
	*Audit
	facts   Facts
	byTopic []TopicFacts
	exists  []bool
	keepers map[Kind]*keeper
	byKey   map[uint16]bool // compacted topics that lack something

	rowBuf []Row
	recBuf []Record
	block  []byte
}

// Compare compares what was added and returns what it found. step is called
// before each of n parts.
func (a *Audit) Compare(ctx context.Context, facts Facts, step func(i, n int)) (*Result, error) {
	c := &comparison{Audit: a, facts: facts, keepers: map[Kind]*keeper{}, byKey: map[uint16]bool{}, block: make([]byte, blockBytes)}
	for _, name := range a.topics {
		f, ok := facts.Topics[name]
		c.byTopic, c.exists = append(c.byTopic, f), append(c.exists, ok)
	}
	a.res.Counts = map[Kind]int64{}
	for _, k := range Kinds() {
		c.keepers[k] = &keeper{limit: a.o.Limit}
	}
	n := len(a.rows.buckets)
	for i := range n {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		step(i, n)
		if err := c.bucket(i); err != nil {
			return nil, err
		}
	}
	if err := c.keys(ctx, step); err != nil {
		return nil, err
	}
	for _, k := range Kinds() {
		a.res.Findings = append(a.res.Findings, c.keepers[k].cut()...)
	}
	return &a.res, nil
}

// load reads a bucket of both files.
func (c *comparison) load(rows, records *spill, i int) error {
	c.rowBuf = slices.Grow(c.rowBuf[:0], rows.entries(i))
	c.recBuf = slices.Grow(c.recBuf[:0], records.entries(i))
	err := rows.read(i, c.block, func(b []byte) {
		c.rowBuf = c.rowBuf[:len(c.rowBuf)+1]
		c.rowBuf[len(c.rowBuf)-1].read(b)
	})
	if err != nil {
		return err
	}
	return records.read(i, c.block, func(b []byte) {
		c.recBuf = c.recBuf[:len(c.recBuf)+1]
		c.recBuf[len(c.recBuf)-1].read(b)
	})
}

// bucket compares by event id and topic.
func (c *comparison) bucket(i int) error {
	if err := c.load(c.rows, c.records, i); err != nil {
		return err
	}
	rows, recs := c.rowBuf, c.recBuf
	slices.SortFunc(rows, func(a, b Row) int {
		if c := a.ID.compare(b.ID); c != 0 { // nearly always, and worth a short cut
			return c
		}
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Created, b.Created), cmp.Compare(a.Block, b.Block), cmp.Compare(a.Tuple, b.Tuple))
	})
	slices.SortFunc(recs, func(a, b Record) int {
		if c := a.ID.compare(b.ID); c != 0 {
			return c
		}
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset))
	})
	for len(rows) > 0 || len(recs) > 0 {
		var id Sum
		var topic uint16
		switch {
		case len(recs) == 0, len(rows) > 0 && cmp.Or(rows[0].ID.compare(recs[0].ID), cmp.Compare(rows[0].Topic, recs[0].Topic)) <= 0:
			id, topic = rows[0].ID, rows[0].Topic
		default:
			id, topic = recs[0].ID, recs[0].Topic
		}
		e, n := 0, 0
		for e < len(rows) && rows[e].Topic == topic && rows[e].ID == id {
			e++
		}
		for n < len(recs) && recs[n].Topic == topic && recs[n].ID == id {
			n++
		}
		if err := c.event(rows[:e], recs[:n]); err != nil {
			return err
		}
		rows, recs = rows[e:], recs[n:]
	}
	return nil
}

// event judges one event id in one topic. Two rows with the same id are two
// events: what counts is how many there are of each.
func (c *comparison) event(rows []Row, recs []Record) error {
	var replayed, others int
	inside := len(rows) > 0
	for i := range recs {
		switch recs[i].Mark {
		case Replayed:
			replayed++
		case Repaired:
			c.res.Repaired++
			others++
		case Redriven:
			c.res.Redriven++
			others++
		default:
			others++
		}
		inside = inside || c.inside(&recs[i])
	}
	c.res.Replayed += int64(replayed)
	// A replay copies every row of its range, so its copies and the others are
	// of the same rows: the larger number says how many rows are there.
	for there := max(replayed, others); there < len(rows); there++ {
		if err := c.absent(&rows[there]); err != nil {
			return err
		}
	}
	if !inside {
		return nil // of a row outside the range
	}
	// A repair promises to produce what is missing and nothing else: its record
	// beside another is a duplicate. That of a replay is not.
	if more := others - max(len(rows), 1); more > 0 {
		c.duplicate(rows, recs, more)
	}
	if len(rows) == 0 {
		c.count(Unknown, 1)
		if k := c.keepers[Unknown]; k.wants(recs[0].Time * 1000) {
			k.add(Finding{Kind: Unknown, Records: slices.Clone(recs[:1])})
		}
	}
	return nil
}

// inside reports whether a record lies in the range of the rows.
func (c *comparison) inside(r *Record) bool {
	return r.Time*1000+999 >= c.o.Since && r.Time*1000 < c.o.Until
}

func (c *comparison) count(k Kind, n int64) { c.res.Counts[k] += n }

func (c *comparison) duplicate(rows []Row, recs []Record, more int) {
	c.count(Duplicate, int64(more))
	f := Finding{Kind: Duplicate}
	if len(rows) > 0 {
		row := rows[0]
		f.Row = &row
	}
	const most = 16 // copies that are shown
	f.Records = slices.Clone(recs[:min(len(recs), most)])
	if k := c.keepers[Duplicate]; k.wants(f.at()) {
		k.add(f)
	}
}

// absent judges a row without a record.
func (c *comparison) absent(r *Row) error {
	switch t := &c.byTopic[r.Topic]; {
	case c.facts.DeadLettered[r.ID]:
		c.row(DeadLettered, r)
	case c.facts.Discarded[r.ID]:
		c.row(Discarded, r)
	case c.exists[r.Topic] && t.gone(r):
		c.row(Removed, r)
	case c.facts.underWay(r):
		c.row(NotRelayed, r)
	case t.Compacted:
		return c.later(r)
	default:
		c.row(Missing, r)
	}
	return nil
}

// row counts a finding about a row and may keep it.
func (c *comparison) row(k Kind, r *Row) {
	c.count(k, 1)
	if keep := c.keepers[k]; keep.wants(r.Created) {
		row := *r
		keep.add(Finding{Kind: k, Row: &row})
	}
	if k != Missing || c.o.Missing == 0 {
		return
	}
	if len(c.res.Missing) < c.o.Missing {
		c.res.Missing = append(c.res.Missing, Ref{Place: r.Place, XID: r.XID, Topic: r.Topic})
	} else {
		c.res.Overflow = true
	}
}

// later leaves a row of a compacted topic to the pass by key.
func (c *comparison) later(r *Row) error {
	if c.keyRows == nil {
		var err error
		if c.keyRows, err = newSpill(c.o.Dir, rowBytes, c.o.buckets); err != nil {
			return err
		}
	}
	c.byKey[r.Topic] = true
	return putRow(c.keyRows, r.Key, r)
}

// keys is the pass by key: order where a key is suspected, and whether a later
// record may have replaced one that is not there.
func (c *comparison) keys(ctx context.Context, step func(i, n int)) error {
	if len(c.suspects) == 0 && !c.all && len(c.byKey) == 0 {
		return nil
	}
	if err := c.spread(ctx); err != nil {
		return err
	}
	n := len(c.keyRecs.buckets)
	for i := range n {
		if err := ctx.Err(); err != nil {
			return err
		}
		step(i, n)
		if err := c.keyBucket(i); err != nil {
			return err
		}
	}
	return nil
}

// spread writes the records that matter to the pass by key.
func (c *comparison) spread(ctx context.Context) error {
	var err error
	if c.keyRecs, err = newSpill(c.o.Dir, recordBytes, c.o.buckets); err != nil {
		return err
	}
	if c.keyRows == nil {
		if c.keyRows, err = newSpill(c.o.Dir, rowBytes, c.o.buckets); err != nil {
			return err
		}
	}
	var r Record
	for i := range c.records.buckets {
		if err := ctx.Err(); err != nil {
			return err
		}
		var failed error
		err := c.records.read(i, c.block, func(b []byte) {
			r.read(b)
			if failed == nil && r.Key != (Sum{}) && (c.all || c.suspects[r.Key] || c.byKey[r.Topic]) {
				failed = putRecord(c.keyRecs, r.Key, &r)
			}
		})
		if err = cmp.Or(failed, err); err != nil {
			return err
		}
	}
	return nil
}

func (c *comparison) keyBucket(i int) error {
	if err := c.load(c.keyRows, c.keyRecs, i); err != nil {
		return err
	}
	slices.SortFunc(c.recBuf, func(a, b Record) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), a.Key.compare(b.Key), cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset))
	})
	type key struct {
		topic uint16
		key   Sum
	}
	latest := map[key]int64{} // of the keys of the rows
	for i := range c.rowBuf {
		latest[key{c.rowBuf[i].Topic, c.rowBuf[i].Key}] = -1
	}
	recs := c.recBuf
	for len(recs) > 0 {
		n := 1
		for n < len(recs) && recs[n].Topic == recs[0].Topic && recs[n].Key == recs[0].Key && recs[n].Partition == recs[0].Partition {
			n++
		}
		k := key{recs[0].Topic, recs[0].Key}
		if at, asked := latest[k]; asked {
			for i := range n {
				at = max(at, recs[i].Time)
			}
			latest[k] = at
		}
		c.inOrder(recs[:n])
		recs = recs[n:]
	}
	for i := range c.rowBuf {
		r := &c.rowBuf[i]
		if latest[key{r.Topic, r.Key}] >= r.Created/1000 {
			c.row(Removed, r)
		} else {
			c.row(Missing, r)
		}
	}
	return nil
}

// inOrder looks at the records of one key in one partition. Those published
// again have the time of their production, and their place proves nothing.
func (c *comparison) inOrder(recs []Record) {
	var newest *Record
	for i := range recs {
		r := &recs[i]
		switch {
		case r.Mark != Live:
		case newest == nil || r.Time >= newest.Time:
			newest = r
		case r.Time < newest.Time-c.o.Tolerance:
			c.count(OutOfOrder, 1)
			if k := c.keepers[OutOfOrder]; k.wants(r.Time * 1000) {
				k.add(Finding{Kind: OutOfOrder, Records: []Record{*r, *newest}})
			}
		}
	}
}
