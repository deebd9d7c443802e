package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// This file looks at JSON before anybody decodes it: two readers of one document must never see two different things, and nothing may be deep
// enough to trouble what comes after.

// maxDepth is how deeply objects and lists may lie in one another. Our own documents need six.
const maxDepth = 32

// level is an object or list that the inspection is in.
type level struct {
	object bool
	keys   map[string]bool // of an object, so far
	key    string          // that the next value belongs to; "" when a key is due
	due    bool            // a key is due
	index  int             // of the next value of a list
}

// inspect refuses what decoders would quietly accept: invalid UTF-8, a repeated key, NUL, half a surrogate pair, more than one document, too
// much depth, numbers that no field can hold.
func inspect(raw []byte) *v1.Problem {
	if !utf8.Valid(raw) {
		return malformed("The body is not UTF-8.")
	}
	var whole json.RawMessage
	if err := json.Unmarshal(raw, &whole); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			return malformed("The body is not JSON: %s (at byte %d).", printable(syntax.Error()), syntax.Offset)
		}
		return malformed("The body is not JSON.")
	}
	replaced := bytes.ContainsRune(raw, utf8.RuneError)
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var stack []*level
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return malformed("The body is not JSON.")
		}
		var top *level
		if len(stack) > 0 {
			top = stack[len(stack)-1]
		}
		switch token := token.(type) {
		case json.Delim:
			if token == '}' || token == ']' {
				stack = stack[:len(stack)-1]
				if len(stack) > 0 {
					stack[len(stack)-1].advance()
				}
				continue
			}
			if len(stack) == maxDepth {
				return malformed("The body has objects or lists more than %d deep.", maxDepth)
			}
			stack = append(stack, &level{object: token == '{', due: token == '{', keys: map[string]bool{}})
			continue
		case string:
			if strings.ContainsRune(token, 0) {
				return invalidField(pathOf(stack), "holds a NUL character")
			}
			if !replaced && strings.ContainsRune(token, utf8.RuneError) {
				return invalidField(pathOf(stack), "holds half of a surrogate pair")
			}
			if top != nil && top.object && top.due {
				if top.keys[token] {
					top.key = token
					return malformed("The body has the key %q twice in one object.", printable(token)).WithField(pathOf(stack))
				}
				top.keys[token] = true
				top.key, top.due = token, false
				continue
			}
		case json.Number:
			if number, err := strconv.ParseFloat(token.String(), 64); err != nil || math.IsInf(number, 0) {
				return invalidField(pathOf(stack), "is a number out of all bounds")
			}
		}
		if top != nil {
			top.advance()
		}
	}
}

// advance notes that a value of the level is over.
func (l *level) advance() {
	if l.object {
		l.due = true
	} else {
		l.index++
	}
}

// pathOf names the place that the inspection is at, for example spec.sshKeys[2].
func pathOf(stack []*level) string {
	var path strings.Builder
	for _, at := range stack {
		switch {
		case !at.object:
			path.WriteString("[" + strconv.Itoa(at.index) + "]")
		case at.key != "":
			if path.Len() > 0 {
				path.WriteByte('.')
			}
			path.WriteString(at.key)
		}
	}
	return printable(path.String())
}

// unmarshal decodes JSON that was inspected. Its errors name the field.
func unmarshal(data []byte, out any) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(out)
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		return &typeError{field: wrong.Field, value: wrong.Value}
	}
	if err != nil {
		return &typeError{} // the decoder's own words may repeat what was sent
	}
	return nil
}

// typeError is a value that passed the schema and yet fits no field: 1e3 for a whole number, a time on the 31st of February.
type typeError struct{ field, value string }

// Error is a message that fieldErrors takes apart again: huma hands on nothing but the text.
func (e *typeError) Error() string { return typeMark + e.field + typeMark + e.detail() }

func (e *typeError) detail() string {
	if strings.HasPrefix(e.value, "number") {
		return "must be a whole number within bounds, written with digits only"
	}
	return "has a value that cannot be read"
}

// mergePatch applies an RFC 7396 merge patch. Neither argument is changed.
func mergePatch(target, patch any) any {
	changes, isObject := patch.(map[string]any)
	if !isObject {
		return patch
	}
	merged := map[string]any{}
	if object, isObject := target.(map[string]any); isObject {
		for key, value := range object {
			merged[key] = value
		}
	}
	for key, value := range changes {
		if value == nil {
			delete(merged, key)
		} else {
			merged[key] = mergePatch(merged[key], value)
		}
	}
	return merged
}

// decodeNumbers decodes into maps and lists, and keeps numbers as they are written.
func decodeNumbers(data []byte) (any, error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var value any
	err := decoder.Decode(&value)
	return value, err
}
