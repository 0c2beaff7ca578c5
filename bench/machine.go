package main

import (
	"os"
	"strconv"
	"strings"
)

// machine is the time all processors spent since the start of the system, in
// ticks: whatever else runs here slows every contender.
type machine struct{ all, idle float64 }

// machineTime reads it; zero where the system does not tell.
func machineTime() machine {
	var m machine
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return m
	}
	first, _, _ := strings.Cut(string(text), "\n")
	for i, f := range strings.Fields(first) {
		n, err := strconv.ParseFloat(f, 64)
		if err != nil || i > 8 { // "cpu"; guest time is in user time already
			continue
		}
		m.all += n
		if i == 4 || i == 5 { // idle, and idle with a disk at work
			m.idle += n
		}
	}
	return m
}

// busySince is the part of the time since before that was not idle.
func (m machine) busySince(before machine) float64 {
	if m.all <= before.all {
		return 0
	}
	return 1 - (m.idle-before.idle)/(m.all-before.all)
}
