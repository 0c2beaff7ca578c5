package fault

import (
	"encoding/binary"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Request is what is known of a request that a transactional producer sends:
// the beginning of it. Two that are equal ask for the same.
type Request struct {
	Key    int16
	ID     string // transactional id; of FindCoordinator what a coordinator is looked for
	Commit bool   // of EndTxn: a commit, not an abort
	Topic  string // of Produce: the first one,
	Part   int32  // and its first partition
}

// head is how many bytes of a request are enough to know it.
const enough = 1024

// parse reads the beginning of a request, behind its length. Not ok: it is none
// that a producer sends, or of a version that nobody has taught us.
func parse(frame []byte) (r Request, ok bool) {
	b := kbin.Reader{Src: frame}
	r.Key = b.Int16()
	version := b.Int16()
	if most, known := newest[r.Key]; !known || version > most {
		return r, false
	}
	b.Int32()          // correlation id
	b.NullableString() // client id
	s := prefix{b: &b, flexible: flexible(r.Key, version)}
	if s.flexible {
		kmsg.ReadTags(&b)
	}
	r.ID = s.text()
	switch r.Key {
	case EndTxn:
		b.Int64() // producer id
		b.Int16() // and epoch
		r.Commit = b.Bool()
	case Produce:
		b.Int16() // acks
		b.Int32() // timeout
		s.array()
		r.Topic = s.text()
		s.array()
		r.Part = b.Int32()
	}
	return r, b.Ok()
}

// newest are the newest versions, per kind of request, that begin with the id.
var newest = map[int16]int16{Produce: 12, FindCoordinator: 3, InitProducerID: 5, AddPartitionsToTxn: 3, EndTxn: 5}

func flexible(key, version int16) bool {
	r := kmsg.RequestForKey(key)
	r.SetVersion(version)
	return r.IsFlexible()
}

// prefix reads strings and lengths in the way of the request's version.
type prefix struct {
	b        *kbin.Reader
	flexible bool
}

func (s prefix) text() string {
	text := s.b.NullableString
	if s.flexible {
		text = s.b.CompactNullableString
	}
	if t := text(); t != nil {
		return *t
	}
	return ""
}

func (s prefix) array() {
	if s.flexible {
		s.b.CompactArrayLen()
	} else {
		s.b.ArrayLen()
	}
}

// unread is the code of an answer that cannot be read: no broker sends it.
const unread int16 = -32768

// failure is the first error code in an answer, behind its length; 0 is a success.
func failure(key, version int16, frame []byte) int16 {
	r := kmsg.RequestForKey(key)
	r.SetVersion(version)
	b := kbin.Reader{Src: frame}
	b.Int32() // correlation id
	if r.IsFlexible() {
		kmsg.ReadTags(&b)
	}
	answer := r.ResponseKind()
	if answer.SetVersion(version); answer.ReadFrom(b.Src) != nil {
		return unread
	}
	var codes []int16
	switch a := answer.(type) {
	case *kmsg.EndTxnResponse:
		codes = append(codes, a.ErrorCode)
	case *kmsg.InitProducerIDResponse:
		codes = append(codes, a.ErrorCode)
	case *kmsg.FindCoordinatorResponse:
		codes = append(codes, a.ErrorCode)
	case *kmsg.AddPartitionsToTxnResponse:
		for _, t := range a.Topics {
			for _, p := range t.Partitions {
				codes = append(codes, p.ErrorCode)
			}
		}
	case *kmsg.ProduceResponse:
		for _, t := range a.Topics {
			for _, p := range t.Partitions {
				codes = append(codes, p.ErrorCode)
			}
		}
	}
	for _, code := range codes {
		if code != 0 {
			return code
		}
	}
	return 0
}

// requestVersion is the version in the head of a request.
func requestVersion(head []byte) int16 { return int16(binary.BigEndian.Uint16(head[lengthSize+2:])) }
