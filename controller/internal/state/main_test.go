package state

import (
	"flag"
	"os"
	"testing"
)

// TestMain makes the log property shorter by default, since it looks at the whole state after each entry of each log; -rapid.checks makes it longer.
func TestMain(m *testing.M) {
	if err := flag.Set("rapid.checks", "15"); err != nil {
		panic(err)
	}
	flag.Parse()
	os.Exit(m.Run())
}
