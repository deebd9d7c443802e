package v1

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits that hold everywhere. This file is the one place for validation of values; what depends on other objects is checked in the state.
const (
	MaxNameLength     = 63
	MaxTextLength     = 1024 // descriptions, display names
	MaxLabels         = 64
	MaxLabelLength    = 256
	MaxUserDataBytes  = 65536
	MaxSSHKeys        = 32
	MaxVCPUs          = 512
	MaxMemoryMiB      = 16 << 20 // 16 TiB
	MaxVolumeGiB      = 64 << 10 // 64 TiB
	MaxGroupMembers   = 256
	MaxProjectMembers = 1024
	MaxPools          = 64 // storage pools of a host
	MinMemoryMiB      = 32
)

var (
	namePattern  = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)
	idPattern    = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
	labelPattern = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9._/-]*[a-zA-Z0-9])?$`)
	digestHex    = regexp.MustCompile(`^[0-9a-f]{64}$`)
	macPrefix    = regexp.MustCompile(`^[0-9a-f][02468ace](:[0-9a-f]{2}){2}$`) // an odd first byte would make group addresses
	userPattern  = regexp.MustCompile(`^[a-z0-9]([a-z0-9._@-]*[a-z0-9])?$`)
)

// IsID says whether text has the form of an identifier.
func IsID(text string) bool { return idPattern.MatchString(text) }

// IsName says whether text may be a name (a DNS label: guests take it as their host name).
func IsName(text string) bool { return len(text) <= MaxNameLength && namePattern.MatchString(text) }

// checker gathers wrong fields.
type checker struct{ errors []FieldError }

func (c *checker) fail(field, detail string, args ...any) {
	c.errors = append(c.errors, FieldError{Field: field, Detail: fmt.Sprintf(detail, args...)})
}

func (c *checker) err() error {
	if len(c.errors) == 0 {
		return nil
	}
	first := c.errors[0]
	problem := NewProblem(CodeInvalid, "%s: %s", first.Field, first.Detail).WithField(first.Field).WithNext("Correct the field and send the request again.")
	problem.Errors = c.errors
	return problem
}

func (c *checker) meta(m *Meta, kind Kind) {
	definition, err := Define(kind)
	if err != nil {
		c.fail("kind", "%v", err)
		return
	}
	if !idPattern.MatchString(m.ID) {
		c.fail("id", "must be a UUID")
	}
	c.name(m.Name)
	c.labels(m.Labels)
	if definition.Scoped && !idPattern.MatchString(m.Project) {
		c.fail("project", "must be given")
	}
	if !definition.Scoped && m.Project != "" {
		c.fail("project", "a %s belongs to no project", strings.ToLower(string(kind)))
	}
}

// CheckName returns a problem when text may not be a name.
func CheckName(text string) error {
	var c checker
	c.name(text)
	return c.err()
}

func (c *checker) name(text string) {
	switch {
	case text == "":
		c.fail("name", "must be given")
	case len(text) > MaxNameLength:
		c.fail("name", "has %d characters; %d are allowed", utf8.RuneCountInString(text), MaxNameLength)
	case IsID(text):
		c.fail("name", "has the form of an identifier; nobody could find it by its name")
	case !namePattern.MatchString(text):
		c.fail("name", "may hold lower-case letters a-z, digits and hyphens, and begins and ends with a letter or digit")
	}
}

func (c *checker) labels(labels map[string]string) {
	if len(labels) > MaxLabels {
		c.fail("labels", "has %d entries; %d are allowed", len(labels), MaxLabels)
	}
	for key, value := range labels {
		if len(key) > MaxLabelLength || !labelPattern.MatchString(key) {
			c.fail("labels", "a key may hold letters a-z, digits, dots, slashes, underscores and hyphens, at most %d characters", MaxLabelLength)
		}
		if len(value) > MaxLabelLength || !isPlain(value) {
			c.fail("labels", "a value may hold at most %d bytes of text without control characters", MaxLabelLength)
		}
	}
}

// text checks free text of people: one line, no control or direction-changing characters.
func (c *checker) text(field, text string) {
	if len(text) > MaxTextLength {
		c.fail(field, "has %d bytes; %d are allowed", len(text), MaxTextLength)
	}
	if !isPlain(text) {
		c.fail(field, "holds control characters")
	}
}

// isPlain refuses what could deceive a reader or break a line: invalid UTF-8, control characters, and marks that change the writing direction.
func isPlain(text string) bool {
	if !utf8.ValidString(text) {
		return false
	}
	for _, r := range text {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029' || r == '\ufeff' {
			return false
		}
	}
	return true
}

func (c *checker) between(field string, value, low, high int64) {
	if value < low || value > high {
		c.fail(field, "is %d; it must be from %d to %d", value, low, high)
	}
}

// reference checks the form of a name or id that points at another object.
func (c *checker) reference(field, value string, required bool) {
	if value == "" {
		if required {
			c.fail(field, "must be given")
		}
		return
	}
	if !IsID(value) && !IsName(value) {
		c.fail(field, "is neither a name nor an id")
	}
}

func oneOf[T ~string](c *checker, field string, value T, allowed ...T) {
	for _, candidate := range allowed {
		if value == candidate {
			return
		}
	}
	words := make([]string, len(allowed))
	for i, candidate := range allowed {
		words[i] = string(candidate)
	}
	c.fail(field, "is %q; it must be one of %s", clip(string(value)), strings.Join(words, ", "))
}

func clip(text string) string {
	if len(text) > 40 {
		return strings.ToValidUTF8(text[:40], "") + "…"
	}
	return text
}
