package keys

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cdc-relay/cdc-relay/internal/kafka"
)

// Env is what a comparison runs on.
type Env struct {
	Java, ClassPath string // Kafka's own classes
	Bootstrap       string // of a real broker
	Dir             string // for the Java source
	Prefix          string // of the topics that are made, so that runs do not meet
}

// Partitions are the sizes of the topics a comparison is made on.
var Partitions = []int{1, 2, 7, 12, 50}

// Result is what a comparison found.
type Result struct {
	Keys  int
	Equal int // keys that are on the same partition for all three, on every topic
	// Different says of the first few others what each chose.
	Different []string
}

// Compare counts the keys on whose partitions Kafka's Java client, the relay's
// producer on a real broker and the relay's own hash agree.
func Compare(ctx context.Context, e Env, keys [][]byte) (Result, error) {
	java, err := javaPartitions(ctx, e, keys)
	if err != nil {
		return Result{}, fmt.Errorf("ask Kafka's Java classes: %w", err)
	}
	broker, err := produced(ctx, e, keys)
	if err != nil {
		return Result{}, fmt.Errorf("produce to the broker: %w", err)
	}
	r := Result{Keys: len(keys)}
	for i, k := range keys {
		why := different(k, java[i], broker[i])
		if why == "" {
			r.Equal++
		} else if len(r.Different) < 10 {
			r.Different = append(r.Different, fmt.Sprintf("key %d (%d bytes, %x…): %s", i, len(k), k[:min(len(k), 16)], why))
		}
	}
	return r, nil
}

// choice is the hash of a key and, for each of Partitions, its partition.
type choice struct {
	hash uint32
	on   []int32
}

// different says on what the three do not agree; "": they do.
func different(key []byte, java choice, broker []int32) string {
	if h := kafka.KeyHash(key); h != java.hash {
		return fmt.Sprintf("the relay's hash is %d, Java's %d", h, java.hash)
	}
	for t, n := range Partitions {
		ours := kafka.Partition(key, n)
		if ours != java.on[t] || broker[t] != java.on[t] {
			return fmt.Sprintf("of %d partitions: Java %d, the relay's hash %d, the relay's producer %d", n, java.on[t], ours, broker[t])
		}
	}
	return ""
}

//go:embed Partitions.java
var source []byte

// javaPartitions asks the classes of Kafka's Java client.
func javaPartitions(ctx context.Context, e Env, keys [][]byte) ([]choice, error) {
	file := filepath.Join(e.Dir, "Partitions.java")
	if err := os.WriteFile(file, source, 0o600); err != nil {
		return nil, err
	}
	args := []string{"-cp", e.ClassPath, file}
	for _, n := range Partitions {
		args = append(args, strconv.Itoa(n))
	}
	var in, out, errs bytes.Buffer
	for _, k := range keys {
		in.WriteString(hex.EncodeToString(k) + "\n")
	}
	cmd := exec.CommandContext(ctx, e.Java, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = &in, &out, &errs
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, errs.Bytes())
	}
	var all []choice
	for s := bufio.NewScanner(&out); s.Scan(); {
		c, err := parseChoice(s.Text())
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	if len(all) != len(keys) {
		return nil, fmt.Errorf("%d answers for %d keys", len(all), len(keys))
	}
	return all, nil
}

func parseChoice(line string) (choice, error) {
	words := strings.Fields(line)
	if len(words) != 1+len(Partitions) {
		return choice{}, fmt.Errorf("an answer of %d words: %q", len(words), line)
	}
	hash, err := strconv.ParseUint(words[0], 10, 32)
	c := choice{hash: uint32(hash)}
	for _, w := range words[1:] {
		p, bad := strconv.ParseInt(w, 10, 32)
		err = errors.Join(err, bad)
		c.on = append(c.on, int32(p))
	}
	return c, err
}
