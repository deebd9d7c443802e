package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"
)

// TokenPrefix begins every token's text, so that a leaked one can be recognised.
const TokenPrefix = "coloa_"

// NewSecret makes the text of a token: 256 random bits.
func NewSecret() string {
	var bytes [32]byte
	_, _ = rand.Read(bytes[:]) // never fails (crypto/rand)
	return TokenPrefix + base64.RawURLEncoding.EncodeToString(bytes[:])
}

// HashSecret is what the state keeps of a token's text. A plain SHA-256 is enough for 256 random bits.
func HashSecret(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// Cost of argon2id: the second recommendation of RFC 9106, for machines with little memory.
const (
	passes, memoryKiB, threads, keyBytes = 3, 64 << 10, 4, 32
)

// Bounds of what a stored hash may ask for.
const mostPasses, mostMemoryKiB = 16, 1 << 20

var errHash = errors.New("the password's hash cannot be read")

// HashPassword makes the hash of a password, in PHC form.
func HashPassword(password string) string {
	var salt [16]byte
	_, _ = rand.Read(salt[:])
	key := argon2.IDKey([]byte(password), salt[:], passes, memoryKiB, threads, keyBytes)
	encode := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, memoryKiB, passes, threads, encode(salt[:]), encode(key))
}

// decoy is compared with when there is no such user or password, so that the answer takes as long.
var decoy = "$argon2id$v=19$m=65536,t=3,p=4$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

// CheckPassword says whether password has the hash. An empty hash takes as long and is never right.
func CheckPassword(hash, password string) (bool, error) {
	empty := hash == ""
	if empty {
		hash = decoy
	}
	parts := strings.Split(hash, "$")
	if len(parts) != 6 || parts[1] != "argon2id" {
		return false, errHash
	}
	var version int
	var memory, time uint32
	var parallel uint8
	if _, err := fmt.Sscanf(parts[2], "v=%d", &version); err != nil || version != argon2.Version {
		return false, errHash
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &memory, &time, &parallel); err != nil {
		return false, errHash
	}
	if time < 1 || time > mostPasses || parallel < 1 || memory > mostMemoryKiB {
		return false, errHash // argon2 panics, or takes all the memory there is
	}
	salt, err := base64.RawStdEncoding.DecodeString(parts[4])
	if err != nil || len(salt) < 8 {
		return false, errHash
	}
	want, err := base64.RawStdEncoding.DecodeString(parts[5])
	if err != nil || len(want) < 16 || len(want) > 64 {
		return false, errHash
	}
	got := argon2.IDKey([]byte(password), salt, time, memory, parallel, uint32(len(want)))
	return subtle.ConstantTimeCompare(got, want) == 1 && !empty, nil
}
