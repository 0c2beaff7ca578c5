package contract

import "strings"

// Nearest finds what a person meant by s: the candidate with the fewest edits,
// upper and lower case being alike, if a third of s or one letter changes it.
func Nearest(s string, candidates []string) (best string, ok bool) {
	at := 1 + max(1, len(s)/3)
	for _, c := range candidates {
		if d := distance(strings.ToLower(s), strings.ToLower(c)); d < at || d == at && ok && c < best {
			best, at, ok = c, d, true
		}
	}
	return best, ok
}

// distance is the number of single-byte edits between a and b, a swap of
// neighbours counted as one.
func distance(a, b string) int {
	prev2, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], prev2[j-2]+1)
			}
		}
		prev2, prev, cur = prev, cur, prev2
	}
	return prev[len(b)]
}
