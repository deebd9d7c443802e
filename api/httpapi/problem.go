package httpapi

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/validation"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// This file turns every error into a problem document.

const problemType = "application/problem+json"

// retryAfter is how long a client should wait when nothing better is known, in seconds.
const retryAfter = 1

// The words of huma's findings are its package variables: they are set before anything runs, in plain words like all our other messages.
func init() {
	huma.ValidateStrictCasing = true // "Name" is not "name"
	validation.MsgUnexpectedProperty = "is unknown"
	validation.MsgExpectedRFC3339DateTime = "must be a time like 2026-01-31T08:00:00Z"
	validation.MsgExpectedBoolean = "must be true or false"
	validation.MsgExpectedNumber = "must be a number"
	validation.MsgExpectedInteger = "must be a whole number"
	validation.MsgExpectedString = "must be text"
	validation.MsgExpectedArray = "must be a list"
	validation.MsgExpectedObject = "must be an object"
	validation.MsgExpectedOneOf = "must be one of %s"
	validation.MsgExpectedMinimumNumber = "must be at least %v"
	validation.MsgExpectedMaximumNumber = "must be at most %v"
	validation.MsgExpectedMinLength = "must have at least %d characters"
	validation.MsgExpectedMaxLength = "may have at most %d characters"
	validation.MsgExpectedMatchPattern = "must match %s"
	validation.MsgExpectedMinItems = "must have at least %d entries"
	validation.MsgExpectedMaxItems = "may have at most %d entries"
	// An unprintable mark in front lets fieldErrors find the name of what is missing.
	validation.MsgExpectedRequiredProperty = missingMark + "%s"
}

const (
	missingMark = "\x00missing\x00"
	typeMark    = "\x00type\x00"
)

const correctField = "Correct the field and send the request again."

// invalid is the problem of wrong fields; at least one.
func invalid(fields ...v1.FieldError) *v1.Problem {
	slices.SortStableFunc(fields, func(a, b v1.FieldError) int { return strings.Compare(a.Field, b.Field) })
	const most = 50
	if len(fields) > most {
		fields = fields[:most]
	}
	first := fields[0]
	detail := first.Detail
	if first.Field != "" {
		detail = first.Field + ": " + first.Detail
	}
	problem := v1.NewProblem(v1.CodeInvalid, "%s", detail).WithField(first.Field).WithNext(correctField)
	problem.Errors = fields
	return problem
}

func invalidField(field, detail string, args ...any) *v1.Problem {
	return invalid(v1.FieldError{Field: field, Detail: fmt.Sprintf(detail, args...)})
}

func malformed(detail string, args ...any) *v1.Problem {
	return v1.NewProblem(v1.CodeMalformed, "%s", fmt.Sprintf(detail, args...)).WithNext("Correct the request and send it again.")
}

// fieldErrors turns huma's findings into wrong fields. What the client sent is never repeated: it may be a password.
func fieldErrors(findings []error) []v1.FieldError {
	var fields []v1.FieldError
	for _, finding := range findings {
		var detailer huma.ErrorDetailer
		if !errors.As(finding, &detailer) {
			fields = append(fields, v1.FieldError{Detail: "cannot be read"})
			continue
		}
		found := detailer.ErrorDetail()
		field, detail := found.Location, found.Message
		for _, place := range []string{"body", "query", "path", "header"} {
			if field == place {
				field = ""
			} else if rest, cut := strings.CutPrefix(field, place+"."); cut {
				field = rest
				break
			}
		}
		if name, missing := strings.CutPrefix(detail, missingMark); missing {
			field, detail = strings.TrimPrefix(field+"."+name, "."), "must be given"
		}
		if rest, mistyped := strings.CutPrefix(detail, typeMark); mistyped {
			field, detail, _ = strings.Cut(rest, typeMark)
		}
		fields = append(fields, v1.FieldError{Field: printable(field), Detail: strings.ReplaceAll(detail, `"`, "")})
	}
	return fields
}

// printable cuts what a client chose (the name of an unknown field) to a length and alphabet that harm no reader.
func printable(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || !strconv.IsPrint(r) {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
	if len(text) > 200 {
		text = strings.ToValidUTF8(text[:200], "") + "…"
	}
	return text
}

// fromHuma makes the problem of what huma refused by itself.
func fromHuma(model *huma.ErrorModel) *v1.Problem {
	var findings []error
	for _, detail := range model.Errors {
		if detail != nil {
			findings = append(findings, detail)
		}
	}
	switch {
	case model.Status == http.StatusUnprocessableEntity && len(findings) > 0:
		return invalid(fieldErrors(findings)...)
	case model.Status >= 500:
		return nil
	default:
		return malformed("The request cannot be read: %s.", printable(model.Detail))
	}
}

// reference makes an opaque name for an error or a request.
func reference() string {
	var bytes [8]byte
	_, _ = rand.Read(bytes[:]) // never fails: crypto/rand ends the program instead
	return hex.EncodeToString(bytes[:])
}

// toProblem finds the problem of any error. What is internal stays inside: it is logged, and the client gets a reference to the log.
func (a *api) toProblem(ctx context.Context, err error) *v1.Problem {
	var problem *v1.Problem
	if errors.As(err, &problem) && problem.Code != v1.CodeInternal && problem.Code != "" {
		if problem.Status < 400 || problem.Status > 599 {
			copied := *problem
			copied.Status = http.StatusInternalServerError
			return &copied
		}
		return problem
	}
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return bodyTooLarge(tooLarge.Limit)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		request := requestOf(ctx)
		if request != nil && request.changes() {
			return v1.NewProblem(v1.CodeOutcomeUnknown, "The request took too long; it may or may not have happened.").
				WithNext("Look at the object, then send the request again if it did not happen (with the same Idempotency-Key it cannot happen twice).")
		}
		return v1.NewProblem(v1.CodeTimeout, "The request took too long.").WithNext("Send the request again.")
	}
	name := reference()
	a.logger.ErrorContext(ctx, "internal error", "reference", name, "request", requestID(ctx), "error", err)
	return internalProblem(name)
}

func internalProblem(name string) *v1.Problem {
	return v1.NewProblem(v1.CodeInternal, "Something failed inside the controller (reference %s).", name).
		WithNext("Tell the operators the reference; the controller's log says more.").With("reference", name)
}

func bodyTooLarge(limit int64) *v1.Problem {
	return v1.NewProblem(v1.CodeTooLarge, "The body has more than %d bytes.", limit).With("limit", limit).WithNext("Send less.")
}

func rateLimited(wait time.Duration) *v1.Problem {
	seconds := max(1, int(math.Ceil(wait.Seconds())))
	return v1.NewProblem(v1.CodeRateLimited, "Too many requests.").With("retryAfter", seconds).WithNext("Wait %d s, then send the request again.", seconds)
}

// WriteProblem answers with a problem document. It is for what answers beside this package's handler (Service.Forward) and wants to speak alike.
func WriteProblem(w http.ResponseWriter, problem *v1.Problem) {
	header := w.Header()
	setStandardHeaders(header)
	setProblemHeaders(header, problem)
	header.Set("Content-Type", problemType)
	header.Del("ETag")
	w.WriteHeader(problem.Status)
	body, _ := json.Marshal(problem) // strings and numbers only
	_, _ = w.Write(body)
}

func setProblemHeaders(header http.Header, problem *v1.Problem) {
	switch problem.Status {
	case http.StatusUnauthorized:
		header.Set("WWW-Authenticate", `Bearer realm="coloa"`)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		wait := problem.Params["retryAfter"]
		if wait == "" {
			wait = strconv.Itoa(retryAfter)
		}
		header.Set("Retry-After", wait)
	}
}

// standardHeaders are on every answer.
var standardHeaders = []string{"Cache-Control", "X-Content-Type-Options", "Strict-Transport-Security", "Content-Security-Policy", HeaderRequestID}

func setStandardHeaders(header http.Header) {
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Strict-Transport-Security", "max-age=31536000")
	header.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
}
