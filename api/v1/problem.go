package v1

import (
	"errors"
	"fmt"
	"maps"
	"strings"
)

// Code is the stable name of an error; scripts may trust it.
type Code string

const (
	CodeInvalid          Code = "invalid"            // 422: a field is wrong
	CodeMalformed        Code = "malformed"          // 400: the request cannot be read
	CodeImmutable        Code = "immutable"          // 422: a field that cannot change
	CodeUnauthenticated  Code = "unauthenticated"    // 401
	CodeDenied           Code = "denied"             // 403
	CodeNotFound         Code = "not_found"          // 404
	CodeMethodNotAllowed Code = "method_not_allowed" // 405
	CodeConflict         Code = "conflict"           // 409: somebody else changed it first
	CodeNameTaken        Code = "name_taken"         // 409
	CodeInUse            Code = "in_use"             // 409: others depend on it
	CodeBusy             Code = "busy"               // 409: an operation works on it
	CodeWrongState       Code = "wrong_state"        // 409: not possible in its present state
	CodeKeyReused        Code = "key_reused"         // 409: Idempotency-Key sent with another request
	CodeNotMatched       Code = "precondition"       // 412: If-Match does not hold
	CodeTooLarge         Code = "too_large"          // 413
	CodeUnsupportedMedia Code = "unsupported_media"  // 415
	CodeQuota            Code = "quota_exceeded"     // 409
	CodeNoCapacity       Code = "no_capacity"        // 409: no host can take it
	CodeRateLimited      Code = "rate_limited"       // 429
	CodeInternal         Code = "internal"           // 500
	CodeUnavailable      Code = "unavailable"        // 503: no leader, or the host is silent
	CodeOutcomeUnknown   Code = "outcome_unknown"    // 503: it may or may not have happened
	CodeTimeout          Code = "timeout"            // 504
	CodeHostFailed       Code = "host_failed"        // a task failed on its host (seen in operations)
	CodeInvalidImage     Code = "invalid_image"      // the uploaded image was refused
	CodeNoSpace          Code = "no_space"           // a disk or pool is full
	CodeCancelled        Code = "cancelled"          // an operation was cancelled and undone
)

var statusOf = map[Code]int{
	CodeInvalid: 422, CodeMalformed: 400, CodeImmutable: 422, CodeUnauthenticated: 401, CodeDenied: 403, CodeNotFound: 404,
	CodeMethodNotAllowed: 405, CodeConflict: 409, CodeNameTaken: 409, CodeInUse: 409, CodeBusy: 409, CodeWrongState: 409,
	CodeKeyReused: 409, CodeNotMatched: 412, CodeTooLarge: 413, CodeUnsupportedMedia: 415, CodeQuota: 409, CodeNoCapacity: 409, CodeRateLimited: 429,
	CodeInternal: 500, CodeUnavailable: 503, CodeOutcomeUnknown: 503, CodeTimeout: 504, CodeHostFailed: 500, CodeInvalidImage: 422,
	CodeNoSpace: 507, CodeCancelled: 409,
}

// Problem is an error as RFC 9457 shows it, and the error type of every refusal inside Coloa.
type Problem struct {
	Type   string `json:"type,omitempty" doc:"URI of the error's description"`
	Title  string `json:"title" doc:"The error in a few words"`
	Status int    `json:"status" doc:"HTTP status"`
	Detail string `json:"detail,omitempty" doc:"What is wrong here"`
	Code   Code   `json:"code" doc:"Stable name of the error, for scripts"`
	Field  string `json:"field,omitempty" doc:"The field that is wrong, for example spec.sizeGiB"`
	Next   string `json:"next,omitempty" doc:"What to do next"`
	// Errors lists every wrong field when there are several.
	Errors []FieldError `json:"errors,omitempty" doc:"Every wrong field"`
	// Params carries the values in Detail by name, so that clients can say it in another language.
	Params map[string]string `json:"params,omitempty" doc:"The values in detail, by name"`
}

// FieldError is one wrong field.
type FieldError struct {
	Field  string `json:"field" doc:"The field's path"`
	Detail string `json:"detail" doc:"What is wrong with it"`
}

// NewProblem makes a problem; detail is formatted like fmt.Sprintf.
func NewProblem(code Code, detail string, args ...any) *Problem {
	if len(args) > 0 {
		detail = fmt.Sprintf(detail, args...)
	}
	status := statusOf[code]
	if status == 0 {
		status = 500
	}
	return &Problem{Type: "about:blank#" + string(code), Title: titleOf(code), Status: status, Detail: detail, Code: code}
}

// WithField names the failing field.
func (p *Problem) WithField(field string) *Problem { p.Field = field; return p }

// WithNext says what to do next.
func (p *Problem) WithNext(next string, args ...any) *Problem {
	if len(args) > 0 {
		next = fmt.Sprintf(next, args...)
	}
	p.Next = next
	return p
}

// With keeps a value of the detail by name.
func (p *Problem) With(name string, value any) *Problem {
	if p.Params == nil {
		p.Params = map[string]string{}
	}
	p.Params[name] = fmt.Sprint(value)
	return p
}

// Clone copies the problem; nil stays nil.
func (p *Problem) Clone() *Problem {
	if p == nil {
		return nil
	}
	copied := *p
	copied.Errors, copied.Params = cloneSlice(p.Errors), maps.Clone(p.Params)
	return &copied
}

// Error is the detail with what to do next.
func (p *Problem) Error() string {
	var text strings.Builder
	if p.Detail != "" {
		text.WriteString(p.Detail)
	} else {
		text.WriteString(p.Title)
	}
	for _, field := range p.Errors {
		if len(p.Errors) > 1 {
			text.WriteString("; " + field.Field + ": " + field.Detail)
		}
	}
	if p.Next != "" {
		text.WriteString(". " + strings.TrimSuffix(p.Next, "."))
	}
	return text.String()
}

// Is lets errors.Is compare problems by code.
func (p *Problem) Is(target error) bool {
	var other *Problem
	return errors.As(target, &other) && other.Code == p.Code
}

// AsProblem finds the problem in an error's chain; any other error becomes CodeInternal.
func AsProblem(err error) *Problem {
	if err == nil {
		return nil
	}
	var problem *Problem
	if errors.As(err, &problem) {
		return problem
	}
	return NewProblem(CodeInternal, "%s", err.Error())
}

// CodeOf is the code of an error, or "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	return AsProblem(err).Code
}

func titleOf(code Code) string {
	words := strings.ReplaceAll(string(code), "_", " ")
	return strings.ToUpper(words[:1]) + words[1:]
}
