package main

import "fmt"
import "os"

func cfg(n string) Config {
	for _, c := range configurations {
		if c.Name == n {
			return c
		}
	}
	return Config{}
}

func main() {
	for _, c := range configurations {
		r, err := run(c, Rules{}, holds, 16_000_000)
		fmt.Println(c.Name, r.States, r.Transitions, r.Depth, r.Seconds, r.Broken, err)
		if r.Broken != holds {
			writeTrace(os.Stdout, c, r)
		}
	}
	for _, l := range [][]mutant{mutants} {
		for _, m := range l {
			c := cfg(m.In)
			r, err := run(c, m.Rules, m.Ignore, 16_000_000)
			fmt.Println(m.Name, r.States, r.Transitions, r.Depth, len(r.Trace)-1, r.Seconds, r.Broken, err)
			if len(os.Args)>1 {writeTrace(os.Stdout, c, r) }
		}
	}
}
