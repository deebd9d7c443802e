package ctl

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestEveryNumberHasItsWords: a message that counts says something for one thing and for many, in each language.
func TestEveryNumberHasItsWords(t *testing.T) {
	for _, name := range []string{"en", "vi"} {
		text, err := messageFiles.ReadFile("messages/" + name + ".json")
		require.NoError(t, err)
		var messages map[string]any
		require.NoError(t, json.Unmarshal(text, &messages))
		c, counted := newCatalogue(name), 0
		for key, message := range messages {
			if _, plural := message.(map[string]any); !plural {
				continue
			}
			counted++
			for _, count := range []int{0, 1, 2, 5} {
				require.NotEqual(t, "["+key+"]", c.localize(key, count, []any{"Host", "h", "Name", "n"}), "%s %s for %d", name, key, count)
			}
		}
		require.Positive(t, counted)
	}
}
