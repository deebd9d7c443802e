package storage

import (
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestCheckID compares with the rule as it is written down.
func TestCheckID(t *testing.T) {
	rule := regexp.MustCompile(`\A[a-z0-9][a-z0-9-]{0,63}\z`)
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.OneOf(rapid.String(), rapid.StringMatching(`[a-z0-9-]{0,70}`), rapid.StringMatching(`[a-zA-Z0-9./_ -]{0,10}`)).Draw(t, "id")
		err := CheckID(id)
		if rule.MatchString(id) != (err == nil) {
			t.Fatalf("CheckID(%q) = %v", id, err)
		}
		if err != nil {
			require.ErrorIs(t, err, ErrInvalid)
		}
	})
}

func TestCheckSize(t *testing.T) {
	for _, size := range []int64{MiB, 3 * MiB, MaxVolumeBytes} {
		require.NoError(t, CheckSize(size))
	}
	for _, size := range []int64{0, -MiB, MiB - 1, MiB + 512, MaxVolumeBytes + MiB, 1<<63 - 1, -1 << 63} {
		require.ErrorIs(t, CheckSize(size), ErrInvalid)
	}
}
