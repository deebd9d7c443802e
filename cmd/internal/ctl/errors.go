package ctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/pflag"

	"github.com/coloa-cloud/coloa/api/client"
	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// failure is an error of the program itself, in the user's words.
type failure struct {
	exit int
	what string
	next string
}

func (f *failure) Error() string { return f.what }

// quiet ends the program with a code after everything was said.
type quiet struct{ exit int }

func (quiet) Error() string { return "" }

// failedOperation is an operation that did not succeed.
type failedOperation struct{ operation *v1.Operation }

func (f *failedOperation) Error() string {
	return string(f.operation.Spec.Type) + " " + string(f.operation.Status.State)
}

// waitEnded is the end of waiting, not of the operation.
type waitEnded struct {
	operation string
	cause     error
}

func (w *waitEnded) Error() string { return w.cause.Error() }
func (w *waitEnded) Unwrap() error { return w.cause }

// failure makes an error from the catalogue: key says what is wrong, key+".next", where it exists, what to do.
func (a *app) failure(key string, pairs ...any) error { return a.wrong(exitFailed, key, pairs) }

// usage makes an error about the command line.
func (a *app) usage(key string, pairs ...any) error { return a.wrong(exitUsage, key, pairs) }

func (a *app) wrong(exit int, key string, pairs []any) error {
	f := &failure{exit: exit, what: a.T(key, pairs...)}
	if a.text.has(key + ".next") {
		f.next = a.T(key+".next", pairs...)
	}
	return f
}

var exitOf = map[v1.Code]int{
	v1.CodeInvalid: exitUsage, v1.CodeMalformed: exitUsage,
	v1.CodeNotFound:        exitNotFound,
	v1.CodeUnauthenticated: exitDenied, v1.CodeDenied: exitDenied,
	v1.CodeConflict: exitConflict, v1.CodeNameTaken: exitConflict, v1.CodeInUse: exitConflict, v1.CodeBusy: exitConflict,
	v1.CodeWrongState: exitConflict, v1.CodeKeyReused: exitConflict, v1.CodeNotMatched: exitConflict,
	v1.CodeQuota:   exitQuota,
	v1.CodeTimeout: exitTimeout,
}

func exitCode(code v1.Code) int {
	if exit, known := exitOf[code]; known {
		return exit
	}
	return exitFailed
}

// report says what went wrong, in one or two lines, and returns the exit code.
func (a *app) report(err error) int {
	if err == nil {
		return exitOK
	}
	exit, what, next := a.explain(err)
	if what != "" {
		fmt.Fprintln(a.errs, a.T("error.line", "What", what))
	}
	if next != "" {
		fmt.Fprintln(a.errs, a.T("error.next", "Next", next))
	}
	return exit
}

func (a *app) explain(err error) (exit int, what, next string) {
	var silent quiet
	var own *failure
	var failed *failedOperation
	var waiting *waitEnded
	var problem *v1.Problem
	switch {
	case errors.As(err, &silent):
		return silent.exit, "", ""
	case errors.As(err, &own):
		return own.exit, own.what, own.next
	case errors.As(err, &failed):
		return a.explainOperation(failed.operation)
	case errors.As(err, &waiting):
		exit, what, _ = a.explain(waiting.cause)
		return exit, what, a.T("wait.goes-on", "Operation", waiting.operation)
	case errors.Is(err, errInterrupted), errors.Is(err, context.Canceled):
		return exitInterrupted, a.T("error.interrupted"), ""
	case errors.Is(err, errTimedOut), errors.Is(err, context.DeadlineExceeded):
		return exitTimeout, a.T("error.timeout"), ""
	case errors.As(err, &problem):
		what, next = a.explainProblem(problem)
		return exitCode(problem.Code), what, next
	}
	if what := a.explainFlag(err); what != "" {
		return exitUsage, what, a.T("error.usage.next")
	}
	return exitFailed, plain(err.Error()), ""
}

// explainProblem says a refusal in the user's language: the controller's own words where they can be translated, the code's general meaning in front where not.
func (a *app) explainProblem(problem *v1.Problem) (what, next string) {
	detail := problem.Detail
	if len(problem.Errors) > 1 {
		parts := make([]string, len(problem.Errors))
		for i, field := range problem.Errors {
			parts[i] = a.said(field.Field + ": " + field.Detail)
		}
		detail = strings.Join(parts, "; ")
	} else {
		detail = a.said(detail)
	}
	general := a.word("problem", string(problem.Code))
	switch {
	case detail == "":
		what = general
	case a.text.language == english || detail != plain(problem.Detail):
		what = detail
	default:
		what = general + ": " + detail
	}
	what += " (" + plain(string(problem.Code)) + ")"
	next = a.said(problem.Next)
	if key := "next." + string(problem.Code); a.text.has(key) && (next == "" || a.text.language != english && next == plain(problem.Next)) {
		next = a.T(key)
	}
	return what, next
}

func (a *app) explainOperation(operation *v1.Operation) (exit int, what, next string) {
	exit = exitFailed
	reason := a.word("state", string(operation.Status.State))
	if problem := operation.Status.Error; problem != nil {
		exit = exitCode(problem.Code)
		reason, next = a.explainProblem(problem)
	}
	what = a.T("operation.failed", "What", a.operationTitle(operation), "Reason", reason)
	if operation.Status.State == v1.OperationNeedsAttention {
		exit, next = exitFailed, a.T("operation.stuck.next", "Operation", operation.ID)
	}
	if next == "" {
		next = a.T("operation.failed.next", "Operation", operation.ID)
	}
	return exit, what, next
}

// explainFlag says what is wrong with a flag; pflag itself speaks English alone.
func (a *app) explainFlag(err error) string {
	var missing *pflag.NotExistError
	var empty *pflag.ValueRequiredError
	var invalid *pflag.InvalidValueError
	var syntax *pflag.InvalidSyntaxError
	switch {
	case errors.As(err, &missing):
		name := "--" + missing.GetSpecifiedName()
		if missing.GetSpecifiedShortnames() != "" {
			name = "-" + missing.GetSpecifiedName()
		}
		return a.T("error.flag.unknown", "Flag", name)
	case errors.As(err, &empty):
		return a.T("error.flag.empty", "Flag", "--"+empty.GetFlag().Name)
	case errors.As(err, &invalid):
		var own *failure
		if errors.As(invalid.Unwrap(), &own) {
			return own.what
		}
		return a.T("error.flag.value", "Flag", "--"+invalid.GetFlag().Name, "Value", invalid.GetValue())
	case errors.As(err, &syntax):
		return a.T("error.flag.syntax", "Flag", syntax.GetSpecifiedFlag())
	}
	return ""
}

// closed says whether an error of a stream means no more than its end.
func closed(err error) bool { return errors.Is(err, io.EOF) || client.ConsoleClosed(err) }
