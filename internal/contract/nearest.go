package contract

// nearest is the candidate with the smallest edit distance to s, if that is at
// most a third of its length. Of equal ones the first wins.
func nearest(s string, candidates []string) (string, bool) {
	best, at := "", len(s)/3+1
	for _, c := range candidates {
		if d := len(c) - len(s); d >= at || -d >= at {
			continue
		}
		if d := distance(s, c); d < at {
			best, at = c, d
		}
	}
	return best, best != ""
}

// distance is the Levenshtein distance in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diag := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diag
			if a[i] != b[j] {
				cost++
			}
			diag = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
