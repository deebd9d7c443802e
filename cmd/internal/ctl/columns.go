package ctl

import (
	"strconv"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// This file holds the columns that several nouns have.

// phaseColumn shows where an object stands.
func phaseColumn[T any](phase func(*T) string) column[T] {
	return column[T]{
		key: "phase", value: phase, colour: func(o *T) string { return phaseColour(phase(o)) },
		human: func(a *app, o *T) string { return a.word("phase", phase(o)) },
	}
}

func operationColumn[T any](operation func(*T) string) column[T] {
	return column[T]{key: "operation", level: detailOnly, value: operation}
}

func refColumn[T any](key string, level level, kind v1.Kind, id func(*T) string) column[T] {
	return column[T]{key: key, level: level, ref: kind, value: id}
}

func textColumn[T any](key string, level level, value func(*T) string) column[T] {
	return column[T]{key: key, level: level, value: value}
}

func boolText(b bool) string { return strconv.FormatBool(b) }

// yesNo is a boolean for people.
func yesNo[T any](key string, level level, value func(*T) bool) column[T] {
	return column[T]{key: key, level: level, value: func(o *T) string { return boolText(value(o)) }, human: func(a *app, o *T) string { return a.T("word." + boolText(value(o))) }}
}
