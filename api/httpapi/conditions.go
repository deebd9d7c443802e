package httpapi

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gin-gonic/gin"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// This file reads what huma's schemas cannot say: conditions, keys, waits, labels, positions.

const maxWait = time.Minute

var (
	filterForm   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,62}$`)
	entityTag    = regexp.MustCompile(`^(W/)?"[\x21\x23-\x7e]*"$`)
	versionForm  = regexp.MustCompile(`^"([1-9][0-9]{0,19})"$`)
	positionForm = regexp.MustCompile(`^(0|[0-9]{1,20}-[0-9]{1,10})$`)
)

// parseMatch reads If-Match as a version: 0 when any will do. A tag that we never give cannot be the present one, so it is a failed
// precondition and not a malformed request; above all it is never taken for "any".
func parseMatch(text string) (uint64, error) {
	text = strings.TrimSpace(text)
	if text == "" || text == "*" {
		return 0, nil
	}
	if digits := versionForm.FindStringSubmatch(text); digits != nil {
		if version, err := strconv.ParseUint(digits[1], 10, 64); err == nil {
			return version, nil
		}
	}
	if entityTag.MatchString(text) {
		return 0, notMatched()
	}
	return 0, malformed(`The header If-Match must be one ETag as it was given, for example "412", or *.`)
}

func notMatched() *v1.Problem {
	return v1.NewProblem(v1.CodeNotMatched, "The object is no longer the version that If-Match asks for.").
		WithNext("Get the object again, and decide again with what it says now.")
}

// parseWait reads a duration like 30s, from nothing to a minute.
func parseWait(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	wait, err := time.ParseDuration(text)
	if err != nil || wait < 0 || wait > maxWait {
		return 0, invalidField("wait", "must be a time from 0s to 60s, for example 30s")
	}
	return wait, nil
}

func waitParameter() *huma.Param {
	return &huma.Param{Name: "wait", In: "query", Description: "Longest time to wait, for example 30s; at most 60s", Schema: &huma.Schema{Type: huma.TypeString}}
}

// parseDryRun is strict: an empty or misspelt value must not create anything.
func parseDryRun(c *gin.Context) (bool, error) {
	switch text, given := c.GetQuery("dryRun"); {
	case !given, text == "false":
		return false, nil
	case text == "true":
		return true, nil
	}
	return false, invalidField("dryRun", "must be true or false")
}

// parseLabels reads key=value pairs. Values may be empty and hold further equals signs.
func parseLabels(pairs []string) (map[string]string, error) {
	if len(pairs) == 0 {
		return nil, nil
	}
	if len(pairs) > v1.MaxLabels {
		return nil, invalidField("label", "is there %d times; %d are allowed", len(pairs), v1.MaxLabels)
	}
	labels := make(map[string]string, len(pairs))
	for _, pair := range pairs {
		key, value, found := strings.Cut(pair, "=")
		if !found || key == "" || len(key) > v1.MaxLabelLength || len(value) > v1.MaxLabelLength {
			return nil, invalidField("label", "must be key=value")
		}
		if earlier, twice := labels[key]; twice && earlier != value {
			return nil, invalidField("label", "asks for two values of %s; nothing can have both", printable(key))
		}
		labels[key] = value
	}
	return labels, nil
}

// parseKey reads the header Idempotency-Key. The key counts for exactly this request.
func parseKey(ctx context.Context, text string) (Key, error) {
	if text == "" {
		return Key{}, nil
	}
	if len(text) > 255 || !plain(text) {
		return Key{}, malformed("The header Idempotency-Key must have from 1 to 255 characters of plain text.")
	}
	request := requestOf(ctx)
	hash := sha256.New()
	for _, part := range []string{request.gin.Request.Method, request.gin.Request.URL.EscapedPath(), request.gin.Request.URL.RawQuery} {
		fmt.Fprintf(hash, "%d:%s\n", len(part), part) // a hash never fails
	}
	hash.Write(request.raw)
	return Key{Key: text, Request: hex.EncodeToString(hash.Sum(nil))}, nil
}
