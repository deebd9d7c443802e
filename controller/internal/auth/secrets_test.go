package auth

import (
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestSecrets(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		secret := NewSecret()
		text, found := strings.CutPrefix(secret, TokenPrefix)
		require.True(t, found)
		bytes, err := base64.RawURLEncoding.DecodeString(text)
		require.NoError(t, err)
		require.Len(t, bytes, 32)
		require.False(t, seen[secret])
		seen[secret] = true
	}
	hash := HashSecret("coloa_x")
	raw, err := hex.DecodeString(hash)
	require.NoError(t, err)
	require.Len(t, raw, 32)
	require.Equal(t, hash, HashSecret("coloa_x"))
	require.NotEqual(t, hash, HashSecret("coloa_x "))
}

func TestPasswords(t *testing.T) {
	const password = "correct horse battery staple"
	hash := HashPassword(password)
	require.NotEqual(t, hash, HashPassword(password), "each hash has a salt of its own")
	for text, want := range map[string]bool{password: true, password + " ": false, "": false} {
		right, err := CheckPassword(hash, text)
		require.NoError(t, err)
		require.Equal(t, want, right, "%q", text)
	}
}

// TestDecoy: whoever has no password is refused after the same work, whatever is tried.
func TestDecoy(t *testing.T) {
	require.Equal(t, parameters(HashPassword("x")), parameters(decoy), "the decoy costs what a real hash costs")
	right, err := CheckPassword("", "")
	require.NoError(t, err)
	require.False(t, right)
	took := func(hash string) time.Duration {
		best := time.Hour
		for range 2 {
			begun := time.Now()
			_, err := CheckPassword(hash, "something wrong")
			require.NoError(t, err)
			best = min(best, time.Since(begun))
		}
		return best
	}
	known, unknown := took(HashPassword("something right")), took("")
	require.Less(t, known, 10*unknown)
	require.Less(t, unknown, 10*known)
}

// parameters is a hash with its salt and key replaced by their lengths.
func parameters(hash string) []string {
	parts := strings.Split(hash, "$")
	for i := len(parts) - 2; i < len(parts); i++ {
		parts[i] = strings.Repeat("x", len(parts[i]))
	}
	return parts
}

// TestDecoyIsNoHash: even the password of the decoy, should somebody find one, opens nothing.
func TestDecoyIsNoHash(t *testing.T) {
	was := decoy
	t.Cleanup(func() { decoy = was })
	decoy = HashPassword("found")
	right, err := CheckPassword("", "found")
	require.NoError(t, err)
	require.False(t, right)
}

func TestMalformedHashes(t *testing.T) {
	good := HashPassword("x")
	parts := strings.Split(good, "$")
	with := func(place int, text string) string {
		changed := append([]string(nil), parts...)
		changed[place] = text
		return strings.Join(changed, "$")
	}
	for _, hash := range []string{
		"x", "$", "$$$$$", good + "$", good[:len(good)-len(parts[5])-1], with(1, "argon2i"), with(1, "2y"), with(2, "v=18"), with(2, "19"), with(2, ""),
		with(3, ""), with(3, "m=65536"), with(3, "m=65536,t=0,p=4"), with(3, "m=65536,t=3,p=0"), with(3, "m=65536,t=3,p=256"), with(3, "m=-1,t=3,p=4"),
		with(3, "m=4294967295,t=3,p=4"), with(3, "m=65536,t=4294967295,p=4"), with(3, "p=4,t=3,m=65536"),
		with(4, ""), with(4, "!"), with(4, "AA"), with(5, ""), with(5, "!"), with(5, "AA"), with(5, strings.Repeat("A", 4000)),
	} {
		right, err := CheckPassword(hash, "x")
		require.Error(t, err, "%.100q", hash)
		require.False(t, right)
	}
	truncated := with(5, parts[5][:30])
	right, err := CheckPassword(truncated, "x")
	require.NoError(t, err)
	require.False(t, right, "a hash that was cut off opens nothing")
}
