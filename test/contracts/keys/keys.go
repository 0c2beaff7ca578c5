package keys

import (
	"fmt"
	"math/rand/v2"
)

// Random returns n different keys: of every length from none to 300 bytes and
// some of kilobytes, in ASCII, in Unicode, as ids are, and of bytes that are no
// text at all. The same seed gives the same keys.
func Random(n int, seed uint64) [][]byte {
	r := rand.New(rand.NewPCG(seed, 7)) // not for secrets
	keys := [][]byte{{}}
	seen := map[string]bool{"": true}
	for i := 1; len(keys) < n; i++ {
		length := i % 301
		if i%997 == 0 {
			length = 1000 + r.IntN(9000)
		}
		k := one(r, i%5, length)
		if !seen[string(k)] {
			seen[string(k)] = true
			keys = append(keys, k)
		}
	}
	return keys
}

// alphabet has characters of one to four bytes in UTF-8.
var alphabet = []rune("aZ09-_:/ åäöß√日本語한국어🙂𝔘\u0000\u200f")

func one(r *rand.Rand, kind, length int) []byte {
	switch kind {
	case 0: // bytes, most with their highest bit
		k := make([]byte, length)
		for i := range k {
			k[i] = byte(r.Uint32()) | byte(r.Uint32()&0x80)
		}
		return k
	case 1:
		var k []byte
		for len(k) < length {
			k = append(k, string(alphabet[r.IntN(len(alphabet))])...)
		}
		return k
	case 2:
		return fmt.Appendf(nil, "%08x-%04x-4%03x-8%03x-%012x", r.Uint32(), r.Uint32()&0xffff, r.Uint32()&0xfff, r.Uint32()&0xfff, r.Uint64()&0xffffffffffff)
	case 3:
		return fmt.Appendf(nil, "batch-%d:essay-%d", r.IntN(1_000_000), r.IntN(1_000_000))
	}
	k := make([]byte, length)
	for i := range k {
		k[i] = byte(0x20 + r.IntN(0x5f))
	}
	return k
}
